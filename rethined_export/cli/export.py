"""``rethined-export``: one checkpoint to verified ONNX, TFLite and Core ML artifacts."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rethined_export.checkpoints import CheckpointError, describe
from rethined_export.cli.common import (
    err,
    fail,
    out,
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
from rethined_export.converters.reducing.types import EXACT, METHODS, PRECISIONS
from rethined_export.errors import UserError
from rethined_export.names import choose
from rethined_export.recipes import RECIPES, recipe, recognisers

if TYPE_CHECKING:
    from rethined_export.export import Exported, ExportRequest
    from rethined_export.photo.calibration import Calibration
    from rethined_export.recipes.types import Recipe

_EXAMPLES = """\
  rethined-export                                     all targets at 1024, compared with torch
  rethined-export --target tflite --hr 2048
  rethined-export --target onnx --target coreml --checkpoint model.safetensors --output dist
  rethined-export --upscale patches --split --hr 4096 cost that follows the hole
  rethined-export --checkpoint theirs.pth --variant published --preset paper
  rethined-export --model lama --checkpoint big-lama.pt --size 768x512
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser(model: str) -> ArgumentParser:
    """Options that all models have, then those of one."""
    made = parser(
        "rethined-export",
        "Export an inpainting network to ONNX, TFLite and Core ML, run each artifact on photos and "
        "compare it with torch. Exit codes: 0 every gate held, 2 unusable input, 3 parity failed, "
        "5 an operator the target cannot run, 6 converter not installed.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("--target", action="append", metavar="NAME",
        help="onnx, tflite, coreml or all; repeatable (default all)")  # fmt: skip
    add("--model", default=model, metavar="NAME",
        help=f"{', '.join(RECIPES)} (default {next(iter(RECIPES))})")  # fmt: skip
    add("--list-models", action="store_true", help="what can be exported, and where weights are")
    add("--checkpoint", type=Path, action="append", metavar="FILE",
        help="weights in any usual container; repeatable, for a model of several networks; "
        "default: those shipped, if any are")  # fmt: skip
    add("--checkpoint-key", metavar="PLACE",
        help="where in the file they lie, such as state_dict, if it is not plain")  # fmt: skip
    add("--show-checkpoint", action="store_true", help="list what the checkpoint holds, and end")
    add("--untrained", action="store_true", help="a seeded stand-in; it does not inpaint")
    add("--precision", default=EXACT, metavar="NAME",
        help=f"{', '.join(PRECISIONS)} (default {EXACT}); see docs/precision.md")  # fmt: skip
    add("--calibration", type=Path, metavar="DIR",
        help="photos to set 8 bits by; default: procedural images")  # fmt: skip
    add("--calibration-masks", type=Path, metavar="DIR", help="their holes; default: strokes")
    add("--calibration-method", metavar="NAME",
        help=f"{', '.join(METHODS)} (default {METHODS[0]}; others for onnx only)")  # fmt: skip
    add("--integer-io", action="store_true",
        help="images go in and come out in 8 bits (tflite and onnx, int8 or mixed)")  # fmt: skip
    add("--accept-quality", action="store_true",
        help="keep what misses the gate of its precision, as the manifest says; "
        "int8 in all layers")  # fmt: skip
    add("--output", type=Path, default=Path("dist"), metavar="DIR", help="folder (default dist)")
    add_scene_options(made)
    add("--no-verify", action="store_true", help="do not compare with torch (reported as not run)")
    add("--overwrite", action="store_true", help="replace artifacts that exist")
    add("--json", action="store_true", help="one JSON document on standard output")
    recipe(model).options.add_to(made.add_argument_group(f"options of {model}"))
    return made


def _main(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    model = choose("--model", _model(given), RECIPES)
    options = _parse(model, given)
    if options.list_models:
        return _list_models(options)
    if options.show_checkpoint:
        return _show_checkpoint(options)
    request = _request(options)
    from rethined_export.export import export

    results = []
    with stages(err) as on_stage:
        for result in export(request, on_stage):
            results.append(result)
    if options.json:
        print_json({"artifacts": [result.to_dict() for result in results]})
    else:
        print_table(_table(results))
    _print_hints(err if options.json else out, results)
    for result in results:
        if result.failure is not None:
            fail(f"{_name(result)}: {result.failure}")
    return max((result.exit_code for result in results), default=0)


def _model(given: list[str]) -> str:
    """The model that a command line names, which decides what else it may say."""
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--model", default=None)
    first.add_argument("--module", default=None)
    known, _ = first.parse_known_args(given)
    if known.model is None:
        return "module" if known.module is not None else next(iter(RECIPES))
    return str(known.model)


def _parse(model: str, given: list[str]) -> Namespace:
    """Read a command line; an option of another model is told from one that nobody has.

    Raises:
        UserError: an unknown option; the nearest is suggested.
    """
    made = _parser(model)
    options, unknown = made.parse_known_args(given)
    if not unknown:
        return options
    strange = unknown[0].split("=")[0]
    if not strange.startswith("-"):
        raise UserError(f"{strange} belongs to no option (rethined-export --help lists them)")
    owners = [other for other in RECIPES if strange in _flags(other)]
    if owners:
        raise UserError(f"{strange} is an option of --model {', '.join(owners)}, not of {model}")
    known = [text for action in made._actions for text in action.option_strings]
    choose("option", strange, [text for text in known if text.startswith("--")])
    raise AssertionError("an option that is known was not read")


def _flags(model: str) -> list[str]:
    """Options of a model's own."""
    alone = ArgumentParser(add_help=False)
    recipe(model).options.add_to(alone)
    return [text for action in alone._actions for text in action.option_strings]


def _request(options: Namespace) -> ExportRequest:
    """Check every option before any work.

    Raises:
        UserError: one is wrong.
    """
    check_scene(options)
    if options.image is not None and options.no_verify:
        raise UserError("--image and --no-verify contradict each other; drop one of them")
    if options.checkpoint_key is not None and options.checkpoint is None:
        raise UserError("--checkpoint-key is a place in the --checkpoint; give that too")
    if not recipe(options.model).trains and (options.checkpoint or options.untrained):
        raise UserError("a --module brings its own weights; leave --checkpoint and --untrained out")
    if options.untrained and options.checkpoint is not None:
        raise UserError("--untrained and --checkpoint contradict each other; drop one of them")

    from rethined_export.export import ExportRequest
    from rethined_export.spec import ExportSpec, load_reference

    rule = mask_rule(options)
    calibration = _calibration(options)
    targets = _targets(options.target or ["all"])
    chosen = recipe(options.model)
    own = chosen.options.read(options)
    _check_weights(options, chosen, own)
    if options.image is not None:
        for note in scene_notes(options):
            say(err, f"note: {note}")
        next(iter(chosen.scenes(own, options.image, options.mask, rule, frame(options))))
    files = tuple(str(path.absolute()) for path in options.checkpoint or ())
    specs = tuple(
        ExportSpec(
            options.model,
            target,
            own,
            part,
            files[0] if files else None,
            files[1:],
            options.checkpoint_key,
            options.untrained,
            options.precision,
            options.integer_io,
            calibration,
        )
        for target in targets
        for part in chosen.parts(own)
    )
    for spec in specs:
        spec.check_precision()
    if files:
        reference = load_reference(specs[0])
        for line in reference.derived:
            say(err, f"read off the checkpoint: {line}")
        for line in reference.notes:
            say(err, f"note: {line}")
    return ExportRequest(
        specs,
        options.output,
        verify=not options.no_verify,
        image=options.image,
        mask=options.mask,
        rule=rule,
        frame=frame(options),
        overwrite=options.overwrite,
        accept_quality=options.accept_quality,
    )


def _calibration(options: Namespace) -> Calibration | None:
    """What 8 bits are set by, where the precision asks for it or the user does.

    Raises:
        UserError: an unknown precision or method, or nothing to measure on.
    """
    from rethined_export.photo.calibration import Calibration

    precision = PRECISIONS[choose("--precision", options.precision, PRECISIONS)]
    method = choose("--calibration-method", options.calibration_method or METHODS[0], METHODS)
    if options.accept_quality and (options.no_verify or precision.name == EXACT):
        other = "--no-verify" if options.no_verify else f"--precision {EXACT}"
        raise UserError(f"--accept-quality and {other} contradict each other; drop one of them")
    photos, masks = (
        folder and str(folder.absolute())
        for folder in (options.calibration, options.calibration_masks)
    )
    given = photos or masks or options.calibration_method
    if not given and not precision.sees_photos:
        return None
    made = Calibration(photos, masks, method)
    made.check()
    return made


def _check_weights(options: Namespace, chosen: Recipe[Any], own: Any) -> None:
    """Weights are given, shipped, asked to be a stand-in, or need not be there.

    Raises:
        UserError: none of these, it says where people get them; or more files than networks.
    """
    if len(options.checkpoint or ()) > chosen.checkpoints:
        raise UserError(
            f"{options.model} takes {chosen.checkpoints} --checkpoint at most, not "
            f"{len(options.checkpoint)}; drop the others"
        )
    if options.checkpoint or options.untrained or chosen.stands_in or not chosen.trains:
        return
    if chosen.shipped(own) is None:
        raise UserError(
            f"no weights of {options.model} are shipped: give --checkpoint FILE "
            f"({chosen.facts.weights_from}), or --untrained for a stand-in that does not inpaint"
        )


def _targets(names: list[str]) -> list[str]:
    from rethined_export.converters import TARGETS

    chosen: list[str] = []
    for name in names:
        known = choose("--target", name, (*TARGETS, "all"))
        chosen.extend(TARGETS if known == "all" else (known,))
    return list(dict.fromkeys(chosen))


def _list_models(options: Namespace) -> int:
    """A table of what can be exported."""
    facts = [recipe(model).facts for model in RECIPES]
    if options.json:
        print_json({"models": [vars(entry) for entry in facts]})
        return 0
    header = ("model", "name", "paper", "presets", "sizes", "code", "public weights", "from",
              "shipped")  # fmt: skip
    rows = [
        (
            f.name,
            f.title,
            f.paper,
            ", ".join(f.presets) or "-",
            f.sizes,
            f.code_licence,
            f.weights_licence,
            f.weights_from,
            f.ships,
        )
        for f in facts
    ]
    print_table([header, *rows])
    return 0


def _show_checkpoint(options: Namespace) -> int:
    """What a file holds, and which model it looks like.

    Raises:
        UserError: not one file was given, or it cannot be read.
    """
    if options.checkpoint is None:
        raise UserError("--show-checkpoint lists a --checkpoint FILE; give that")
    if len(options.checkpoint) > 1:
        raise UserError("--show-checkpoint lists one --checkpoint FILE; give one after the other")
    try:
        listing = describe(options.checkpoint[0], options.checkpoint_key, recognisers())
    except CheckpointError as error:
        raise UserError(str(error)) from error
    if options.json:
        print_json(listing.to_dict())
        return 0
    for line in listing.lines():
        say(out, line)
    return 0


_COLUMNS = ("target", "status", "size", "convert", "operators", "max |Δ|", "hole PSNR")


def _table(results: list[Exported]) -> list[tuple[str, ...]]:
    """A header and a row for each artifact; models bring columns of their own."""
    own = tuple(dict.fromkeys(name for result in results for name in _own(result)))
    return [(*_COLUMNS, *own), *(_row(result, own) for result in results)]


def _own(result: Exported) -> dict[str, str]:
    """The model's own columns, of the worst scene."""
    return dict(result.parity["columns"]) if result.parity else {}


def _row(result: Exported, own: tuple[str, ...]) -> tuple[str, ...]:
    manifest = result.manifest
    if manifest is None:
        return (_name(result), f"failed (exit {result.exit_code})", *["-"] * (5 + len(own)))
    parity = manifest.parity
    figures = ["not run"] * 2
    if parity is not None:
        figures = [f"{parity['max_abs']:.1e}", f"{parity['psnr_hole_db']:.0f} dB"]
    shown = _own(result)
    return (
        _name(result),
        _status(result),
        f"{manifest.bytes / 1e6:.2f} MB",
        f"{result.seconds:.1f} s",
        str(sum(manifest.operators.values())),
        *figures,
        *(shown.get(name, "not run" if parity is None else "-") for name in own),
    )


def _status(result: Exported) -> str:
    """Whether an artifact in place was compared with torch, and by which gate."""
    if result.parity is None:
        return "not verified"
    accepted = result.manifest is not None and result.manifest.accepted is not None
    return "below its gate, accepted" if accepted else "verified"


def _name(result: Exported) -> str:
    """The target, and which of several programs."""
    spec = result.spec
    return spec.target if spec.part == "whole" else f"{spec.target} {spec.part}"


def _print_hints(console: Console, results: list[Exported]) -> None:
    """What was saved and, if all went well, what to do with it."""
    for result in results:
        if result.manifest is not None:
            say(console, f"saved {result.path}")
    if any(result.manifest is None for result in results):
        return
    first = shlex.quote(str(results[0].path))
    say(console, "next:")
    if results[0].parity is None:
        say(console, f"  rethined-parity {first}")
    spec = results[0].spec
    if spec.options.inpaints:
        say(
            console, f"  rethined-inpaint photo.jpg mask.png --output filled.png --artifact {first}"
        )
    if spec.recipe.trains and spec.source is None:
        say(console, "note: untrained weights; they test the export and do not inpaint")
