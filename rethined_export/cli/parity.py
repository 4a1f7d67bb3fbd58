"""``rethined-parity``: artifacts on disk against their torch reference."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from rethined_export.artifacts import hash_artifact, manifest_path, read_manifest, size_of
from rethined_export.cli.common import OnStage, err, fail, out, parser, run, stages
from rethined_export.converters import converter, target_of
from rethined_export.converters.types import ArtifactError, UnsupportedOperatorError
from rethined_export.errors import OperatorError, ParityError, UserError
from rethined_export.export import compare
from rethined_export.jobs import JobError

_EXAMPLES = """\
  rethined-parity dist/*.onnx
  rethined-parity dist/*.tflite --image photo.jpg --mask mask.png --json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> ArgumentParser:
    made = parser(
        "rethined-parity",
        "Run saved artifacts on photos and compare each with its torch reference, in the hole. "
        "Exit codes: 0 every gate held, 2 unusable file, 3 a gate failed.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("artifacts", nargs="+", type=Path, metavar="ARTIFACT")
    add("--image", type=Path, help="photo to compare on, with --mask; default: bundled photos")
    add("--mask", type=Path, help="its mask; white marks the hole")
    add("--ignore-hash", action="store_true", help="measure a file the manifest did not sign")
    add("--json", action="store_true", help="one JSON document on standard output")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if (options.image is None) != (options.mask is None):
        raise UserError("--image and --mask go together; give both or neither")
    entries: list[dict[str, Any]] = []
    with stages(err) as on_stage:
        for artifact in options.artifacts:
            entries.append(_check(artifact, options, on_stage))
    if options.json:
        print(json.dumps({"artifacts": entries}, indent=2))
    else:
        _print_table(entries)
    for entry in entries:
        if entry["failure"]:
            fail(f"{entry['path']}: {entry['failure']}")
    return max(entry["exit_code"] for entry in entries)


def _check(artifact: Path, options: Any, on_stage: OnStage) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": str(artifact), "parity": None, "failure": None, "exit_code": 0}
    try:
        _measure(artifact, options, on_stage, entry)
    except (UserError, JobError) as error:
        entry |= {"failure": str(error), "exit_code": error.exit_code}
    except ArtifactError as error:
        entry |= {"failure": str(error), "exit_code": UserError.exit_code}
    except UnsupportedOperatorError as error:
        entry |= {"failure": str(error), "exit_code": OperatorError.exit_code}
    return entry


def _measure(artifact: Path, options: Any, on_stage: OnStage, entry: dict[str, Any]) -> None:
    target = entry["target"] = target_of(artifact)
    manifest = read_manifest(artifact)
    found = hash_artifact(artifact)
    entry |= {"bytes": size_of(artifact), "sha256": found, "seconds": None}
    if found != manifest.sha256 and not options.ignore_hash:
        raise UserError(
            f"not the file {manifest_path(artifact).name} signed (sha256 {found[:12]}…, not "
            f"{manifest.sha256[:12]}…); export it again, or pass --ignore-hash to measure it"
        )

    def stage(text: str) -> None:
        on_stage(artifact.name, text)

    parity = compare(manifest, artifact, stage, options.image, options.mask)
    entry["operators"] = manifest.operators
    if found != manifest.sha256:
        entry["operators"] = dict(converter(target).count_operators(artifact))
    entry["parity"] = parity
    if not parity["passed"]:
        failures = "; ".join(parity["failures"])
        entry |= {
            "failure": f"parity failed: {failures}",
            "exit_code": ParityError.exit_code,
        }


def _print_table(entries: list[dict[str, Any]]) -> None:
    table = Table("artifact", "scene", "cover", "max |Δ|", "hole PSNR", "flips", "mass kept",
                  box=None, pad_edge=False)  # fmt: skip
    for entry in entries:
        name = Path(entry["path"]).name
        if entry["parity"] is None:
            table.add_row(name, "not run", *["-"] * 5)
            continue
        for scene in entry["parity"]["scenes"]:
            choice = scene["choice"]
            table.add_row(
                name,
                scene["scene"],
                f"{scene['cover']:.0%}",
                f"{scene['max_abs']:.1e}",
                f"{scene['psnr_hole_db']:.0f} dB",
                "-" if choice is None else f"{choice['flips']} ({choice['unexplained']} unexpl.)",
                f"{scene['mass_kept']:.2f}",
            )
    out.print(table)
