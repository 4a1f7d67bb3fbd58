"""``rethined-inpaint``: run an artifact on a photo of any size."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rethined_export.cli.common import err, out, parser, print_json, run, say, stages
from rethined_export.cli.pictures import (
    add_frame_options,
    add_mask_options,
    frame,
    mask_notes,
    mask_rule,
    photo_notes,
)
from rethined_export.errors import UserError
from rethined_export.names import choose
from rethined_export.output import prepare
from rethined_export.photo.window import Window

# What loads torch is imported once the options have been read: --help and mistakes answer at once.
if TYPE_CHECKING:
    from rethined_export.inpaint import ArtifactFacts
    from rethined_export.photo.files import Mask, Photo
    from rethined_export.photo.squares import Crop

#: What the network works at without an artifact.
_TORCH_WINDOW = Window.square(1024)
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
        "Fill what a mask marks in a photo of any size. Known pixels come back as they are.",
        _EXAMPLES,
    )
    add = made.add_argument
    add("image", type=Path, metavar="IMAGE")
    add("mask", type=Path, metavar="MASK", help="same size; one colour on black marks the hole")
    add("--output", type=Path, required=True, metavar="FILE", help="png keeps known pixels exactly")
    add(
        "--artifact",
        type=Path,
        metavar="FILE",
        help="of any model; of a split pair the low half; default: torch, shipped weights",
    )
    add("--pipeline", metavar="NAME",
        help="the model's own way around the hole, such as migan; default: ours")  # fmt: skip
    add_frame_options(made)
    add_mask_options(made)
    add("--overwrite", action="store_true", help="replace an output that exists")
    add("--json", action="store_true", help="one JSON document on standard output")
    return made


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    rule, wanted = mask_rule(options), frame(options)
    if options.pipeline is not None and options.artifact is None:
        raise UserError("--pipeline is an artifact's model's own; give --artifact FILE")
    if options.output.exists() and not options.output.is_dir() and not options.overwrite:
        raise UserError(f"{options.output} exists; pass --overwrite, or choose another --output")

    from rethined_export.photo.files import check_output, losses, read_mask, read_photo, write_photo

    photo = read_photo(options.image, wanted)
    mask = read_mask(options.mask, rule)
    check_output(photo, options.output)
    prepare([options.output])
    lost = losses(photo, options.output)
    notes = photo_notes(options.image, photo) + mask_notes(options.mask, mask, rule.frame)
    notes += _notes(options, photo, mask)
    for note in notes:
        say(err, f"note: {note}")
    if lost:
        say(err, f"note: {options.output.name} does not keep {', '.join(lost)}")
    result, crop, window = _fill(options, photo, mask)
    write_photo(result, options.output)
    if crop is not None and crop.height > window[0]:
        notes.append(
            f"the hole needs a {crop.height} px crop, shrunk to the artifact's {window[0]} px; an "
            "artifact of a larger size keeps finer texture"
        )
        say(err, f"note: {notes[-1]}")
    if options.json:
        print_json(_document(options, photo, mask, notes, lost, crop, window))
    else:
        empty = "" if mask.hole.any() else " (unchanged: the mask marks no hole)"
        say(out, f"saved {options.output}{empty}")
    return 0


def _fill(
    options: Namespace, photo: "Photo", mask: "Mask"
) -> "tuple[Photo, Crop | None, tuple[int, int]]":
    """The filled photo, the crop that was filled, if any, and the window it went through."""
    from rethined_export.inpaint import artifact_facts, filler, photo_filler
    from rethined_export.photo.squares import choose_crop, inpaint

    with stages(err) as on_stage:
        name = "torch" if options.artifact is None else options.artifact.name

        def stage(text: str) -> None:
            on_stage(name, text)

        window, middle, in_place, runs = _TORCH_WINDOW, None, None, 1
        if options.artifact is not None:
            facts = artifact_facts(options.artifact)
            window, middle, runs = facts.window, facts.middle, facts.runs
            if options.pipeline is not None:
                return _by_pipeline(options, photo, mask, facts, stage), None, window
            if facts.in_place:
                in_place = photo_filler(options.artifact, stage)
        fill = filler(options.artifact, stage, runs)
        result = inpaint(photo, mask.hole, fill, window, in_place, middle)
    crop = choose_crop(mask.hole, window, middle) if mask.hole.any() else None
    return result, crop, window


def _by_pipeline(
    options: Namespace,
    photo: "Photo",
    mask: "Mask",
    facts: "ArtifactFacts",
    stage: Callable[[str], None],
) -> "Photo":
    """The photo filled the model's own way around the hole.

    Raises:
        UserError: the model has no such way.
    """
    from rethined_export.inpaint import photo_filler
    from rethined_export.photo.squares import inpaint_in_place

    if not facts.pipelines:
        raise UserError(f"--pipeline {options.pipeline}: this model has no pipeline of its own")
    pipeline = choose("--pipeline", options.pipeline, facts.pipelines)
    return inpaint_in_place(photo, mask.hole, photo_filler(options.artifact, stage, pipeline))


def _notes(options: Namespace, photo: "Photo", mask: "Mask") -> list[str]:
    """What the user may not expect of the result, before the work."""
    from rethined_export.photo.files import is_lossless

    notes = []
    if mask.hole.shape == photo.pixels.shape[:2]:
        if not mask.hole.any():
            notes.append(
                f"WARNING: {options.mask.name} marks no hole ({mask.rule}), so NOTHING is filled; "
                "the photo is written unchanged"
            )
        elif mask.share > 0.5 and not mask.hole.all():
            notes.append(
                f"the hole is {mask.share:.0%} of the photo; --mask-invert fills the rest instead"
            )
    if not is_lossless(options.output):
        notes.append(f"{options.output.suffix} compresses known pixels too; .png keeps them")
    return notes


def _document(
    options: Namespace,
    photo: "Photo",
    mask: "Mask",
    notes: list[str],
    lost: tuple[str, ...],
    crop: "Crop | None",
    window: tuple[int, int],
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "photo": {
            "path": str(options.image),
            "height": photo.height,
            "width": photo.width,
            "channels": photo.pixels.shape[2],
            "bits": 8 * photo.pixels.itemsize,
            "frames": photo.frames,
            "frame": photo.frame,
        },
        "mask": {
            "path": str(options.mask),
            "rule": mask.rule,
            "hole_pixels": int(mask.hole.sum()),
            "hole_share": mask.share,
            "grey_pixels": mask.grey,
            "frames": mask.frames,
            "frame": mask_rule(options).frame,
            "empty": not mask.hole.any(),
        },
        "artifact": None if options.artifact is None else str(options.artifact),
        "window": list(window),
        "crop": None if crop is None else asdict(crop),
        "notes": notes,
        "lost": list(lost),
        "output": str(options.output),
        "failure": None,
        "exit_code": 0,
    }
