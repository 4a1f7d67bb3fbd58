"""The table of docs/photos.md: what is read of each format, what is kept and what is lost."""

from pathlib import Path

from photo.corpus import PHOTOS

from rethined_export.errors import UserError
from rethined_export.photo.files import Photo, check_output, is_lossless, losses, read_photo

_OUTPUTS = ("png", "tif", "webp", "jpg")


def rows(folder: Path) -> list[tuple[str, ...]]:
    """One row a situation: its name, what it is read as, and what each output would lose."""
    made = []
    for number, (name, (ending, write)) in enumerate(PHOTOS.items()):
        path = folder / f"{number}.{ending}"
        path.write_bytes(write())
        try:
            photo = read_photo(path)
        except UserError as error:
            said = str(error).replace(f"{path} ", "")
            made.append((name, f"refused: {said}", *["–"] * len(_OUTPUTS)))
            continue
        made.append((name, _read_as(photo), *(_written(photo, ending) for ending in _OUTPUTS)))
    return made


def _read_as(photo: Photo) -> str:
    channels = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}[photo.pixels.shape[2]]
    if photo.has_alpha and photo.alpha != "straight":
        channels = f"{channels}, {photo.alpha}"
    said = [f"{channels}, {8 * photo.pixels.itemsize} bits", *photo.changed]
    if photo.frames > 1:
        said.append(f"the first of {photo.frames} pictures")
    return "; ".join(said)


def _written(photo: Photo, ending: str) -> str:
    path = Path(f"out.{ending}")
    try:
        check_output(photo, path)
    except UserError as error:
        return f"refused: {str(error).partition(': ')[2].partition(';')[0]}"
    lost = losses(photo, path)
    kept = "all pixels" if is_lossless(path) else "lossy"
    return f"{kept}; lost: {', '.join(lost)}" if lost else kept


def markdown(folder: Path) -> str:
    """The table."""
    head = ("file", "read as", *(f"written as {ending}" for ending in _OUTPUTS))
    lines = [head, ["---"] * len(head), *rows(folder)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
