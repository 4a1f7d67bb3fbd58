"""An evaluation as JSON, Markdown, HTML and a plot."""

import io
import json
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from rethined_export.output import write_bytes
from rethined_export.quality.evaluate import Evaluation, Summary
from rethined_export.quality.metrics import HIGHER_IS_BETTER, NAMES
from rethined_export.quality.pictures import Pictures

_HEADINGS = {
    "psnr": "PSNR",
    "psnr_hole": "hole PSNR",
    "ssim": "SSIM",
    "ssim_hole": "hole SSIM",
    "l1": "L1",
    "l1_hole": "hole L1",
    "bpe": "BPE",
    "texture": "texture",
}
_PERCEPTUAL = {
    "st_lpips": "ST-LPIPS (alex)",
    "flip": "FLIP",
    "features": "EfficientNet-Lite0 features",
    "lpips": "LPIPS",
    "fid": "FID",
}
_DIGITS = {"psnr": 2, "psnr_hole": 2, "texture": 2}


def to_json(evaluation: Evaluation, facts: dict[str, str]) -> str:
    """Everything: facts of the run, rows, means."""
    document = {
        "facts": facts,
        "rows": [asdict(row) for row in evaluation.rows],
        "means": [asdict(summary) for summary in evaluation.summaries],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def to_markdown(evaluation: Evaluation, facts: dict[str, str]) -> str:
    """Tables of means, one for each side and kind of hole; the best of each column in bold."""
    lines = ["# Quality", "", ". ".join(facts.values()) + ".", "", _legend()]
    for side, kind in _groups(evaluation):
        chosen = [s for s in evaluation.summaries if (s.side, s.kind) == (side, kind)]
        lines += ["", f"## {side}², holes: {kind}, {chosen[0].photos} photos", ""]
        columns = _columns(chosen)
        lines.append("| method | " + " | ".join(column.heading for column in columns) + " | ms |")
        lines.append("|---|" + "---|" * (len(columns) + 1))
        for number, summary in enumerate(chosen):
            cells = [column.cell(number) for column in columns]
            row = [summary.method, *cells, f"{summary.milliseconds:.0f}"]
            lines.append("| " + " | ".join(row) + " |")
        lines += ["", *(f"{line}  " for line in _not_computed(chosen))]
    return "\n".join(lines) + "\n"


def _legend() -> str:
    return (
        "PSNR in dB. BPE: mean absolute error of hole pixels beside known ones. texture: "
        "deviation of high frequencies in the hole over the true one (1 is right). ST-LPIPS, FLIP "
        "and the distance of EfficientNet-Lite0's features: how different it looks, less is "
        "nearer; none of them is LPIPS. ms: median on this machine, artifacts with their "
        "runtime, the rest with torch, OpenCV or PatchMatch's library."
    )


def _groups(evaluation: Evaluation) -> list[tuple[int, str]]:
    return list(dict.fromkeys((s.side, s.kind) for s in evaluation.summaries))


@dataclass(frozen=True)
class _Column:
    """One figure of every method."""

    name: str
    heading: str
    values: list[float]

    def text(self, number: int) -> str:
        return f"{self.values[number]:.{_DIGITS.get(self.name, 4)}f}"

    def cell(self, number: int) -> str:
        """In bold where it is the best."""
        text = self.text(number)
        return f"**{text}**" if self.values[number] == self._best() else text

    def _best(self) -> float:
        if self.name == "texture":
            return min(self.values, key=lambda value: abs(value - 1))
        return max(self.values) if self.name in HIGHER_IS_BETTER else min(self.values)


def _columns(chosen: list[Summary]) -> list[_Column]:
    """Of all figures that there are."""
    columns = [_Column(n, _HEADINGS[n], [s.figures[n] for s in chosen]) for n in NAMES]
    for name, heading in _PERCEPTUAL.items():
        found = [s.perceptual[name].value for s in chosen]
        values = [value for value in found if value is not None]
        if len(values) == len(found):
            columns.append(_Column(name, heading, values))
    return columns


def _not_computed(chosen: list[Summary]) -> list[str]:
    """Why the others are not there."""
    return [
        f"{heading} is not computed: {computed.reason}."
        for name, heading in _PERCEPTUAL.items()
        for computed in (chosen[0].perceptual[name],)
        if computed.value is None
    ]


def to_html(evaluation: Evaluation, facts: dict[str, str], pictures: Pictures, folder: str) -> str:
    """The means, the plot, and a strip of crops for every case."""
    parts = [
        "<!doctype html><meta charset='utf-8'><title>rethined-eval</title>",
        "<style>body{font:15px sans-serif;margin:2em;max-width:100em}table{border-collapse:"
        "collapse}td,th{padding:.2em .7em;text-align:right}td:first-child{text-align:left}"
        "tr:nth-child(even){background:#f3f3f3}figure{display:inline-block;margin:0 .4em .8em 0}"
        "figcaption{font-size:12px}img{max-width:100%}</style>",
        f"<h1>Quality</h1><p>{escape('. '.join(facts.values()))}.</p><p>{escape(_legend())}</p>",
        "<img src='quality.png' alt='hole PSNR against time'>",
    ]
    for side, kind in _groups(evaluation):
        chosen = [s for s in evaluation.summaries if (s.side, s.kind) == (side, kind)]
        columns = _columns(chosen)
        heads = "".join(f"<th>{escape(column.heading)}" for column in columns)
        parts.append(f"<h2>{side}², holes: {escape(kind)}</h2><table><tr><th>method{heads}<th>ms")
        for number, s in enumerate(chosen):
            cells = "".join(f"<td>{column.text(number)}" for column in columns)
            parts.append(f"<tr><td>{escape(s.method)}{cells}<td>{s.milliseconds:.0f}")
        said = "<br>".join(escape(line) for line in _not_computed(chosen))
        parts.append(f"</table><p>{said}</p>")
    for name, files in pictures.files.items():
        parts.append(f"<h3>{escape(name)}</h3>")
        parts += [
            f"<figure><img loading='lazy' src='{escape(folder)}/{escape(file)}'>"
            f"<figcaption>{escape(method)}</figcaption></figure>"
            for method, file in files.items()
        ]
    return "\n".join(parts) + "\n"


def plot(evaluation: Evaluation, path: Path) -> None:
    """Hole PSNR against time, a bubble for each method, its area the size that ships.

    Raises:
        UserError: it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = _groups(evaluation)
    figure, all_axes = pyplot.subplots(
        1, len(groups), figsize=(6 * len(groups), 5), squeeze=False, layout="constrained"
    )
    for axes, (side, kind) in zip(all_axes[0], groups, strict=True):
        for s in evaluation.summaries:
            if (s.side, s.kind) != (side, kind):
                continue
            x, y = s.milliseconds, s.figures["psnr_hole"]
            axes.scatter(x, y, s=30 + 60 * s.size / 1e6, alpha=0.5)
            axes.annotate(s.method, (x, y), fontsize=8, xytext=(4, 4), textcoords="offset points")
        axes.axvline(30, color="grey", linestyle=":", linewidth=1)
        axes.set(xscale="log", xlabel="ms (median, this machine)", ylabel="hole PSNR, dB")
        axes.set_title(f"{side}², holes: {kind}")
        axes.margins(0.2)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    pyplot.close(figure)
    write_bytes(path, picture.getvalue())
