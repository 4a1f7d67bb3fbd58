"""What a run tells while it goes on: curves for TensorBoard, and grids of samples as images."""

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from rethined_export.models.rethined.training.state import CURVES, SAMPLES

#: Samples in a grid.
_COLUMNS = 8


class Journal:
    """Writes ``tensorboard/`` and ``samples/`` in a run's folder; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._samples = folder / SAMPLES
        self._samples.mkdir(parents=True, exist_ok=True)
        self._curves = SummaryWriter(str(folder / CURVES))

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._curves.close()

    def figures(self, step: int, figures: dict[str, float]) -> None:
        """Note one point of each curve."""
        for name, value in figures.items():
            self._curves.add_scalar(name, value, step)

    def grid(self, step: int, rows: list[Tensor]) -> None:
        """Write images ``[B, 3, S, S]`` in [0, 1], a batch to a row."""
        joined = torch.cat([torch.cat(list(row[:_COLUMNS]), dim=2) for row in rows], dim=1)
        pixels = (joined.clamp(0, 1) * 255).round().byte().cpu().permute(1, 2, 0).numpy()
        self._curves.add_image("samples", pixels, step, dataformats="HWC")
        file = self._samples / f"step-{step:07}.png"
        cv2.imwrite(str(file), np.ascontiguousarray(pixels[:, :, ::-1]))
