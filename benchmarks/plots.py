"""Times against the budget, as a picture."""

import io
from collections.abc import Sequence
from typing import Any

from rethined_export.benchmarks.bench import Result
from rethined_export.errors import UnavailableError


def plot(results: Sequence[Result], budget_ms: float) -> Any:
    """A figure: every run in order, which shows drift, and beside it how the times are distributed.

    Args:
        results: at least one that was timed.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "--report needs matplotlib: pip install 'rethined-export[bench]'"
        ) from error
    figure = Figure(figsize=(9, 4), layout="constrained")
    ordered, spread = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for result in results:
        if result.measured is not None:
            times = result.measured.total
            runs = range(1, len(times) + 1)
            ordered.plot(runs, times, ".-", linewidth=0.6, label=result.path.name)
            spread.ecdf(times, orientation="horizontal")
    for axes in (ordered, spread):
        axes.axhline(budget_ms, color="black", linestyle=":", label=f"budget, {budget_ms:g} ms")
        axes.spines[["top", "right"]].set_visible(False)
    ordered.set(xlabel="run", ylabel="ms of one fill", ylim=(0, None))
    spread.set(xlabel="share of runs up to", xlim=(0, 1))
    ordered.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*ordered.get_legend_handles_labels(), loc="outside upper left", fontsize=8)
    return figure


def svg(figure: Any) -> str:
    """The figure as an SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]
