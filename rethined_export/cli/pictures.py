"""The options that say how photo and mask are to be read, and what is told of them.

For every command that takes some.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rethined_export.errors import UserError
from rethined_export.names import choose
from rethined_export.photo.masks import CHANNELS, MaskRule

if TYPE_CHECKING:  # what reads files takes a while to load; --help and mistakes answer at once
    from rethined_export.photo.files import Mask, Photo


def add_scene_options(parser: ArgumentParser) -> None:
    """Add ``--image`` and ``--mask``, a pair to compare on, and how to read both."""
    add = parser.add_argument
    add("--image", type=Path, metavar="FILE",
        help="photo to compare on, with --mask; default: bundled photos")  # fmt: skip
    add("--mask", type=Path, metavar="FILE", help="its mask; one colour on black marks the hole")
    add_frame_options(parser)
    add_mask_options(parser)


def add_frame_options(parser: ArgumentParser) -> None:
    """Add ``--frame`` and ``--mask-frame``."""
    add = parser.add_argument
    add("--frame", metavar="N", default="1",
        help="which picture of an animated or multi-page photo (default 1, the first)")  # fmt: skip
    add("--mask-frame", metavar="N", default="1", help="the same of the mask")


def add_mask_options(parser: ArgumentParser) -> None:
    """Add ``--mask-threshold``, ``--mask-invert`` and ``--mask-channel``."""
    add = parser.add_argument
    add("--mask-threshold", metavar="N", help="1 to 255: as bright as that is hole; default: half "
        "of the mask's own colour")  # fmt: skip
    add("--mask-invert", action="store_true", help="fill what the mask does not mark")
    add("--mask-channel", metavar="NAME", help=f"look at it alone: {', '.join(CHANNELS)}")


def check_scene(options: Namespace) -> None:
    """See that photo and mask are both given, or neither and nothing of how to read them.

    Raises:
        UserError: they are not.
    """
    if (options.image is None) != (options.mask is None):
        raise UserError("--image and --mask go together; give both or neither")
    if options.image is None and mask_rule(options) != MaskRule():
        raise UserError("the --mask options say how to read a --mask; give --image and --mask too")
    if options.image is None and frame(options) > 1:
        raise UserError("--frame is of an --image; give --image and --mask too")


def frame(options: Namespace) -> int:
    """Which picture of its file the photo is.

    Raises:
        UserError: not a whole number from 1.
    """
    return _number("--frame", options.frame)


def mask_rule(options: Namespace) -> MaskRule:
    """What the options of masks ask for.

    Raises:
        UserError: no such channel, a threshold that is none of 1 to 255, or no number of a frame.
    """
    threshold = None
    if options.mask_threshold is not None:
        threshold = _whole(options.mask_threshold)
        if not 1 <= threshold <= 255:
            raise UserError(
                f"--mask-threshold {options.mask_threshold}; use a whole number from 1 to 255"
            )
    channel = options.mask_channel
    if channel is not None:
        choose("--mask-channel", channel, CHANNELS)
    number = _number("--mask-frame", getattr(options, "mask_frame", "1"))
    return MaskRule(threshold, options.mask_invert, channel, number)


def _number(option: str, text: str) -> int:
    number = _whole(text)
    if number < 1:
        raise UserError(f"{option} {text}; use a whole number, 1 for the first picture")
    return number


def _whole(text: str) -> int:
    """A whole number; 0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def scene_notes(options: Namespace) -> list[str]:
    """What the user may not expect of how ``--image`` and ``--mask`` were read, if they are given.

    Raises:
        UserError: one cannot be read.
    """
    from rethined_export.photo.files import read_mask, read_photo

    if options.image is None:
        return []
    rule = mask_rule(options)
    photo, mask = read_photo(options.image, frame(options)), read_mask(options.mask, rule)
    return photo_notes(options.image, photo) + mask_notes(options.mask, mask, rule.frame)


def photo_notes(path: Path, photo: Photo) -> list[str]:
    """What the user may not expect of how a photo was read."""
    notes = [f"{path.name}: {change}" for change in photo.changed]
    if photo.frames > 1:
        notes.append(
            f"{path.name} holds {photo.frames} pictures; {_which(photo.frame, '--frame')} is taken"
        )
    return notes


def mask_notes(path: Path, mask: Mask, frame: int) -> list[str]:
    """The same of a mask, `frame` being which picture of its file it is."""
    notes = []
    if mask.frames > 1:
        which = _which(frame, "--mask-frame")
        notes.append(f"{path.name} holds {mask.frames} pictures; {which} is the mask")
    if mask.grey:
        notes.append(f"{path.name} has {mask.grey} grey pixels; read as {mask.rule}")
    elif mask.rule not in ("white on black", "all black", "all white"):
        notes.append(f"{path.name} is read as {mask.rule}")
    return notes


def _which(frame: int, option: str) -> str:
    return f"number {frame}" if frame > 1 else f"the first ({option} N takes another)"
