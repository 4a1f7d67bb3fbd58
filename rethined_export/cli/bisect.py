"""``rethined-bisect``: the first operator of an artifact that computes something else."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rethined_export.cli.common import (
    err,
    out,
    parser,
    print_json,
    print_table,
    run,
    say,
    shortened,
    stages,
)
from rethined_export.cli.pictures import (
    add_scene_options,
    check_scene,
    frame,
    mask_rule,
    scene_notes,
)
from rethined_export.errors import ParityError, UnavailableError, UserError

_EXAMPLES = """\
  rethined-bisect dist/broken.tflite
  rethined-bisect dist/broken.onnx --image photo.jpg --mask mask.png --json
  rethined-bisect theirs.tflite --reference theirs.onnx
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> ArgumentParser:
    made = parser(
        "rethined-bisect",
        "Find the first operator of an artifact whose result departs from the reference's, by "
        "comparing all tensors in between: with those of an artifact made anew of the same weights "
        "and in the same precision, and with torch's. Exit codes: 0 nothing departs, 2 unusable "
        "file, 3 something does, 5 an operator cannot be run here, 6 runtime not installed.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("artifact", type=Path, metavar="ARTIFACT", help="file or .mlpackage folder")
    add("--reference", type=Path, metavar="ARTIFACT",
        help="compare with this file of the same network, of any format and maker")  # fmt: skip
    add("--tolerance", metavar="X", default="1e-4", help="largest difference that is called equal, "
        "in shares of a tensor's largest magnitude (default %(default)s)")  # fmt: skip
    add_scene_options(made)
    add("--checkpoint", type=Path, action="append", metavar="FILE",
        help="where the weights lie now; default: where the manifest says")  # fmt: skip
    add(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="where the photos lie now that its activations were measured on; default as above",
    )
    add("--calibration-masks", type=Path, metavar="DIR", help="the same of their masks")
    add("--json", action="store_true", help="one JSON document on standard output")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    check_scene(options)
    tolerance = _tolerance(options.tolerance)
    for note in scene_notes(options):
        say(err, f"note: {note}")
    answer = _search(options, tolerance)
    if options.json:
        print_json({"path": str(options.artifact), **answer})
    else:
        _show(options.artifact.name, answer)
    return ParityError.exit_code if answer["departs"] else 0


def _absolute(path: Path | None) -> Path | None:
    return path and path.absolute()


def _tolerance(text: str) -> float:
    """A share above 0 and below 1.

    Raises:
        UserError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise UserError(f"--tolerance {text}; use a number above 0 and below 1, such as 1e-4")
    return value


def _search(options: Namespace, tolerance: float) -> dict[str, Any]:
    """The answer.

    Raises:
        UserError, JobError: there is none.
    """
    from rethined_export.bisect.report import Request, bisect
    from rethined_export.converters import MissingConverterError
    from rethined_export.converters.types import ArtifactError

    request = Request(
        artifact=options.artifact,
        reference=options.reference,
        checkpoints=tuple(options.checkpoint or ()),
        calibration=_absolute(options.calibration),
        calibration_masks=_absolute(options.calibration_masks),
        tolerance=tolerance,
        image=options.image,
        mask=options.mask,
        rule=mask_rule(options),
        frame=frame(options),
    )
    try:
        with stages(err) as on_stage:
            return bisect(request, lambda text: on_stage(options.artifact.name, text))
    except ArtifactError as error:
        raise UserError(str(error)) from error
    except MissingConverterError as error:
        raise UnavailableError(str(error)) from error


def _show(name: str, answer: dict[str, Any]) -> None:
    found = answer["departure"]
    verdict = "agrees with"
    if answer["departs"]:
        verdict = "departs from"
    say(out, f"{name} {verdict} {answer['reference']} on {answer['scene']}")
    say(
        out,
        f"  {answer['matched']} of {answer['tensors']} tensors compared, by "
        f"{answer['matched_by']}, in {answer['runtime']}",
    )
    for how, apart in answer["outputs"].items():
        if apart:
            listed = ", ".join(f"{output} {_share(value)}" for output, value in apart.items())
            say(out, f"  outputs, {how.replace('_', ' ')}: {listed}")
    if found:
        _show_departure(found, answer["source"])
    elif answer["departs"]:
        say(out, "  no operator departs by itself: what the runtime makes of several does")
    for note in answer["notes"]:
        say(out, f"note: {note}")


def _show_departure(found: dict[str, Any], source: str) -> None:
    place = f", operator {found['number']} of {found['operators']}"
    say(out, f"  first departure: {found['operator']} {shortened(found['name'])}{place}")
    if source:
        say(out, f"  in torch {source}")
    rows: list[tuple[str, ...]] = [_HEADER]
    for side in ("inputs", "outputs"):
        for tensor in found[side]:
            kind = "stored" if tensor["stored"] else side[:-1]
            rows.append(_row(kind, tensor))
    print_table(rows)
    print_table([("  operator", "name", "difference"), *map(_grown, found["growth"])])


def _grown(row: dict[str, Any]) -> tuple[str, ...]:
    difference = _share(row["relative_difference"])
    return f"  {row['number']} {row['operator']}", shortened(row["name"]), difference


_HEADER = ("  tensor", "shape", "range here", "in the reference", "difference", "elements")


def _row(kind: str, tensor: dict[str, Any]) -> tuple[str, ...]:
    sizes = tensor["shape"]
    shape = "?" if sizes is None else ",".join("?" if s is None else str(s) for s in sizes)
    differ = tensor["elements_that_differ"]
    return (
        f"  {kind} {shortened(tensor['name'])}",
        f"[{shape}]",
        _range(tensor["range"]),
        _range(tensor["reference_range"]),
        _share(tensor["relative_difference"]),
        "-" if differ is None else f"{differ} of {tensor['elements']}",
    )


def _range(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.4g} to {bounds[1]:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"
