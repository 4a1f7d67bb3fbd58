"""How far to trust an estimate: graphs whose time is known, each predicted from the others.

Run by ``make bench-estimator``; needs ``make emulator``. Every graph is timed here with one thread
and counted in the emulator; its time is then predicted from its count and the rates of the other
graphs in the same runtime. Writes ``benchmarks/results/estimator.{json,md}``.
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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from rethined_export.artifacts import tool_versions
from rethined_export.benchmarks.arm64.system import CORE, system
from rethined_export.benchmarks.calibration import Point, Rates
from rethined_export.benchmarks.runners.arm64 import emulate
from rethined_export.benchmarks.runners.types import RUNTIMES
from rethined_export.benchmarks.subjects import noise_photo
from rethined_export.converters import TARGETS, converter
from rethined_export.export import ExportRequest, export
from rethined_export.jobs.parent import ENVIRONMENT
from rethined_export.photo.window import Window
from rethined_export.recipes.rethined import shipped_network
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.spec import ExportSpec

RESULTS = Path(__file__).parent / "results"
SIDE = 512
#: Whole artifacts: how patches come about, and the hole budget in percent.
_WHOLES = (("gather", None), ("dense", None), ("patches", 10))
#: How the names of the graphs begin that are the network's or hold it.
_NETWORK = ("coarse network", "artifact")
#: Times are taken in rounds, minutes apart; the quietest one counts.
_ROUNDS, _WARM_UP, _RUNS = 3, 3, 15


@dataclass(frozen=True)
class Graph:
    """A file, and a folder with ``inputs.npz`` in its own layouts and ``host.npz`` in torch's."""

    name: str
    target: str
    path: Path
    folder: Path


@dataclass(frozen=True)
class Prediction:
    """One graph, predicted from the others of its runtime.

    Attributes:
        ms: measured. likely, low, high: predicted.
    """

    name: str
    target: str
    instructions: int
    ms: float
    likely: float
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.likely / self.ms

    @property
    def covered(self) -> bool:
        """Whether the measured time lies in the predicted band."""
        return self.low <= self.ms <= self.high


def main() -> None:
    """Measure, count, predict, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.time is not None:
        print(json.dumps([_time_here(*entry) for entry in json.loads(options.time)]))
        return
    with tempfile.TemporaryDirectory(prefix="rethined-") as name:
        points = measure(prepare(Path(name)))
    figures = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg()[2],
        "emulated_core": CORE,
        "versions": {k: v for t in RUNTIMES for k, v in tool_versions(t).items()},
        "points": {target: [asdict(point) for point in some] for target, some in points.items()},
    }
    made = report(figures, points)
    (RESULTS / "estimator.json").write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "estimator.md").write_text(made)
    print(made)


def measure(graphs: Sequence[Graph]) -> dict[str, list[Point]]:
    """Time every graph in each round and count it once, between rounds; by target."""
    rounds: list[list[float]] = []
    counts: dict[Path, int] = {}
    for number in range(_ROUNDS):
        rounds.append(_time(graphs))
        counts |= {graph.path: _count(graph) for graph in graphs[number::_ROUNDS]}
    points: dict[str, list[Point]] = {}
    for graph, times in zip(graphs, zip(*rounds, strict=True), strict=True):
        point = Point(graph.name, counts[graph.path], min(times))
        points.setdefault(graph.target, []).append(point)
    return points


def leave_one_out(target: str, points: Sequence[Point]) -> list[Prediction]:
    """Predict each graph from all others.

    Args:
        points: of one runtime; one more than a band is made of, or more.
    """
    made = []
    for place, point in enumerate(points):
        others = Rates(target, "", tuple(points[:place]) + tuple(points[place + 1 :]))
        low, high = others.band(point.instructions)
        likely = others.likely(point.instructions)
        made.append(
            Prediction(point.artifact, target, point.instructions, point.ms, likely, low, high)
        )
    return made


# --- Graphs --------------------------------------------------------------------------------------


def prepare(folder: Path) -> list[Graph]:
    """Convert every graph for both runtimes, and store its inputs."""
    made = []
    for target in RUNTIMES:
        made += _parts(folder, target)
        made += _artifacts(folder, target)
    return made


def _artifacts(folder: Path, target: str) -> list[Graph]:
    """Whole artifacts of the mobile preset, as ``rethined-export`` writes them."""
    specs = tuple(
        ExportSpec(
            "rethined", target, RethinedOptions(hr=SIDE, upscale=upscale, hole_budget=budget)
        )
        for upscale, budget in _WHOLES
    )
    made = []
    for result in export(ExportRequest(specs, folder, verify=False), _show):
        if result.failure is not None:
            raise SystemExit(f"{result.path.name}: {result.failure}")
        photo, hole = noise_photo(Window.square(SIDE))
        inputs = {
            "image": photo.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255),
            "mask": hole[None, None].astype(np.float32),
        }
        made.append(
            _stored(f"artifact {result.spec.options.form('whole')}", target, result.path, inputs)
        )
    return made


def _parts(folder: Path, target: str) -> list[Graph]:
    """The coarse network alone, and graphs of one kind of operator each."""
    import torch

    from rethined_export.converters.types import run_program
    from rethined_export.models.rethined import reparameterise

    class Coarse(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            coarse: torch.Tensor = self.network(image, mask)[0]
            return coarse

    model = shipped_network()
    reparameterise(model)
    scene = {"image": torch.rand(1, 3, SIDE, SIDE), "mask": torch.zeros(1, 1, SIDE, SIDE)}
    scene["mask"][:, :, :, : SIDE // 4] = 1
    programs = {"coarse network": (Coarse(model.coarse_model), scene, "output")}
    for name, (module, shape) in _modules().items():
        programs[name] = (module, {"x": torch.rand(shape)}, "y")
    made = []
    for name, (module, inputs, output) in programs.items():
        _show(target, name)
        path = folder / f"{name.replace(' ', '-')}{TARGETS[target].suffix}"
        images = (*inputs, output) if name == "coarse network" else ()
        program = run_program(module.eval(), inputs, (output,), images)
        converter(target).convert(program, path)
        made.append(_stored(name, target, path, {n: t.numpy() for n, t in inputs.items()}))
    return made


def _modules() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Modules of one kind of operator each, in shapes that resemble ours, and their input's."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x @ x.transpose(1, 2) / 16, -1) @ x

    class Elementwise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for scale in (0.5, 0.25, 0.125):
                x = (x * scale + x.flip(1)).clamp(0, 1)
            return x.sigmoid()

    class Gather(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = torch.arange(len(x) - 1, -1, -1)
            return x[rows].reshape(32, 32, 16, 16, 8).permute(0, 2, 1, 3, 4).reshape(512, 512, 8)

    class Resize(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            larger = nn.functional.interpolate(x, scale_factor=4.0, mode="bilinear")
            return nn.functional.avg_pool2d(larger, 2)

    def separable(channels: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        return [depthwise, nn.Conv2d(channels, channels, 1), nn.ReLU()]

    wide = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)]
    layers = [layer for _ in range(4) for layer in separable(64)]
    return {
        "convolutions": (nn.Sequential(*wide), (1, 16, 128, 128)),
        "separable convolutions": (nn.Sequential(*layers), (1, 64, 128, 128)),
        "attention": (Attention(), (1, 1024, 256)),
        "elementwise": (Elementwise(), (1, 8, 512, 512)),
        "gather": (Gather(), (1024, 2048)),
        "resize": (Resize(), (1, 16, 128, 128)),
    }


def _stored(name: str, target: str, path: Path, inputs: dict[str, Any]) -> Graph:
    folder = path.with_name(path.name + "-inputs")
    folder.mkdir()
    np.savez(folder / "host.npz", **inputs)
    if target == "tflite":
        last = converter(target).channels_last(path)
        inputs = {n: a.transpose(0, 2, 3, 1) if n in last else a for n, a in inputs.items()}
    np.savez(folder / "inputs.npz", **inputs)
    return Graph(name, target, path, folder)


# --- Measurements --------------------------------------------------------------------------------


def _count(graph: Graph) -> int:
    _show(graph.target, f"{graph.name}: emulating")
    return emulate(system(), graph.folder, graph.path, graph.target)


def _time(graphs: Sequence[Graph]) -> list[float]:
    """Median milliseconds of each, in a process of its own with the memory settings of a worker."""
    _show("all", "timing")
    entries = json.dumps([(g.target, str(g.path), str(g.folder)) for g in graphs])
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--time", entries],
        env=os.environ | ENVIRONMENT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    times: list[float] = json.loads(done.stdout)
    return times


def _time_here(target: str, path: str, folder: str) -> float:
    with np.load(Path(folder, "host.npz")) as stored:
        inputs = dict(stored)
    times = []
    with converter(target).load(Path(path), 1) as runtime:
        for _ in range(_WARM_UP + _RUNS):
            begun = time.perf_counter()
            runtime(**inputs)
            times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times[_WARM_UP:])


def _show(target: str, stage: str) -> None:
    print(f"{target}: {stage}", file=sys.stderr, flush=True)


# --- Report --------------------------------------------------------------------------------------


def report(figures: dict[str, Any], points: dict[str, list[Point]]) -> str:
    """The predictions as Markdown: from all others, and of the network's graphs from each other."""
    every = {target: leave_one_out(target, some) for target, some in points.items()}
    alike = {
        target: leave_one_out(target, [p for p in some if p.artifact.startswith(_NETWORK)])
        for target, some in points.items()
    }
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    lines = [
        "# Estimates against measurements",
        "",
        f"Made by `make bench-estimator` on {figures['date']}; {figures['machine']}, shared with "
        f"other work (load average over a quarter of an hour: {figures['load_average']:.1f}); "
        f"instructions of an emulated {CORE}; {versions}.",
        "",
        "Each graph's time on this machine, one thread, is predicted from its count of arm64 "
        "instructions and the rates (ms for 10⁹ instructions) of the other graphs in the same "
        "runtime: at their median rate, and as the band that four of five are expected in. Times "
        f"are the lowest of {_ROUNDS} medians of {_RUNS} runs, minutes apart, against other work. "
        "This machine is no arm64 device: the figures say how well one rate "
        "serves graphs of different kinds, not how fast a phone is.",
        "",
        "From all other graphs:",
        "",
        *_table(every),
        "",
        "The coarse network and whole artifacts, from each other only:",
        "",
        *_table(alike),
        "",
        "| predicted | median error | largest error | in the band | high ÷ low of a band |",
        "|---|---|---|---|---|",
    ]
    for target, runtime in RUNTIMES.items():
        lines += [
            _summary(f"{runtime}, from all others", every[target]),
            _summary(f"{runtime}, alike from alike", alike[target]),
        ]
    return "\n".join(lines) + "\n"


def _table(predictions: dict[str, list[Prediction]]) -> list[str]:
    lines = [
        "| graph | G instructions | measured ms | predicted ms | predicted ÷ measured | band ms "
        "| in the band |",
        "|---|---|---|---|---|---|---|",
    ]
    for target, some in predictions.items():
        lines += [f"| **{RUNTIMES[target]}** | | | | | | |", *(_row(one) for one in some)]
    return lines


def _row(one: Prediction) -> str:
    return (
        f"| {one.name} | {one.instructions / 1e9:.3f} | {one.ms:.1f} | {one.likely:.1f} "
        f"| {one.ratio:.2f} | {one.low:.1f}–{one.high:.1f} | {'yes' if one.covered else 'no'} |"
    )


def _summary(name: str, some: Sequence[Prediction]) -> str:
    errors = [abs(one.ratio - 1) for one in some]
    covered = sum(one.covered for one in some)
    return (
        f"| {name} | {statistics.median(errors):.0%} | {max(errors):.0%} "
        f"| {covered} of {len(some)} | {statistics.median(p.high / p.low for p in some):.1f} |"
    )


if __name__ == "__main__":
    main()
