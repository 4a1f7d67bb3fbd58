"""Every method on every case: the rows of the report."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from torch import Tensor

from rethined_export.quality.methods import Method
from rethined_export.quality.metrics import mean, measure
from rethined_export.quality.perceptual import Computed, perceptual
from rethined_export.quality.pictures import Pictures
from rethined_export.quality.scenes import Case


@dataclass(frozen=True)
class Row:
    """One method on one photo under one hole.

    Attributes:
        figures: by the names of :class:`~rethined_export.quality.metrics.Figures`, and those of
            :func:`~rethined_export.quality.perceptual.perceptual` that a photo has.
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
        figures: means over photos. perceptual: how different they look, or why that is not known.
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
        for case, image in zip(cases, filled.images, strict=True):
            pictures.add(case, method.name, image)
        for kind in dict.fromkeys(case.kind for case in cases):
            chosen = [
                (case, image)
                for case, image in zip(cases, filled.images, strict=True)
                if case.kind == kind
            ]
            part, means, seen = _measured(method.name, chosen)
            rows += part
            times = (filled.milliseconds, method.size)
            summaries.append(Summary(method.name, side, kind, len(chosen), means, seen, *times))
    return Evaluation(rows, summaries)


def _measured(
    method: str, chosen: list[tuple[Case, Tensor]]
) -> tuple[list[Row], dict[str, float], dict[str, Computed]]:
    """Rows of one kind of hole, their means, and how different they look."""
    figures = [measure(image, case.image, case.mask) for case, image in chosen]
    seen = perceptual(
        [image for _, image in chosen],
        [case.image for case, _ in chosen],
        [case.mask for case, _ in chosen],
    )
    rows = []
    for number, (case, image) in enumerate(chosen):
        of_photo = {name: found.each[number] for name, found in seen.items() if found.each}
        side, cover = image.shape[-1], float(case.mask.mean())
        numbers = asdict(figures[number]) | of_photo
        rows.append(Row(method, side, case.photo, case.kind, cover, case.enlarged, numbers))
    return rows, asdict(mean(figures)), seen
