"""What a run costs against image size and hole size: dense, gather and hole tokens only.

Run by ``make bench-scaling``. Times depend on the machine; ratios come from implementations called
turn about in one process. Writes ``benchmarks/results/scaling.{json,md,png}``.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.flushing import flushing
from rethined_export.benchmarks.subjects import noise_photo
from rethined_export.converters import TARGETS, converter
from rethined_export.export import ExportRequest, export
from rethined_export.jobs.memory import peak_rss_bytes
from rethined_export.jobs.parent import ENVIRONMENT
from rethined_export.photo.window import Window
from rethined_export.recipes.rethined import shipped_network
from rethined_export.recipes.rethined.native import (
    GRID,
    LOW_RESOLUTION,
    PATCH,
    TOKENS,
    Square,
)
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.recipes.rethined.pair import Pair
from rethined_export.spec import ExportSpec

RESULTS = Path(__file__).parent / "results"
SIDES = (512, 1024, 2048, 4096, 8192)
#: Hole tokens in percent of all; the last leaves one token.
COVERS = (1, 10, 25, 50, 100)
RUNTIMES = {"ONNX Runtime": "onnx", "LiteRT": "tflite"}
THREADS = 2
#: Runs that count of what takes many seconds each.
MOST_SLOW = 3
#: The cover at which implementations and sides are compared.
COVER = 10
#: Sides at which whole programs run; beyond them they need tens of gigabytes.
WHOLE_SIDES = (512, 1024, 2048, 4096)
_OPTIONS = RethinedOptions(hr=LOW_RESOLUTION, upscale="patches", split=True, hole_budget=COVER)
_SPEC = ExportSpec("rethined", "onnx", _OPTIONS, "low")

Floats = npt.NDArray[np.float32]


def main() -> None:
    """Measure everything and write table, figures and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, nargs="+", default=list(SIDES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        what, side, folder, name = options.measure
        print(json.dumps(_MEASUREMENTS[what](int(side), Path(folder), name, options.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _export_all(options.side, Path(folder))
        figures = _measure_all(options.side, folder, options.repeats)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scaling.json").write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "scaling.md").write_text(report(figures))
    _plot(figures, RESULTS / "scaling.png")
    print(report(figures))


# --- What is measured ----------------------------------------------------------------------------


def _export_all(sides: list[int], folder: Path) -> None:
    """Every artifact, not verified here: parity is measured elsewhere."""
    for target in RUNTIMES.values():
        base = replace(_SPEC, target=target)
        specs = [base, replace(base, part="choose")]
        for side in sides:
            if side in WHOLE_SIDES:
                specs += [_whole(base, side, upscale) for upscale in _wholes(target)]
        for result in export(ExportRequest(tuple(specs), folder, verify=False), _show):
            if result.failure is not None:
                raise SystemExit(f"{result.path.name}: {result.failure}")
        _export_plain("coarse", LOW_RESOLUTION, folder, target)
    for side in sorted(set(WHOLE_SIDES) & set(sides)):
        _show("naive", f"{side} converting")
        _export_plain("naive", side, folder, "onnx")


def _wholes(target: str) -> tuple[str, ...]:
    """Forms of whole programs; dense ones only in ONNX, which they are compared in."""
    return ("gather", "dense") if target == "onnx" else ("gather",)


def _whole(base: ExportSpec, side: int, upscale: str) -> ExportSpec:
    return replace(base, options=RethinedOptions(hr=side, upscale=upscale), part="whole")


def _export_plain(what: str, side: int, folder: Path, target: str) -> None:
    """What no artifact is: the coarse network alone, or the reference as it is written.

    The first is the yardstick of the whole; the second, ``naive``, is what exporting the model
    without any rewrite gives (ONNX only: the other converters refuse it).
    """
    import torch

    from rethined_export.converters.types import run_program
    from rethined_export.models.rethined import reparameterise

    class Plain(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            made = self.network(*inputs)
            output: torch.Tensor = made[0] if isinstance(made, tuple) else made.output
            return output

    model = shipped_network()
    reparameterise(model)
    inputs = {"image": torch.rand(1, 3, side, side), "mask": torch.zeros(1, 1, side, side)}
    inputs["mask"][:, :, : side // 4] = 1
    network = Plain(model if what == "naive" else model.coarse_model).eval()
    program = run_program(network, inputs, ("output",), (*inputs, "output"))
    converter(target).convert(program, _plain_path(what, side, folder, target))


def _plain_path(what: str, side: int, folder: Path, target: str) -> Path:
    return folder / f"{what}-{side}{TARGETS[target].suffix}"


def _measure_all(sides: list[int], folder: str, repeats: int) -> dict[str, Any]:
    def run(what: str, side: int, name: str) -> Any:
        _show(what, f"{side} {name}")
        command = [sys.executable, "-m", "rethined_export.benchmarks.scaling", "--measure", what,
                   str(side), folder, name, "--repeats", str(repeats)]  # fmt: skip
        environment = os.environ | ENVIRONMENT  # as fills by the commands run
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{what} {side} {name} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    machine = run("machine", 0, "")
    points = [
        {"runtime": name, "side": side, **point}
        for name in RUNTIMES
        for side in sides
        for point in run("times", side, name)
    ]
    memory = [
        {"runtime": name, "side": side, **run("memory", side, name)}
        for name in RUNTIMES
        for side in sides
    ]
    together = {
        name: run("sides", 0, name) for name in RUNTIMES if {1024, 2048, 4096} <= set(sides)
    }
    covers = {name: run("covers", 2048, name) for name in RUNTIMES if 2048 in sides}
    figures = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {THREADS} threads, {platform.system()}",
        **machine,
        "points": points,
        "memory": memory,
        "sides": together,
        "covers_2048": covers,
    }
    return (
        figures
        | _ratios(points, together)
        | _of_pairs(points, covers)
        | {"law": {n: _law(points, n) for n in RUNTIMES}}
    )


def _show(first: str, second: str) -> None:
    print(f"{first}: {second}", file=sys.stderr, flush=True)


# --- One process each ----------------------------------------------------------------------------


def _machine(_side: int, _folder: Path, _name: str, repeats: int) -> dict[str, float]:
    """Copy bandwidth (bytes read and written a second) and matrix rate (multiply-adds a second)."""
    import torch

    torch.set_num_threads(THREADS)
    source, target = np.ones(1 << 26, np.float32), np.empty(1 << 26, np.float32)
    seconds = _median(lambda: np.copyto(target, source), repeats)
    a = torch.rand(2048, 2048)
    return {
        "copy_bytes_per_s": 2 * source.nbytes / seconds,
        "macs_per_s": 2048**3 / _median(lambda: a @ a, repeats),
    }


@dataclass(frozen=True)
class Scene:
    """A photo of noise with whole tokens as its hole: time does not depend on what it shows."""

    photo: npt.NDArray[np.uint8]
    hole: npt.NDArray[np.bool_]

    @property
    def inputs(self) -> dict[str, Floats]:
        """As a whole program takes it."""
        image = self.photo.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        return {"image": image, "mask": self.hole[None, None].astype(np.float32)}


def scene(side: int, tokens: int) -> Scene:
    """A photo with this many hole tokens."""
    return Scene(*noise_photo(Window.square(side), tokens / TOKENS))


class _Loader(ExitStack):
    """Loads what one runtime runs from a folder; closes it at the end."""

    def __init__(self, folder: Path, target: str) -> None:
        super().__init__()
        self._folder, self._target = folder, target
        self._base = replace(_SPEC, target=target)

    def pair(self, side: int) -> Pair:
        """The split pair for one side."""
        low, choose = self._load(self._base), self._load(replace(self._base, part="choose"))
        return Pair(low, choose, None, side // LOW_RESOLUTION, _OPTIONS.places, 1)

    def coarse(self) -> Callable[[], object]:
        """The coarse network alone."""
        inputs = scene(LOW_RESOLUTION, TOKENS * COVER // 100).inputs
        return partial(self._open(self._plain("coarse", LOW_RESOLUTION)), **inputs)

    def wholes(self, side: int, shown: Scene) -> dict[str, Callable[[], object]]:
        """Whole programs; their inputs are floats already, which a caller would have to make."""
        if side not in WHOLE_SIDES:
            return {}
        programs: dict[str, Any] = {"gather": self._load(_whole(self._base, side, "gather"))}
        if self._target == "onnx":
            dense = self._folder / _whole(self._base, side, "dense").file_name()
            programs["dense"] = flushing(dense, THREADS)
            programs["naive"] = flushing(self._plain("naive", side), THREADS)
        inputs = shown.inputs
        return {name: partial(program, **inputs) for name, program in programs.items()}

    def _plain(self, what: str, side: int) -> Path:
        return _plain_path(what, side, self._folder, self._target)

    def _load(self, spec: ExportSpec) -> Any:
        return self._open(self._folder / spec.file_name())

    def _open(self, path: Path) -> Any:
        return self.enter_context(converter(self._target).load(path, THREADS))


def _times(side: int, folder: Path, name: str, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds of every implementation at one side; one after the other, turn about."""
    points = []
    with _Loader(folder, RUNTIMES[name]) as load:
        pair, coarse = load.pair(side), load.coarse()
        for cover in COVERS:
            shown = scene(side, TOKENS * cover // 100)
            square = Square(shown.photo, shown.hole, pair.scale)
            calls: dict[str, Callable[[], object]] = {
                "patches": partial(pair.fill, square, THREADS)
            }
            if cover == COVER:
                calls |= {"coarse": coarse} | load.wholes(side, shown)
            # The slow ones apart, in turn with what they are compared with: they empty every cache.
            slow = [name for name in ("dense", "naive") if name in calls]
            times = _turn_about({n: call for n, call in calls.items() if n not in slow}, repeats)
            for other in slow:
                in_turn = {n: calls[n] for n in (other, "patches")}
                times |= _turn_about(in_turn, min(repeats, MOST_SLOW))
            parts = _stages(pair, square, repeats) if cover == COVER else {}
            tokens = int(shown.hole.sum()) * TOKENS // side**2
            points.append({"cover": cover, "tokens": tokens, "ms": times, "stages": parts})
    return points


def _covers(side: int, folder: Path, name: str, repeats: int) -> dict[str, float]:
    """Milliseconds of a pair at one side, by the hole's percent of all tokens, in turn."""
    with _Loader(folder, RUNTIMES[name]) as load:
        pair = load.pair(side)
        calls: dict[str, Callable[[], object]] = {}
        for cover in COVERS:
            shown = scene(side, TOKENS * cover // 100)
            square = Square(shown.photo, shown.hole, pair.scale)
            calls[str(cover)] = partial(pair.fill, square, THREADS)
        return _turn_about(calls, 3 * repeats)


def _sides(_side: int, folder: Path, name: str, repeats: int) -> dict[str, float]:
    """Milliseconds of a pair at 1024 and 4096, in turn, beside the coarse network alone.

    The hole is a tenth of all tokens; at 4096 also one of as many pixels as that of 1024.
    """
    tenth = TOKENS * COVER // 100
    holes = {"1024": (1024, tenth), "2048": (2048, tenth), "4096": (4096, tenth),
             "4096 same pixels": (4096, round(tenth / 16))}  # fmt: skip
    with _Loader(folder, RUNTIMES[name]) as load:
        calls: dict[str, Callable[[], object]] = {"coarse": load.coarse()}
        for label, (side, tokens) in holes.items():
            shown, pair = scene(side, tokens), load.pair(side)
            calls[label] = partial(pair.fill, Square(shown.photo, shown.hole, pair.scale), THREADS)
        return _turn_about(calls, 3 * repeats)


def _stages(pair: Pair, square: Square, repeats: int) -> dict[str, float]:
    """Milliseconds: shrinking, the two programs, and all at full resolution."""
    image, mask = square.shrink(threads=THREADS)
    choice = pair.look(image, mask)
    calls: dict[str, Callable[[], object]] = {
        "shrink": partial(square.shrink, threads=THREADS),
        "low": partial(pair.look, image, mask),
        "high": partial(square.fill, choice, THREADS),
    }
    return _turn_about(calls, repeats)


def _memory(side: int, folder: Path, name: str, _repeats: int) -> dict[str, float]:
    """Peak resident bytes of a process that fills one photo with a pair, and of it before."""
    runtime = RUNTIMES[name]
    converter(runtime)
    before = peak_rss_bytes()
    with _Loader(folder, runtime) as load:
        pair, shown = load.pair(side), scene(side, TOKENS * COVER // 100)
        pair.fill(Square(shown.photo, shown.hole, pair.scale), THREADS)
    return {"peak_bytes": peak_rss_bytes(), "libraries_bytes": before}


_MEASUREMENTS: dict[str, Callable[[int, Path, str, int], Any]] = {
    "machine": _machine,
    "times": _times,
    "sides": _sides,
    "covers": _covers,
    "memory": _memory,
}


def _turn_about(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each, called in turn, after one round to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    return {name: 1e3 * statistics.median(times[1:]) for name, times in taken.items()}


def _median(call: Callable[[], object], repeats: int) -> float:
    return _turn_about({"": call}, repeats)[""] / 1e3


# --- What follows from it ------------------------------------------------------------------------


def _ratios(points: list[dict[str, Any]], together: dict[str, Any]) -> dict[str, float]:
    """The figures that the project has set itself; each from runs in turn in one process."""
    found: dict[str, float] = {}
    dense = {p["side"]: p for p in points if "naive" in p["ms"]}
    for side in (2048, 4096):
        if {side, LOW_RESOLUTION} <= dense.keys():
            times, stages = dense[side]["ms"], dense[side]["stages"]
            for name, what in (("dense", "naive"), ("rewritten_dense", "dense")):
                high = times[what] - dense[LOW_RESOLUTION]["ms"][what]
                found[f"ratio_{name}_over_patches_{side}"] = times[what] / times["patches"]
                found[f"ratio_{name}_over_patches_high_{side}"] = high / stages["high"]
    for name, times in together.items():
        short = RUNTIMES[name]
        found[f"ratio_4096_over_1024_same_share_{short}"] = times["4096"] / times["1024"]
        same = times["4096 same pixels"] / times["1024"]
        found[f"ratio_4096_over_1024_same_pixels_{short}"] = same
        found[f"ratio_patches_over_coarse_2048_{short}"] = times["2048"] / times["coarse"]
    if together:
        onnx = found["ratio_4096_over_1024_same_pixels_onnx"]
        found["ratio_4096_over_1024_same_pixels"] = onnx
    return found


def _of_pairs(
    points: list[dict[str, Any]], covers: dict[str, dict[str, float]]
) -> dict[str, float]:
    """What a pair takes around its network, and what larger holes cost it; in ONNX Runtime."""
    found: dict[str, float] = {}
    for name, short in RUNTIMES.items():
        ending = "" if short == "onnx" else f"_{short}"
        for point in points:
            if point["runtime"] == name and point["stages"] and point["side"] in (4096, 8192):
                around = point["stages"]["shrink"] + point["stages"]["high"]
                found[f"around_network_{point['side']}_ms{ending}"] = around
        for cover in (25, 50, 100):
            if name in covers:
                ratio = covers[name][str(cover)] / covers[name][str(COVER)]
                found[f"pair_{cover}_over_{COVER}_2048{ending}"] = ratio
    return found


def _law(points: list[dict[str, Any]], runtime: str) -> dict[str, float]:
    """Least squares: milliseconds = a + b · hole tokens + c · hole pixels + d · image pixels.

    A hole token costs attention (b) and, by its area, copying and filtering (c).
    """
    chosen = [p for p in points if p["runtime"] == runtime and p["side"] > LOW_RESOLUTION]
    rows = [
        (1.0, p["tokens"], p["tokens"] * (p["side"] / GRID) ** 2 / 1e6, p["side"] ** 2 / 1e6)
        for p in chosen
    ]
    times = np.array([p["ms"]["patches"] for p in chosen])
    # Relative errors count alike: the small runs are the ones that have a budget.
    weights = 1 / times
    solved, *_ = np.linalg.lstsq(np.array(rows) * weights[:, None], times * weights, rcond=None)
    error = np.abs(np.array(rows) @ solved / times - 1)
    names = ("ms", "ms_per_token", "ms_per_hole_megapixel", "ms_per_megapixel")
    law = {name: float(value) for name, value in zip(names, solved, strict=True)}
    return law | {"median_error": float(np.median(error)), "largest_error": float(error.max())}


def floor_ms(figures: dict[str, Any], side: int, tokens: int) -> float:
    """The least that full resolution can take: bytes over bandwidth plus products over rate.

    Bytes: each source patch is read and each patch written once, as fp32. Products: a separable
    bicubic of 4 taps on the patch.
    """
    patch = (PATCH * side // LOW_RESOLUTION) ** 2 * 3
    copying = 4 * 2 * patch / figures["copy_bytes_per_s"]
    products = 8 * patch / figures["macs_per_s"]
    return float(1e3 * tokens * (copying + products))


# --- Report --------------------------------------------------------------------------------------


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Cost against image and hole",
        "",
        f"Made by `make bench-scaling` on {figures['date']}; {figures['machine']}; mobile preset, "
        "shipped weights, k = 1; medians, ms. A shared machine: read ratios. "
        "`patches` is the split pair with librethined, from an 8-bit photo to the "
        "pasted result; the others are whole programs on images already made floats: `gather` and "
        "`dense` rewritten, `naive` the reference as torch exports it, both with subnormal numbers "
        "taken for zero. `coarse alone` is the reference's coarse network, re-parameterised only.",
        "",
        f"Copying moves {figures['copy_bytes_per_s'] / 1e9:.1f} GB/s, a matrix product does "
        f"{figures['macs_per_s'] / 1e9:.0f} GMAC/s here.",
        "",
        "| runtime | side | hole | shrink | low | high | floor of high | patches | gather | dense "
        "| naive | coarse alone |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point in figures["points"]:
        times, stages = point["ms"], point["stages"]
        floor = "–"
        if stages and point["side"] > LOW_RESOLUTION:
            least = floor_ms(figures, point["side"], point["tokens"])
            floor = f"{least:.1f} (high is {stages['high'] / least:.1f} times)"
        cells = [
            point["runtime"],
            str(point["side"]),
            f"{point['cover']} % ({point['tokens']} tokens)",
            *(_cell(stages, name) for name in ("shrink", "low", "high")),
            floor,
            *(_cell(times, name) for name in ("patches", "gather", "dense", "naive", "coarse")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| ratio | measured |", "|---|---|"]
    lines += [f"| {k[6:]} | {v:.2f} |" for k, v in figures.items() if k.startswith("ratio_")]
    own = ("around_network_", "pair_")
    lines += [f"| {k} | {v:.2f} |" for k, v in figures.items() if k.startswith(own)]
    lines += ["", "Cost law of `patches`, fitted to all its points above 512:", ""]
    for name, law in figures["law"].items():
        lines.append(
            f"- {name}: {law['ms']:.1f} ms + {1e3 * law['ms_per_token']:.1f} µs a hole token + "
            f"{law['ms_per_hole_megapixel']:.1f} ms a megapixel of hole + "
            f"{law['ms_per_megapixel']:.2f} ms a megapixel of photo (off by "
            f"{law['median_error']:.0%} in the median, {law['largest_error']:.0%} at most)"
        )
    lines += ["", "| runtime | side | peak memory MB | of it libraries |", "|---|---|---|---|"]
    for row in figures["memory"]:
        lines.append(
            f"| {row['runtime']} | {row['side']} | {row['peak_bytes'] / 1e6:.0f} "
            f"| {row['libraries_bytes'] / 1e6:.0f} |"
        )
    return "\n".join(lines) + "\n\n![time against side and hole](scaling.png)\n"


def _cell(times: dict[str, float], name: str) -> str:
    return f"{times[name]:.1f}" if name in times else "–"


def _plot(figures: dict[str, Any], path: Path) -> None:
    """Time against side at one cover, and against the hole at one side."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    picture, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    dashes = dict(zip(RUNTIMES, ("-", "--"), strict=True))
    for runtime, dash in dashes.items():
        own = [p for p in figures["points"] if p["runtime"] == runtime]
        for place, what in enumerate(("naive", "dense", "gather", "patches", "coarse")):
            line = [
                (p["side"], p["ms"][what]) for p in own if p["cover"] == COVER and what in p["ms"]
            ]
            if line:
                left.plot(*zip(*line, strict=True), f"C{place}o{dash}", label=f"{what}, {runtime}")
    for place, side in enumerate((1024, 4096)):
        for runtime, dash in dashes.items():
            line = [
                (p["tokens"], p["ms"]["patches"])
                for p in figures["points"]
                if (p["runtime"], p["side"]) == (runtime, side)
            ]
            if line:
                right.plot(*zip(*line, strict=True), f"C{place}o{dash}", label=f"{side}, {runtime}")
    left.set(xscale="log", yscale="log", xlabel="side of the photo", ylabel="ms", title="hole 10 %")
    left.set_xticks(SIDES, [str(side) for side in SIDES])
    left.set_xticks([], minor=True)
    right.set(xlabel="hole tokens of 4096", ylabel="ms", title="hole tokens only (patches)")
    left.legend(fontsize=7)
    right.legend(fontsize=8)
    picture.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
