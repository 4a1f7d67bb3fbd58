"""Side-by-side crops of what was filled, as PNG files for the report."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from rethined_export.output import written
from rethined_export.quality.scenes import Case
from rethined_export.quality.st_lpips import hole_crop

Pixels = npt.NDArray[np.uint8]


def case_name(photo: str, kind: str, side: int) -> str:
    """Of a photo under a hole."""
    return f"{photo} {kind} {side}"


class Pictures:
    """Crops by case and method, written as they come: those that perceptual figures are of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        name = case_name(case.photo, case.kind, image.shape[-1])
        files = self.files.setdefault(name, {})
        files[method] = f"{name.replace(' ', '-')}-{len(files)}.png"
        crop = image[hole_crop(case.mask)][0].permute(1, 2, 0)
        pixels = np.rint(crop.numpy() * 255).astype(np.uint8)
        path = self.folder / files[method]
        try:
            with written(path) as file:
                Image.fromarray(pixels).save(file, "PNG")
        except OSError as error:
            self.failure = f"cannot write {path}: {error.strerror or error}"
