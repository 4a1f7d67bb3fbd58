"""``rethined-inpaint``: run an artifact on a photo of any size."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from rethined_export.cli.common import err, out, parser, run, say, stages
from rethined_export.errors import UserError

#: Side used without an artifact.
_TORCH_SIDE = 1024
_EXAMPLES = """\
  rethined-inpaint photo.jpg mask.png --output filled.png --artifact dist/model.onnx
  rethined-inpaint photo.jpg mask.png --output filled.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run(_main, arguments)


def _parser() -> ArgumentParser:
    made = parser(
        "rethined-inpaint",
        "Fill the white part of a mask in a photo of any size. Known pixels come back as they are.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("image", type=Path, metavar="IMAGE")
    add("mask", type=Path, metavar="MASK", help="same size; white marks the hole")
    add("--output", type=Path, required=True, metavar="FILE", help="png keeps known pixels exactly")
    add(
        "--artifact",
        type=Path,
        metavar="FILE",
        help="whole, or low half of a split pair; default: torch, with the shipped weights",
    )
    add("--overwrite", action="store_true", help="replace an output that exists")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if options.output.exists() and not options.output.is_dir() and not options.overwrite:
        raise UserError(f"{options.output} exists; pass --overwrite, or choose another --output")

    from rethined_export.inpaint import artifact_facts, filler, photo_filler
    from rethined_export.photo.files import (
        check_output,
        is_lossless,
        read_mask,
        read_photo,
        write_photo,
    )
    from rethined_export.photo.squares import choose_crop, inpaint

    photo = read_photo(options.image)
    mask = read_mask(options.mask)
    check_output(photo, options.output)
    if mask.grey:
        say(err, f"note: {options.mask.name} has {mask.grey} grey pixels; those of at least half "
                 "the full value (128 of 255) count as hole")  # fmt: skip
    if not is_lossless(options.output):
        say(err, f"note: {options.output.suffix} compresses known pixels too; .png keeps them")
    if mask.hole.shape == photo.pixels.shape[:2] and not mask.hole.any():
        say(err, "note: the mask marks no hole; the photo is written unchanged")
    with stages(err) as on_stage:
        name = "torch" if options.artifact is None else options.artifact.name

        def stage(text: str) -> None:
            on_stage(name, text)

        side, in_place = _TORCH_SIDE, None
        if options.artifact is not None:
            facts = artifact_facts(options.artifact)
            side = facts.window.height
            if facts.in_place:
                in_place = photo_filler(options.artifact, stage)
        fill = filler(options.artifact, stage)
        result = inpaint(photo, mask.hole, fill, side, in_place)
    write_photo(result, options.output)
    if mask.hole.any():
        _tell_scale(choose_crop(mask.hole, side).side, side)
    say(out, f"saved {options.output}")
    return 0


def _tell_scale(crop: int, side: int) -> None:
    if crop > side:
        say(err, f"note: the hole needs a {crop} px crop, shrunk to the artifact's {side} px; an "
                 "artifact of a larger --hr copies finer texture")  # fmt: skip
