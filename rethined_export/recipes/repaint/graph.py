"""RePaint's programs: a step, in which all that depends on the level alone stands in a table."""

import copy

import torch
from torch import Tensor, nn

from rethined_export.converters.types import Program, TensorInfo
from rethined_export.models.repaint import (
    INPUTS,
    RepaintInpainter,
    RepaintStep,
    RepaintUNet,
    mixed,
    stepped,
    waves,
)
from rethined_export.photo.window import Window
from rethined_export.recipes.types import HOLE, RGB, image_info, scene
from rethined_export.rewrite.group import GroupNorm

_NOISY = "RGB in [-1, 1] with noise on it"
_NOISE = "standard normal noise"


def rewritten(network: RepaintUNet) -> RepaintUNet:
    """Twin of the network with norms whose weights are no factors of their own.

    Args:
        network: in eval mode; its weights are shared, for they are half a billion.
    """
    shared = {id(parameter): parameter for parameter in network.parameters()}
    made = copy.deepcopy(network, shared)
    for name, module in list(made.named_modules()):
        if isinstance(module, nn.GroupNorm):
            parent, _, own = name.rpartition(".")
            setattr(made.get_submodule(parent), own, GroupNorm(module))
    return made


class StepGraph(nn.Module):
    """Twin of :class:`RepaintStep`, for one image.

    A level's row is its product with 1 and all others' with 0, summed, which is exact: indices
    would have to be integers. The waves that tell the network the time are looked up with it, for
    runtimes differ in the cosine of large angles, and in float16 there is none of them.

    Args:
        plain: in eval mode.
    """

    rows: Tensor
    levels: Tensor

    def __init__(self, plain: RepaintStep) -> None:
        super().__init__()
        self.network = rewritten(plain.network)
        told = waves(plain.times, self.network.config.width)
        rows = torch.cat([plain.table, told], dim=1)
        self._columns = plain.table.shape[1]
        self.register_buffer("rows", rows, persistent=False)
        levels = torch.arange(len(rows), dtype=torch.float32)
        self.register_buffer("levels", levels[:, None], persistent=False)

    def forward(
        self, x: Tensor, t: Tensor, image: Tensor, mask: Tensor, known_noise: Tensor, noise: Tensor
    ) -> tuple[Tensor, ...]:
        """As the plain one; ``t`` is ``[1]``."""
        chosen = torch.relu(1 - torch.abs(self.levels - t))
        found = (self.rows * chosen).sum(0, keepdim=True)
        row, time = found[:, : self._columns, None, None], found[:, self._columns :]
        x = mixed(x, row, image, mask, known_noise)
        return tuple(stepped(x, row, self.network.of_waves(x, time), noise))


class NetworkGraph(nn.Module):
    """The network alone: ``[1, 3, H, W]`` and time ``[1]`` → ``[1, 6, H, W]``."""

    def __init__(self, network: RepaintUNet) -> None:
        super().__init__()
        self.network = rewritten(network)

    def forward(self, input: Tensor, time: Tensor) -> Tensor:
        return self.network(input, time)


def step_program(model: RepaintInpainter, window: Window) -> Program:
    """One step of a model's schedule."""
    example = scene(window)
    x, known_noise, noise = (torch.zeros(1, 3, *window) for _ in range(3))
    inputs = (x, torch.zeros(1), example["image"], example["mask"], known_noise, noise)
    return Program(
        StepGraph(model.step).eval(),
        dict(zip(INPUTS, inputs, strict=True)),
        (
            image_info("x", 3, window, _NOISY),
            _number("t", f"step, {model.schedule.steps - 1} to 0"),
            image_info("image", 3, window, RGB),
            image_info("mask", 1, window, f"{HOLE}; all 1 in the first step"),
            image_info("known_noise", 3, window, _NOISE),
            image_info("noise", 3, window, _NOISE),
        ),
        (
            image_info("output", 3, window, "x of the step below; of step 0 RGB in [-1, 1]"),
            image_info("guess", 3, window, "what x may be without noise, RGB in [-1, 1]"),
        ),
    )


def network_program(model: RepaintInpainter, window: Window) -> Program:
    """The network alone."""
    return Program(
        NetworkGraph(model.network).eval(),
        {"input": scene(window)["image"], "time": torch.zeros(1)},
        (image_info("input", 3, window, _NOISY), _number("time", "0 to 999")),
        (image_info("output", 6, window, "noise; how far from least to most variance, -1 to 1"),),
    )


def _number(name: str, meaning: str) -> TensorInfo:
    return TensorInfo(name, (1,), "", "float32", meaning)
