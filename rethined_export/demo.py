"""``make demo``: export every target, inpaint one photo with each, and lay them side by side."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rethined_export.cli import export as export_cli
from rethined_export.inpaint import filler
from rethined_export.photo.files import read_mask, read_photo, write_photo
from rethined_export.photo.scenes import photo_path
from rethined_export.photo.squares import inpaint
from rethined_export.photo.window import Window
from rethined_export.spec import default_spec

SIDE = 2048
PHOTO = "rocket"
#: What one would want gone from it: two lattice towers, as corners (x, y) in its pixels.
_UNWANTED = (
    ((34, 0), (98, 0), (94, 213), (90, 352), (81, 427), (0, 427), (0, 250)),
    ((555, 0), (640, 0), (640, 427), (570, 427), (565, 213)),
)
RUNTIMES = {"torch": None, "ONNX": "onnx", "TFLite": "tflite", "Core ML": "coreml"}
#: A difference of one level in 255 shows as this many.
GAIN = 64
#: Rounding to 8 bits may turn a difference of 1e-6 into one level; more is a wrong artifact.
_LEVELS = 1
_CELL = 640

Pixels = npt.NDArray[np.uint8]


def main(folder: Path) -> int:
    """Run the demo into a folder.

    Returns:
        The exit code of the export, or 3 if a picture differs from torch's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = export_cli.main(["--hr", str(SIDE), "--output", str(folder), "--overwrite"])
    if code:
        return code
    image, mask = folder / "photo.png", folder / "mask.png"
    original = read_photo(photo_path(PHOTO)).pixels
    Image.fromarray(original).save(image)
    drawn = Image.new("L", original.shape[1::-1])
    for corners in _UNWANTED:
        ImageDraw.Draw(drawn).polygon(corners, fill=255)
    drawn.save(mask)
    hole = read_mask(mask).hole
    filled: dict[str, Path] = {}
    for name, target in RUNTIMES.items():
        artifact = None
        if target is not None:
            # By name: the folder may hold what another demo left.
            artifact = folder / default_spec(Window.square(SIDE), target).file_name()
        filled[name] = folder / f"filled-{name.lower().replace(' ', '')}.png"

        def show(stage: str, name: str = name) -> None:
            print(f"{name}: {stage}", file=sys.stderr)

        photo = read_photo(image)
        write_photo(inpaint(photo, hole, filler(artifact, show), SIDE), filled[name])
    sheet = folder / "contact-sheet.png"
    results = {name: read_photo(path).pixels for name, path in filled.items()}
    difference = from_torch(results)
    contact_sheet(original, hole, results, difference).save(sheet)
    print(f"contact sheet: {sheet}")
    if difference.max() > _LEVELS:
        print(f"a picture differs from torch's by {difference.max()} of 255", file=sys.stderr)
        return 3
    return 0


def from_torch(results: dict[str, Pixels]) -> Pixels:
    """Largest difference of any result from torch's, for each value."""
    reference = results["torch"].astype(np.int16)
    others = [pixels for name, pixels in results.items() if name != "torch"]
    return np.asarray(np.max([np.abs(x - reference) for x in others], axis=0), np.uint8)


def contact_sheet(
    photo: Pixels,
    hole: npt.NDArray[np.bool_],
    results: dict[str, Pixels],
    difference: Pixels,
) -> Image.Image:
    """Input, mask, each result, and their largest difference from torch, amplified."""
    amplified = np.clip(difference.astype(np.int16) * GAIN, 0, 255).astype(np.uint8)
    cells = {
        "input": photo,
        "mask": np.repeat(hole[:, :, None].astype(np.uint8) * 255, 3, axis=2),
        **results,
        f"difference from torch, {GAIN} times (largest: {difference.max()} of 255)": amplified,
    }
    return _grid(cells, columns=4)


def _grid(cells: dict[str, Pixels], columns: int) -> Image.Image:
    """Labelled pictures in rows."""
    label = 36
    height, width = next(iter(cells.values())).shape[:2]
    tall = round(_CELL * height / width)
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * _CELL, rows * (tall + label)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=20)
    for position, (name, pixels) in enumerate(cells.items()):
        left, top = position % columns * _CELL, position // columns * (tall + label)
        draw.text((left + 8, top + 6), name, fill="black", font=font)
        small = Image.fromarray(pixels).resize((_CELL, tall), Image.Resampling.BOX)
        sheet.paste(small, (left, top + label))
    return sheet


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo")))
