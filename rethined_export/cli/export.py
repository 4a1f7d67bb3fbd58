"""``rethined-export``: one checkpoint to verified ONNX, TFLite and Core ML artifacts."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console

from rethined_export.cli.common import (
    choose,
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
from rethined_export.errors import UserError

# What loads torch is imported once the options have been read: --help and mistakes answer at once.
if TYPE_CHECKING:
    from rethined_export.artifacts import Part, Upscale
    from rethined_export.export import Exported, ExportRequest
    from rethined_export.models.rethined import Variant

RESOLUTIONS = (512, 1024, 2048, 4096, 8192)
#: Beyond it only patches are small enough to run.
_LARGEST_WHOLE = 4096
_BUDGETS = ("10%", "25%", "100%")
_EXAMPLES = """\
  rethined-export                                     all targets at 1024, compared with torch
  rethined-export --target tflite --hr 2048
  rethined-export --target onnx --target coreml --checkpoint model.safetensors --output dist
  rethined-export --upscale patches --split --hr 4096 cost that follows the hole
  rethined-export --checkpoint theirs.pth --variant published --preset paper
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> ArgumentParser:
    made = parser(
        "rethined-export",
        "Export RETHINED to ONNX, TFLite and Core ML, run each artifact on photos and compare it "
        "with torch. Exit codes: 0 every gate held, 2 unusable input, 3 parity failed, 5 an "
        "operator the target cannot run, 6 converter not installed.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("--target", action="append", metavar="NAME",
        help="onnx, tflite, coreml or all; repeatable (default all)")  # fmt: skip
    add("--checkpoint", type=Path, metavar="FILE",
        help="safetensors or .pth; default: the weights shipped for the preset")  # fmt: skip
    add("--preset", default="mobile", metavar="NAME", help="mobile (default) or paper")
    add("--variant", default="paper", metavar="NAME",
        help="paper (default), or published: the authors' own code")  # fmt: skip
    add("--hr", default="1024", metavar="PIXELS",
        help="side: 512, 1024 (default), 2048, 4096; with patches also 8192")  # fmt: skip
    add("--upscale", default="gather", metavar="NAME",
        help="gather (default); patches: the hole's only; dense: for comparison")  # fmt: skip
    add("--hole-budget", metavar="SHARE",
        help="with patches: largest hole of one run, 10%% (default), 25%%, 100%%")  # fmt: skip
    add("--split", action="store_true",
        help="with patches: two programs, for any hole; their caller pastes")  # fmt: skip
    add("--top-k", type=int, metavar="K", help="patches mixed per token (default 1)")
    add("--output", type=Path, default=Path("dist"), metavar="DIR", help="folder (default dist)")
    add("--image", type=Path, metavar="FILE",
        help="photo to compare on, with --mask; default: bundled photos")  # fmt: skip
    add("--mask", type=Path, metavar="FILE", help="its mask; white marks the hole")
    add("--no-verify", action="store_true", help="do not compare with torch (reported as not run)")
    add("--overwrite", action="store_true", help="replace artifacts that exist")
    add("--json", action="store_true", help="one JSON document on standard output")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    request = _request(options)
    from rethined_export.export import export

    results = []
    with stages(err) as on_stage:
        for result in export(request, on_stage):
            results.append(result)
    if options.json:
        print_json({"artifacts": [result.to_dict() for result in results]})
    else:
        print_table([_COLUMNS, *map(_row, results)])
    _print_hints(err if options.json else out, results)
    for result in results:
        if result.failure is not None:
            fail(f"{_name(result)}: {result.failure}")
    return max((result.exit_code for result in results), default=0)


def _request(options: Namespace) -> ExportRequest:
    """Check every option before any work.

    Raises:
        UserError: one is wrong.
    """
    hr = _resolution(options.hr)
    top_k = 1 if options.top_k is None else options.top_k
    if not 1 <= top_k <= 64:
        raise UserError(f"--top-k {top_k} must be from 1 to 64")
    if (options.image is None) != (options.mask is None):
        raise UserError("--image and --mask go together; give both or neither")
    if options.image is not None and options.no_verify:
        raise UserError("--image and --no-verify contradict each other; drop one of them")

    from rethined_export.artifacts import UPSCALES, ExportSpec
    from rethined_export.export import ExportRequest
    from rethined_export.models.rethined import PRESETS, VARIANTS
    from rethined_export.photo.scenes import user_scene
    from rethined_export.recipes.rethined.weights import load_weights

    targets = _targets(options.target or ["all"])
    preset = choose("--preset", options.preset, PRESETS)
    variant = cast("Variant", choose("--variant", options.variant, VARIANTS))
    upscale = cast("Upscale", choose("--upscale", options.upscale, UPSCALES))
    if upscale == "dense" and options.top_k is not None:
        raise UserError(
            f"--top-k {top_k} and --upscale dense contradict each other: dense mixes all patches; "
            "drop one of them"
        )
    budget = _budget(options, upscale, variant)
    if hr > _LARGEST_WHOLE and upscale != "patches":
        raise UserError(f"--hr {hr} is for --upscale patches; {upscale} goes up to 4096")
    if options.image is not None:
        user_scene(options.image, options.mask, hr)
    if options.checkpoint is not None:
        for line in load_weights(options.checkpoint, preset, variant).derived:
            say(err, f"read off the checkpoint: {line}")
    checkpoint = None if options.checkpoint is None else str(options.checkpoint.resolve())
    parts: tuple[Part, ...] = ("whole",)
    if options.split:
        parts = ("low", "patch") if hr > 512 else ("low",)
    specs = tuple(
        ExportSpec(target, preset, variant, hr, upscale, top_k, checkpoint, part, budget)
        for target in targets
        for part in parts
    )
    return ExportRequest(
        specs,
        options.output,
        verify=not options.no_verify,
        image=options.image,
        mask=options.mask,
        overwrite=options.overwrite,
    )


def _budget(options: Namespace, upscale: str, variant: str) -> int:
    """Percent of the tokens that a run can fill.

    Raises:
        UserError: unknown, or without ``--upscale patches``, or with the published variant.
    """
    for option, given in (("--hole-budget", options.hole_budget), ("--split", options.split)):
        if given and upscale != "patches":
            raise UserError(f"{option} goes with --upscale patches, not {upscale}; add that")
    if upscale != "patches":
        return 100
    if variant == "published":
        raise UserError(
            "--upscale patches computes hole tokens only, and --variant published changes all; "
            "use --upscale gather"
        )
    name = options.hole_budget or "10%"
    return int(choose("--hole-budget", name if name.endswith("%") else f"{name}%", _BUDGETS)[:-1])


def _targets(names: list[str]) -> list[str]:
    from rethined_export.converters import TARGETS

    chosen: list[str] = []
    for name in names:
        known = choose("--target", name, (*TARGETS, "all"))
        chosen.extend(TARGETS if known == "all" else (known,))
    return list(dict.fromkeys(chosen))


def _resolution(text: str) -> int:
    """The side of the image.

    Raises:
        UserError: not a supported resolution; the nearest is suggested.
    """
    try:
        side = int(text)
    except ValueError:
        raise UserError(f"--hr {text} is not a number; use one of {_list()}") from None
    if side in RESOLUTIONS:
        return side
    near = min(RESOLUTIONS, key=lambda known: abs(known - side))
    multiple = "" if side % 512 == 0 else "not a multiple of 512, "
    raise UserError(f"--hr {side} is {multiple}not supported; nearest is {near} (of {_list()})")


def _list() -> str:
    return ", ".join(map(str, RESOLUTIONS))


_COLUMNS = ("target", "status", "size", "convert", "operators", "max |Δ|", "hole PSNR", "flips")


def _row(result: Exported) -> tuple[str, ...]:
    manifest = result.manifest
    if manifest is None:
        return (_name(result), f"failed (exit {result.exit_code})", *["-"] * 6)
    parity = manifest.parity
    figures = ["not run"] * 3
    if parity is not None:
        figures = [
            f"{parity['max_abs']:.1e}",
            f"{parity['psnr_hole_db']:.0f} dB",
            f"{parity['index_flips']} ({parity['unexplained_flips']} unexplained)",
        ]
    return (
        _name(result),
        "verified" if parity is not None else "not verified",
        f"{manifest.bytes / 1e6:.2f} MB",
        f"{result.seconds:.1f} s",
        str(sum(manifest.operators.values())),
        *figures,
    )


def _name(result: Exported) -> str:
    """The target, and which half of a pair."""
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
    say(console, f"  rethined-inpaint photo.jpg mask.png --output filled.png --artifact {first}")
    if results[0].spec.untrained:
        say(console, "note: untrained weights; they test the export and do not inpaint")
