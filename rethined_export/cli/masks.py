"""The options that say how a mask is to be read, for every command that takes one."""

from argparse import ArgumentParser, Namespace

from rethined_export.errors import UserError
from rethined_export.names import choose
from rethined_export.photo.masks import CHANNELS, MaskRule


def add_mask_options(parser: ArgumentParser) -> None:
    """Add ``--mask-threshold``, ``--mask-invert`` and ``--mask-channel``."""
    add = parser.add_argument
    add("--mask-threshold", metavar="N", help="1 to 255: as bright as that is hole; default: half "
        "of the mask's own colour")  # fmt: skip
    add("--mask-invert", action="store_true", help="fill what the mask does not mark")
    add("--mask-channel", metavar="NAME", help=f"look at it alone: {', '.join(CHANNELS)}")


def mask_rule(options: Namespace) -> MaskRule:
    """What those options ask for.

    Raises:
        UserError: no such channel, or a threshold that is none of 1 to 255.
    """
    threshold = None
    if options.mask_threshold is not None:
        text = str(options.mask_threshold)
        threshold = int(text) if text.isascii() and text.isdigit() else 0
        if not 1 <= threshold <= 255:
            raise UserError(f"--mask-threshold {text}; use a whole number from 1 to 255")
    channel = options.mask_channel
    if channel is not None:
        choose("--mask-channel", channel, CHANNELS)
    return MaskRule(threshold, options.mask_invert, channel)
