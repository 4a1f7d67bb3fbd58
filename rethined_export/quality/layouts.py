"""Folders of test photos, and of their masks, as published sets lay them out."""

import re
from dataclasses import dataclass
from pathlib import Path

from rethined_export.errors import UserError
from rethined_export.models.rethined.training.images import SUFFIXES

#: ``NAME_mask.png`` or ``NAME_mask003.png``, beside ``NAME.png``.
_MASK_OF = re.compile(r"(?P<photo>.+)_mask\d*")


@dataclass(frozen=True)
class Layout:
    """Photos, and a mask for each where there are any.

    Attributes:
        photos, masks: equally many; ``masks`` is None where holes are to be drawn.
        matched: how masks were matched to photos, in words; empty without.
    """

    photos: tuple[Path, ...]
    masks: tuple[Path, ...] | None = None
    matched: str = ""


def read_layout(images: Path, masks: Path | None) -> Layout:
    """What a folder holds, with the folders in it.

    Without ``masks`` a folder is searched for those it brings: ``images/`` and ``masks/``, as
    DF8K-Inpainting has them, or ``NAME_mask000.png`` beside ``NAME.png``, as LaMa's test sets do.
    Places2, CelebA-HQ, Paris StreetView and DIV2K are folders of photos alone.

    Args:
        masks: a folder. Masks are matched to photos by their names; where no name is a photo's, as
            in published sets of numbered irregular masks, in order, from the first again where they
            are fewer.

    Raises:
        UserError: no photo or no mask in a folder, or a photo without a mask among named ones.
    """
    if masks is None and (images / "images").is_dir() and (images / "masks").is_dir():
        images, masks = images / "images", images / "masks"
    pictures = _pictures(images)
    if masks is None:
        return _beside(pictures)
    offered = _pictures(masks)
    named = {path.stem: path for path in offered}
    lacking = [photo.name for photo in pictures if photo.stem not in named]
    if not lacking:
        found = tuple(named[photo.stem] for photo in pictures)
        return Layout(pictures, found, "masks by the photos' names")
    if len(lacking) < len(pictures):
        raise UserError(f"{masks} has no mask for {', '.join(lacking[:5])} ({len(lacking)} in all)")
    turns = tuple(offered[number % len(offered)] for number in range(len(pictures)))
    return Layout(pictures, turns, f"{len(offered)} masks in order of their names")


def _beside(pictures: tuple[Path, ...]) -> Layout:
    """Photos with their masks beside them, where every photo has one; else photos alone."""
    photos = {path.with_suffix(""): path for path in pictures}
    pairs = [
        (photos[place], path)
        for path in pictures
        if (found := _MASK_OF.fullmatch(path.stem))
        and (place := path.with_name(found["photo"])) in photos
    ]
    if not pairs:
        return Layout(pictures)
    lacking = set(pictures) - {path for pair in pairs for path in pair}
    if lacking:
        first = min(lacking)
        raise UserError(f"{first} has no {first.stem}_mask beside it ({len(lacking)} in all)")
    chosen, masks = zip(*pairs, strict=True)
    return Layout(chosen, masks, "masks beside the photos")


def _pictures(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    found = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES))
    if not found:
        raise UserError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return found
