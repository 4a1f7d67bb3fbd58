"""Every method on every case: the rows of the report."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from rethined_export.quality.methods import Method
from rethined_export.quality.metrics import mean, measure
from rethined_export.quality.perceptual import Computed, perceptual
from rethined_export.quality.pictures import Pictures
from rethined_export.quality.scenes import Case


@dataclass(frozen=True)
class Row:
    """One method on one photo under one hole.

    Attributes:
        figures: by the names of :class:`~rethined_export.quality.metrics.Figures`.
    """

    method: str
    side: int
    photo: str
    kind: str
    cover: float
    enlarged: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """One method on all holes of one kind at one side.

    Attributes:
        figures: means over photos. perceptual: LPIPS, ST-LPIPS and FID, or why they are not there.
        milliseconds: median of one photo on this machine. size: bytes shipped.
    """

    method: str
    side: int
    kind: str
    photos: int
    figures: dict[str, float]
    perceptual: dict[str, Computed]
    milliseconds: float
    size: int


@dataclass(frozen=True)
class Evaluation:
    """All rows, and their means."""

    rows: list[Row]
    summaries: list[Summary]


def evaluate(
    methods: Iterable[Method],
    cases: list[Case],
    pictures: Pictures,
    tell: Callable[[str], None],
) -> Evaluation:
    """Fill and measure; methods that do not work at the cases' side are left out.

    Args:
        cases: all of one side. pictures: takes crops of what was filled.
        tell: called with each method's name.
    """
    side = cases[0].image.shape[-1]
    rows: list[Row] = []
    summaries: list[Summary] = []
    for case in cases:
        pictures.add_case(case)
    for method in methods:
        if not method.fits(side):
            tell(f"{method.name} is left out at {side}: it does not work at that side")
            continue
        tell(f"{method.name} at {side}")
        filled = method.fill(cases)
        measured = []
        for case, image in zip(cases, filled.images, strict=True):
            figures = measure(image, case.image, case.mask)
            measured.append(figures)
            cover, numbers = float(case.mask.mean()), asdict(figures)
            rows.append(
                Row(method.name, side, case.photo, case.kind, cover, case.enlarged, numbers)
            )
            pictures.add(case, method.name, image)
        for kind in sorted({case.kind for case in cases}):
            chosen = [index for index, case in enumerate(cases) if case.kind == kind]
            means = asdict(mean([measured[index] for index in chosen]))
            seen = perceptual(
                [filled.images[index] for index in chosen],
                [cases[index].image for index in chosen],
                [cases[index].mask for index in chosen],
            )
            summaries.append(
                Summary(
                    method.name,
                    side,
                    kind,
                    len(chosen),
                    means,
                    seen,
                    filled.milliseconds,
                    method.size,
                )
            )
    return Evaluation(rows, summaries)
