"""Weights that follow from the names of a network's tensors alone.

A network without public or trained weights still has to be exported and compared: these keep its
activations alive and are the same on every machine, so that numbers made elsewhere can be checked
against. It cannot inpaint.
"""

import math
import zlib
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn

#: What a key ends in, and how its values follow from a standard normal ``n``.
_SMALL, _SPREAD = np.float32(0.02), np.float32(0.1)


def seed_weights(model: nn.Module, gain: float, constants: Collection[str] = ()) -> None:
    """Fill every floating-point tensor of a network in place, each from its own key.

    The generator is seeded with the CRC-32 of the key; ``n`` is standard normal in float32. Running
    means and biases become 0.02·n, running variances 1 + 0.1·|n|, other one-dimensional tensors
    1 + 0.1·n, noise strengths 0.1·n, noise buffers n, and kernels ``n · gain / √fan_in`` with
    ``fan_in`` the product of all dimensions but the first.

    Args:
        gain: of the kernels; one number a network, so that its output is neither flat nor huge.
        constants: keys that keep their values (fixed filters).
    """
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point() and key not in constants:
                tensor.copy_(seeded(key, tuple(tensor.shape), gain))


def seeded(key: str, shape: tuple[int, ...], gain: float) -> Tensor:
    """The values of one tensor, float32."""
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    n = generator.standard_normal(size=shape, dtype=np.float32)
    name = key.rsplit(".", 1)[-1]
    if name == "noise_const":
        values = n
    elif name == "noise_strength":
        values = _SPREAD * n
    elif name == "running_mean" or name.endswith(("bias", "biases")):
        values = _SMALL * n
    elif name == "running_var":
        values = 1 + _SPREAD * np.abs(n)
    elif len(shape) == 1:
        values = 1 + _SPREAD * n
    else:
        values = n * np.float32(gain / math.sqrt(math.prod(shape[1:])))
    return torch.from_numpy(np.asarray(values, np.float32))
