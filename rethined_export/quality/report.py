"""An evaluation as JSON, Markdown, HTML and a plot."""

import io
import json
from dataclasses import asdict
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
_PERCEPTUAL = {"lpips": "LPIPS", "st_lpips": "ST-LPIPS (alex)", "fid": "FID"}
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
        lines += ["", f"## {side}², {kind} holes, {chosen[0].photos} photos", ""]
        lines.append("| method | " + " | ".join(_HEADINGS[name] for name in NAMES) + " | ms |")
        lines.append("|---|" + "---|" * (len(NAMES) + 1))
        best = {name: _best(name, chosen) for name in NAMES}
        for summary in chosen:
            cells = [_cell(summary, name, best[name]) for name in NAMES]
            row = [summary.method, *cells, f"{summary.milliseconds:.0f}"]
            lines.append("| " + " | ".join(row) + " |")
        lines += ["", *_perceptual_lines(chosen)]
    return "\n".join(lines) + "\n"


def _legend() -> str:
    return (
        "PSNR in dB. BPE: mean absolute error of hole pixels beside known ones. texture: "
        "deviation of high frequencies in the hole over the true one (1 is right). ms: median on "
        "this machine, artifacts with their runtime, the rest with torch or OpenCV."
    )


def _groups(evaluation: Evaluation) -> list[tuple[int, str]]:
    return list(dict.fromkeys((s.side, s.kind) for s in evaluation.summaries))


def _best(name: str, chosen: list[Summary]) -> float:
    values = [summary.figures[name] for summary in chosen]
    if name == "texture":
        return min(values, key=lambda value: abs(value - 1))
    return max(values) if name in HIGHER_IS_BETTER else min(values)


def _cell(summary: Summary, name: str, best: float) -> str:
    value = summary.figures[name]
    text = f"{value:.{_DIGITS.get(name, 4)}f}"
    return f"**{text}**" if value == best else text


def _perceptual_lines(chosen: list[Summary]) -> list[str]:
    lines = []
    for metric, heading in _PERCEPTUAL.items():
        computed = [(s.method, s.perceptual[metric]) for s in chosen]
        values = [f"{method} {c.value:.4f}" for method, c in computed if c.value is not None]
        said = ", ".join(values) or f"not computed: {computed[0][1].reason}"
        lines.append(f"{heading}: {said}.  ")
    return lines


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
        heads = "".join(f"<th>{_HEADINGS[name]}" for name in NAMES)
        parts.append(f"<h2>{side}², {escape(kind)} holes</h2><table><tr><th>method{heads}<th>ms")
        for s in chosen:
            cells = "".join(f"<td>{s.figures[n]:.{_DIGITS.get(n, 4)}f}" for n in NAMES)
            parts.append(f"<tr><td>{escape(s.method)}{cells}<td>{s.milliseconds:.0f}")
        said = "<br>".join(escape(line) for line in _perceptual_lines(chosen))
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
        axes.set_title(f"{side}², {kind} holes")
        axes.margins(0.2)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    pyplot.close(figure)
    write_bytes(path, picture.getvalue())
