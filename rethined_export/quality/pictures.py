"""Side-by-side crops of what was filled, as PNG files for the report."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from rethined_export.output import written
from rethined_export.quality.scenes import Case

Pixels = npt.NDArray[np.uint8]

#: Side of a crop, in pixels: the photo's own, so that seams and texture can be seen.
CROP = 256


class Pictures:
    """Crops by case and method, written as they come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        #: File names by method, in order, for every case by name.
        self.files: dict[str, dict[str, str]] = {}
        #: Why crops are missing, if some could not be written: the figures are worth more.
        self.failure = ""

    def add_case(self, case: Case) -> None:
        """The hole and the truth of a case."""
        self.add(case, "hole", case.image * (1 - case.mask) + 0.5 * case.mask)
        self.add(case, "truth", case.image)

    def add(self, case: Case, method: str, image: Tensor) -> None:
        """What a method made of a case, ``[1, 3, S, S]`` in [0, 1]."""
        side = image.shape[-1]
        name = f"{case.photo} {case.kind} {side}"
        files = self.files.setdefault(name, {})
        files[method] = f"{name.replace(' ', '-')}-{len(files)}.png"
        top, left = _busiest(case.mask[0, 0].numpy())
        crop = image[0, :, top : top + CROP, left : left + CROP].permute(1, 2, 0)
        pixels = np.rint(crop.numpy() * 255).astype(np.uint8)
        path = self._folder / files[method]
        try:
            with written(path) as file:
                Image.fromarray(pixels).save(file, "PNG")
        except OSError as error:
            self.failure = f"cannot write {path}: {error.strerror or error}"


def _busiest(mask: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Top and left of the crop, of a coarse grid of crops, that is nearest to half hole."""
    last = len(mask) - CROP
    places = [
        (top, left)
        for top in range(0, last + 1, CROP // 2)
        for left in range(0, last + 1, CROP // 2)
    ]
    return min(
        places,
        key=lambda place: abs(
            float(mask[place[0] : place[0] + CROP, place[1] : place[1] + CROP].mean()) - 0.5
        ),
    )
