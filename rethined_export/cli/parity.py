"""``rethined-parity``: artifacts on disk against their torch reference."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rethined_export.cli.common import (
    err,
    fail,
    parser,
    print_json,
    print_table,
    run,
    say,
    stages,
)
from rethined_export.cli.pictures import (
    add_scene_options,
    check_scene,
    frame,
    mask_rule,
    scene_notes,
)
from rethined_export.errors import OperatorError, ParityError, UserError
from rethined_export.jobs.parent import JobError, OnStage

_EXAMPLES = """\
  rethined-parity dist/*.onnx
  rethined-parity dist/*.tflite --image photo.jpg --mask mask.png --json
  rethined-parity dist/*.mlpackage --checkpoint model.safetensors
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> ArgumentParser:
    made = parser(
        "rethined-parity",
        "Run saved artifacts on photos and compare each with its torch reference, in the hole. "
        "Exit codes: 0 every gate held, 2 unusable file, 3 a gate failed, 5 an operator the "
        "target cannot run, 6 runtime not installed.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("artifacts", nargs="+", type=Path, metavar="ARTIFACT", help="file or .mlpackage folder")
    add_scene_options(made)
    add("--checkpoint", type=Path, action="append", metavar="FILE",
        help="where the weights lie now; default: where the manifest says")  # fmt: skip
    add("--ignore-hash", action="store_true", help="measure a file the manifest did not sign")
    add("--json", action="store_true", help="one JSON document on standard output")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    check_scene(options)
    for note in scene_notes(options):
        say(err, f"note: {note}")
    with stages(err) as on_stage:
        entries = [_check(artifact, options, on_stage) for artifact in options.artifacts]
    if options.json:
        print_json({"artifacts": entries})
    else:
        print_table(_table(entries))
    for entry in entries:
        if failure := entry["failure"]:
            fail(failure if entry["path"] in failure else f"{entry['path']}: {failure}")
    return max(int(entry["exit_code"]) for entry in entries)


def _check(artifact: Path, options: Namespace, on_stage: OnStage) -> dict[str, Any]:
    """The entry of ``--json`` for one artifact, whatever happens to it."""
    from rethined_export.converters import MissingConverterError
    from rethined_export.converters.types import ArtifactError, UnsupportedOperatorError
    from rethined_export.errors import UnavailableError
    from rethined_export.export import NOT_RUN

    facts = dict.fromkeys(("target", "bytes", "sha256", "seconds", "operators"))
    entry: dict[str, Any] = {
        "path": str(artifact),
        **facts,
        "parity": NOT_RUN,
        "failure": None,
        "exit_code": 0,
    }
    try:
        _measure(artifact, options, on_stage, entry)
    except (UserError, JobError) as error:
        entry |= {"failure": str(error), "exit_code": error.exit_code}
    except ArtifactError as error:
        entry |= {"failure": str(error), "exit_code": UserError.exit_code}
    except UnsupportedOperatorError as error:
        entry |= {"failure": str(error), "exit_code": OperatorError.exit_code}
    except MissingConverterError as error:
        entry |= {"failure": str(error), "exit_code": UnavailableError.exit_code}
    return entry


def _measure(artifact: Path, options: Namespace, on_stage: OnStage, entry: dict[str, Any]) -> None:
    """Fill in an entry; what was found before a failure stays in it."""
    from rethined_export.artifacts import hash_artifact, manifest_path, read_manifest, size_of
    from rethined_export.converters import converter, target_of
    from rethined_export.export import compare, missed

    target = entry["target"] = target_of(artifact)
    manifest = read_manifest(artifact)
    found = hash_artifact(artifact)
    entry |= {"bytes": size_of(artifact), "sha256": found}
    if found != manifest.sha256 and not options.ignore_hash:
        raise UserError(
            f"not the file {manifest_path(artifact).name} signed (sha256 {found[:12]}…, not "
            f"{manifest.sha256[:12]}…); export it again, or pass --ignore-hash to measure it"
        )

    def stage(text: str) -> None:
        on_stage(artifact.name, text)

    parity = compare(
        manifest,
        artifact,
        stage,
        options.image,
        options.mask,
        tuple(options.checkpoint or ()),
        mask_rule(options),
        frame(options),
    )
    entry["operators"] = manifest.operators
    if found != manifest.sha256:
        entry["operators"] = dict(converter(target).count_operators(artifact))
    entry["parity"] = parity
    if not parity["passed"]:
        entry["failure"] = missed(parity)
        entry["exit_code"] = ParityError.exit_code


_COLUMNS = ("artifact", "scene", "cover", "max |Δ|", "hole PSNR")


def _table(entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A header and a row for each scene; models bring columns of their own."""
    found = [scene["columns"] for entry in entries for scene in entry["parity"].get("scenes", [])]
    own = tuple(dict.fromkeys(name for columns in found for name in columns))
    return [(*_COLUMNS, *own), *(row for entry in entries for row in _rows(entry, own))]


def _rows(entry: dict[str, Any], own: tuple[str, ...]) -> list[tuple[str, ...]]:
    """One row a scene."""
    name = Path(entry["path"]).name
    if entry["parity"]["passed"] is None:
        return [(name, "not run", *["-"] * (3 + len(own)))]
    return [
        (
            name,
            scene["scene"],
            f"{scene['cover']:.0%}",
            f"{scene['max_abs']:.1e}",
            f"{scene['shown_psnr_db']:.0f} dB",
            *(scene["columns"].get(column, "-") for column in own),
        )
        for scene in entry["parity"]["scenes"]
    ]
