"""What each precision costs in the picture, saves in the file and gains in time.

Run by ``make bench-precision``. Of each target, artifacts of every precision are made from one in
fp32, judged on the bundled photos as exports are, and timed beside it, run in turn in one process.
Writes ``benchmarks/results/precision.{json,md}``; rows that are not measured again stay.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from rethined_export.artifacts import size_of, tool_versions
from rethined_export.benchmarks.beside import THREADS, time_beside
from rethined_export.converters import TARGETS
from rethined_export.converters.reducing.types import EXACT, PRECISIONS
from rethined_export.export import convert, verify
from rethined_export.jobs.parent import JobError, run_job
from rethined_export.parity.gates import GATES
from rethined_export.photo.calibration import Calibration
from rethined_export.recipes.options import Options
from rethined_export.reduction.reduce import reduce
from rethined_export.spec import ExportSpec

RESULTS = Path(__file__).parent / "results"
#: A precision is to bring a file to this share of that in fp32.
SIZES = {"fp16": 0.52, "int8": 0.30, "int8-dynamic": 0.30, "int8-weights": 0.30}
#: An interpreter over torch tells nothing of Apple's runtime.
_TIMED = ("onnx", "tflite")


@dataclass(frozen=True)
class Subject:
    """One network; ``trained``: its weights are shipped."""

    model: str
    options: Options
    trained: bool

    @property
    def name(self) -> str:
        return f"{self.model} {self.options.preset} {self.options.size_text}".strip()


def subjects() -> list[Subject]:
    """The shipped network, and stand-ins of two others."""
    from rethined_export.recipes.lama.options import LamaOptions
    from rethined_export.recipes.migan.options import MiGanOptions
    from rethined_export.recipes.rethined.options import RethinedOptions

    return [
        Subject("rethined", RethinedOptions(hr=512), True),
        Subject("migan", MiGanOptions(preset="256"), False),
        Subject("lama", LamaOptions(preset="fourier", size="128x128"), False),
    ]


def main() -> None:
    """Measure, and write the table and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", help="only these")
    parser.add_argument("--target", nargs="+", default=list(TARGETS), help="only these")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), help="only these")
    options = parser.parse_args()
    for subject in subjects():
        if options.model is None or subject.model in options.model:
            for target in options.target:
                for row in _rows(subject, target, options.precision):
                    _keep(row)


def _keep(row: dict[str, Any]) -> None:
    """Put a row in the place of an older one of the same name."""
    path = RESULTS / "precision.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    figures = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {THREADS} threads, {platform.system()}",
        "versions": {n: v for t in TARGETS for n, v in tool_versions(t, "int8").items()},
        "rows": [*(other for other in before if _key(other) != _key(row)), row],
    }
    path.write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "precision.md").write_text(report(figures))


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("subject", "target", "precision"))


def _rows(subject: Subject, target: str, precisions: list[str]) -> Iterator[dict[str, Any]]:
    """One network in one target: those of the precisions that it has."""
    spec = ExportSpec(subject.model, target, subject.options, untrained=not subject.trained)
    wanted = [name for name in precisions if name in TARGETS[target].precisions and name != EXACT]
    with tempfile.TemporaryDirectory() as folder:
        exact: dict[str, Path] = {}  # by how its weights are rounded
        for name in wanted:
            precision = PRECISIONS[name]
            calibration = Calibration() if precision.sees_photos else None
            made = replace(spec, precision=name, calibration=calibration)
            rounded = f"{precision.rounded}-{precision.palette}"
            if rounded not in exact:
                exact[rounded] = Path(folder) / f"exact-{rounded}{TARGETS[target].suffix}"
                given = {"spec": made.to_dict(), "path": str(exact[rounded]), "threads": THREADS}
                run_job(convert, given, _show(f"{subject.name} {target}"))
            yield _row(subject, made, exact[rounded])


def _row(subject: Subject, spec: ExportSpec, exact: Path) -> dict[str, Any]:
    show = _show(f"{subject.name} {spec.target} {spec.precision}")
    path = exact.with_name(f"reduced-{spec.precision}{exact.suffix}")
    given = {"spec": spec.to_dict(), "path": str(path), "threads": THREADS}
    row: dict[str, Any] = {
        "subject": subject.name,
        "trained": subject.trained,
        "target": spec.target,
        "precision": spec.precision,
    }
    try:
        made = run_job(reduce, {**given, "source": str(exact)}, show)
    except JobError as error:
        return {**row, "failure": str(error)}
    found = run_job(verify, {**given, "image": None, "mask": None}, show)
    times = {"ratio": None}
    if spec.target in _TIMED:
        places = {"exact": str(exact), "path": str(path), "spec": spec.to_dict()}
        times = run_job(time_beside, places, show)
    return {
        **row,
        "failure": None,
        "bytes": size_of(path),
        "size": size_of(path) / size_of(exact),
        **{name: found["quality"][name] for name in ("psnr_hole_db", "loss_db", "loss_ssim")},
        "failures": found["failures"],
        "flips": found["index_flips"],
        "choices": found.get("choices"),
        "kept": len(made["kept"]),
        "ratio": times["ratio"],
    }


def _show(name: str) -> Callable[[str], None]:
    return lambda stage: print(f"{name}: {stage}", file=sys.stderr, flush=True)


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    lines = [
        "# Precisions",
        "",
        f"Made by `make bench-precision` on {figures['date']}; {figures['machine']}. {versions}.",
        "",
        "Against the same artifact in fp32; figures of the picture are the worst of the bundled "
        "photos, in the hole. *Lost* is PSNR and SSIM against the photo: positive is worse. "
        "*Faster* is fp32's time over the artifact's, run in turn in one process, with the 95 % "
        "interval of its median; below 1 it is slower. Core ML runs in our interpreter, whose time "
        "tells nothing. Networks marked * are seeded stand-ins that do not inpaint: their size and "
        "time are right, their figures of the picture say little.",
        "",
        "| network | target | precision | size | hole PSNR | lost dB | lost SSIM | keys flipped "
        "| faster | gate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_line(row) for row in figures["rows"])]) + "\n"


def _line(row: dict[str, Any]) -> str:
    name = f"{row['subject']}{'' if row['trained'] else ' *'}"
    head = f"| {name} | {row['target']} | {row['precision']} "
    if row["failure"]:
        return f"{head}| – | – | – | – | – | – | {row['failure']} |"
    flips = "–" if not row["choices"] else f"{row['flips'] / row['choices']:.1%}"
    faster = "–"
    if row["ratio"]:
        median, low, high = row["ratio"]
        faster = f"{median:.2f} ({low:.2f}–{high:.2f})"
    most = SIZES.get(row["precision"])
    over = f" (≤ {most})" if most and row["size"] > most else ""
    gate = GATES[row["precision"]]
    verdict = "held" if not row["failures"] else f"missed ({gate.psnr_hole_db:.0f} dB)"
    kept = f", {row['kept']} layers kept" if row["kept"] else ""
    return (
        f"{head}| {row['size']:.3f}{over} | {row['psnr_hole_db']:.1f} | {row['loss_db']:+.2f} "
        f"| {row['loss_ssim']:+.4f} | {flips} | {faster} | {verdict}{kept} |"
    )


if __name__ == "__main__":
    main()
