"""What runs a pair: the coarse network, what lies between, the refining one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from rethined_export.converters.types import Array, Runner
from rethined_export.models.twostage import coarse_input, coarse_result, enlarged, refine_input

Floats = npt.NDArray[np.float32]


class PairRunner:
    """Both programs as a function from image and mask to image.

    Args:
        coarse: ``input`` ``[1, 4, 512, 512]`` to ``output``, as of ``DfNet``.
        refine: ``input`` ``[1, 20, H, W]`` to ``output``, as of ``Refinement``.
    """

    takes = frozenset({"image", "mask"})

    def __init__(self, coarse: Runner, refine: Runner) -> None:
        self._coarse, self._refine, self.name = coarse, refine, coarse.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (
            torch.from_numpy(np.array(inputs[name], np.float32)) for name in ("image", "mask")
        )
        height, width = image.shape[2:]
        x = coarse_input(image, mask)
        painted = torch.from_numpy(run(self._coarse, x.numpy()))
        filled = enlarged(coarse_result(x, painted, height, width), image, mask)
        return {"output": run(self._refine, refine_input(filled, mask).numpy())}


def run(network: Runner, x: Array) -> Floats:
    """A network's output for its native input."""
    return np.array(network(input=x)["output"], np.float32)
