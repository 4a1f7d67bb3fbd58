"""``rethined-export``: one checkpoint to verified ONNX, TFLite and Core ML artifacts."""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.markup import escape
from rich.table import Table

from rethined_export.artifacts import ExportSpec
from rethined_export.cli.common import choose, err, fail, out, parser, run, stages
from rethined_export.converters import TARGETS
from rethined_export.errors import UserError
from rethined_export.export import Exported, ExportRequest, export
from rethined_export.models.rethined import LOW_RESOLUTION, PRESETS, VARIANTS, Variant
from rethined_export.rewrite.graph import UPSCALES, Upscale
from rethined_export.weights import load_weights

RESOLUTIONS = (512, 1024, 2048, 4096)
_EXAMPLES = """\
  rethined-export                                     all targets at 1024, compared with torch
  rethined-export --target tflite --hr 2048
  rethined-export --target onnx --target coreml --checkpoint model.safetensors --output dist
  rethined-export --checkpoint theirs.pth --variant published --preset paper
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> argparse.ArgumentParser:
    made = parser(
        "rethined-export",
        "Export RETHINED to ONNX, TFLite and Core ML, run each artifact on photos and compare it "
        "with torch. Exit codes: 0 every gate held, 2 unusable input, 3 parity failed, 5 an "
        "operator the target cannot run, 6 converter not installed.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("--target", action="append", help="onnx, tflite, coreml or all; repeatable (default all)")
    add("--checkpoint", type=Path, help="safetensors or .pth; default: untrained, fixed seed")
    add("--preset", default="mobile", help="mobile (default) or paper")
    add("--variant", default="paper", help="paper (default), or published: the authors' own code")
    add("--hr", default="1024", help="side of the image: 512, 1024 (default), 2048 or 4096")
    add("--upscale", default="gather", help="gather (default), or dense for comparison")
    add("--top-k", type=int, default=1, help="patches mixed per token, gather only (default 1)")
    add("--output", type=Path, default=Path("dist"), help="folder (default dist)")
    add("--image", type=Path, help="photo to compare on, with --mask; default: bundled photos")
    add("--mask", type=Path, help="its mask; white marks the hole")
    add("--no-verify", action="store_true", help="do not compare with torch (reported as not run)")
    add("--overwrite", action="store_true", help="replace artifacts that exist")
    add("--json", action="store_true", help="one JSON document on standard output")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    request = _request(options)
    notes = err if options.json else out
    results = []
    with stages(err) as on_stage:
        for result in export(request, on_stage):
            results.append(result)
    if options.json:
        print(json.dumps({"artifacts": [result.to_dict() for result in results]}, indent=2))
    else:
        _print_table(results)
    for result in results:
        if result.failure is not None:
            fail(f"{result.spec.target}: {result.failure}")
    if all(result.failure is None for result in results):
        _print_hints(notes, results, request.verify)
    return max((result.exit_code for result in results), default=0)


def _request(options: argparse.Namespace) -> ExportRequest:
    """Check every option before any work.

    Raises:
        UserError: one is wrong.
    """
    targets = _targets(options.target or ["all"])
    preset = choose("--preset", options.preset, PRESETS)
    variant = cast(Variant, choose("--variant", options.variant, VARIANTS))
    upscale = cast(Upscale, choose("--upscale", options.upscale, UPSCALES))
    hr = _resolution(options.hr)
    if not 1 <= options.top_k <= 64:
        raise UserError(f"--top-k {options.top_k} must be from 1 to 64")
    if (options.image is None) != (options.mask is None):
        raise UserError("--image and --mask go together; give both or neither")
    if options.checkpoint is not None:
        for line in load_weights(options.checkpoint, preset, variant).derived:
            err.print(f"read off the checkpoint: {escape(line)}")
    checkpoint = None if options.checkpoint is None else str(options.checkpoint.resolve())
    specs = tuple(
        ExportSpec(target, preset, variant, hr, upscale, options.top_k, checkpoint)
        for target in targets
    )
    return ExportRequest(
        specs,
        options.output,
        verify=not options.no_verify,
        image=options.image,
        mask=options.mask,
        overwrite=options.overwrite,
    )


def _targets(names: list[str]) -> list[str]:
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
    multiple = "" if side % LOW_RESOLUTION == 0 else f"not a multiple of {LOW_RESOLUTION}, "
    raise UserError(f"--hr {side} is {multiple}not supported; nearest is {near} (of {_list()})")


def _list() -> str:
    return ", ".join(map(str, RESOLUTIONS))


def _print_table(results: list[Exported]) -> None:
    columns = ("target", "status", "size", "convert", "operators", "max |Δ|", "hole PSNR", "flips")
    table = Table(*columns, box=None, pad_edge=False)
    for result in results:
        table.add_row(*_row(result))
    out.print(table)


def _row(result: Exported) -> list[str]:
    manifest = result.manifest
    if manifest is None:
        return [result.spec.target, f"failed (exit {result.exit_code})", *["-"] * 6]
    parity = manifest.parity
    figures = ["not run"] * 3
    if parity is not None:
        figures = [
            f"{parity['max_abs']:.1e}",
            f"{parity['psnr_hole_db']:.0f} dB",
            f"{parity['index_flips']} ({parity['unexplained_flips']} unexplained)",
        ]
    return [
        result.spec.target,
        "verified" if parity is not None else "not verified",
        f"{manifest.bytes / 1e6:.1f} MB",
        f"{result.seconds:.1f} s",
        str(sum(manifest.operators.values())),
        *figures,
    ]


def _print_hints(notes: object, results: list[Exported], verified: bool) -> None:
    console = err if notes is err else out
    for result in results:
        console.print(f"saved {result.path}", markup=False)
    first = shlex.quote(str(results[0].path))
    console.print("next:")
    if not verified:
        console.print(f"  rethined-parity {first}", markup=False)
    console.print(
        f"  rethined-inpaint photo.jpg mask.png --output filled.png --artifact {first}",
        markup=False,
    )
    if results[0].spec.checkpoint is None:
        console.print("note: untrained weights; they test the export and do not inpaint")


