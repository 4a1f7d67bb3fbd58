"""Golden results of public RETHINED training code, and the weights they were made with.

No weights are stored: each follows from its key. The photo and its hole are one for all forks.
"""

import json
import math
import re
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
#: Fork → repository.
FORKS = {
    "authors": "CrisalixSA/rethined",
    "musashi": "mario-musashi/rethined",
    "mikanquyt": "MikanQuyt/Rethined",
    "copy": "ogkalu2/Rethined-Implementation",
}


@dataclass(frozen=True)
class Golden:
    """What the original code computed in float64.

    Attributes:
        keys: shapes of its tensors by name; copies are left out.
        gains: what kernels whose name matches are multiplied with.
        arrays: results; ``X_u16`` are quantised over ``X_range``.
    """

    keys: dict[str, tuple[int, ...]]
    gains: list[tuple[str, float]]
    arrays: dict[str, Any]

    def image(self, name: str) -> tuple[Tensor, float]:
        """A stored image ``[3, H, W]``, and how far quantisation moved it at most."""
        if name in self.arrays:
            return torch.from_numpy(self.arrays[name]), 0.0
        low, high = self.arrays[f"{name}_range"]
        steps = torch.from_numpy(self.arrays[f"{name}_u16"].astype(np.float64))
        return low + steps / 65535 * (high - low), (high - low) / 65535

    def numbers(self, name: str) -> Tensor:
        """One stored number for each hole token."""
        return torch.from_numpy(self.arrays[name].astype(np.float64))

    def weights(self) -> dict[str, Tensor]:
        """The state dict, float32."""
        return {key: torch.from_numpy(self._values(key)) for key in self.keys}

    def _values(self, key: str) -> Any:
        shape = self.keys[key]
        if key.endswith("num_batches_tracked"):
            return np.zeros((), np.int64)
        if key.endswith("qk_mask"):
            return np.zeros(1, np.float32)[:, None, None, None] + np.zeros(shape, np.float32)
        # The copy's queries and keys are alike, or all tokens would choose one key.
        alike = key.replace("w_ks", "w_qs") if key.startswith("inpainter.") else key
        n = np.random.default_rng(zlib.crc32(alike.encode())).standard_normal(shape)
        if key.endswith((".running_mean", ".bias")):
            values = 0.02 * n
        elif key.endswith(".running_var"):
            values = 1 + 0.1 * np.abs(n)
        elif len(shape) == 1:
            values = 1 + 0.1 * n
        else:
            values = n / math.sqrt(math.prod(shape[1:]))
        for pattern, gain in self.gains:
            if re.search(pattern, key):
                values = values * gain
        return values.astype(np.float32)


@cache
def golden(fork: str) -> Golden:
    arrays = dict(np.load(GOLDEN / f"rethined-{fork}.npz"))
    keys = {key: tuple(shape) for key, shape in json.loads(str(arrays.pop("keys"))).items()}
    return Golden(keys, json.loads(str(arrays.pop("gains"))), arrays)


@cache
def scene() -> tuple[Tensor, Tensor]:
    """Photo ``[1, 3, 1024, 1024]`` in [0, 1] and its mask, float32."""
    pixels = np.array(Image.open(GOLDEN / "rethined-scene.webp").convert("RGB"))
    mask = np.array(Image.open(GOLDEN / "rethined-scene-mask.png").convert("1"))
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    return image.contiguous(), torch.from_numpy(mask).float()[None, None]
