"""``make demo``: export every target, inpaint one photo with each, and lay them side by side."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rethined_export.cli import export as export_cli
from rethined_export.fill import filler
from rethined_export.inpaint import inpaint
from rethined_export.photo import read_mask, read_photo, write_photo
from rethined_export.scenes import free_form_mask, photo_path

SIDE = 2048
PHOTO = "retina"
TARGETS = {"torch": None, "ONNX": ".onnx", "TFLite": ".tflite", "Core ML": ".mlpackage"}
#: A difference of one level in 255 shows as this many.
GAIN = 64
_CELL = 640

Pixels = npt.NDArray[np.uint8]


def main(folder: Path) -> int:
    """Run the demo into a folder; returns the exit code of the export."""
    folder.mkdir(parents=True, exist_ok=True)
    code = export_cli.main(["--hr", str(SIDE), "--output", str(folder), "--overwrite"])
    if code:
        return code
    image, mask = folder / "photo.png", folder / "mask.png"
    original = read_photo(photo_path(PHOTO)).pixels
    Image.fromarray(original).save(image)
    strokes = free_form_mask(max(original.shape), 0.12, seed=3)
    strokes = strokes[: original.shape[0], : original.shape[1]]
    Image.fromarray(strokes.astype(np.uint8) * 255).save(mask)
    hole = read_mask(mask).hole
    filled: dict[str, Path] = {}
    for name, suffix in TARGETS.items():
        artifact = None if suffix is None else next(folder.glob(f"*{suffix}"))
        filled[name] = folder / f"filled-{name.lower().replace(' ', '')}.png"

        def show(stage: str, name: str = name) -> None:
            print(f"{name}: {stage}", file=sys.stderr)

        photo = read_photo(image)
        write_photo(inpaint(photo, hole, filler(artifact, SIDE, show), SIDE), filled[name])
    sheet = folder / "contact-sheet.png"
    contact_sheet(image, mask, filled).save(sheet)
    print(f"contact sheet: {sheet}")
    return 0


def contact_sheet(image: Path, mask: Path, filled: dict[str, Path]) -> Image.Image:
    """Input, mask, each result, and the largest difference of any result from torch, amplified."""
    photo, hole = read_photo(image).pixels, read_mask(mask).hole
    results = {name: read_photo(path).pixels for name, path in filled.items()}
    reference = results["torch"].astype(np.int16)
    others = [pixels for name, pixels in results.items() if name != "torch"]
    difference = np.max([np.abs(pixels - reference) for pixels in others], axis=0)
    amplified = np.clip(difference * GAIN, 0, 255).astype(np.uint8)
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
