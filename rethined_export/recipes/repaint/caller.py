"""What runs RePaint's artifacts: the schedule around one step, and a step around the network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rethined_export.converters.types import Array, Runner
from rethined_export.models.repaint import (
    INPUTS,
    Schedule,
    Stepped,
    composite,
    mixed,
    noises,
    stepped,
    walked,
)


class ScheduleRunner:
    """From image and mask to image, with noise of one seed; or one step, where it is given one.

    Args:
        step: takes :data:`INPUTS`, gives ``output`` and ``guess``.
    """

    takes = frozenset({"image", "mask"})

    def __init__(self, step: Runner, schedule: Schedule) -> None:
        self._step, self._schedule, self.name = step, schedule, step.name

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Run the schedule; given all that a step takes, as parity does, that step alone."""
        if "x" in inputs:
            return self._step(**inputs)
        image, mask = (_tensor(inputs[name]) for name in ("image", "mask"))
        painted = walked(self._one, self._schedule, image, mask, noises(image))
        return {"output": composite(painted, image, mask).numpy()}

    def _one(self, *given: Tensor) -> Stepped:
        made = self._step(**{n: x.numpy() for n, x in zip(INPUTS, given, strict=True)})
        return Stepped(_tensor(made["output"]), _tensor(made["guess"]))


class NetworkRunner:
    """A step by the network alone.

    Args:
        network: takes ``input`` and ``time``, gives ``output``, as of ``RepaintUNet``.
    """

    takes = frozenset(INPUTS)

    def __init__(self, network: Runner, schedule: Schedule) -> None:
        self._network, self.name = network, network.name
        self._table, self._times = schedule.table(), schedule.times.astype(np.float32)

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        level = np.asarray(inputs["t"]).astype(np.int64)
        row = torch.from_numpy(self._table[level])[:, :, None, None]
        x, image, mask, known_noise, noise = (_tensor(inputs[n]) for n in INPUTS if n != "t")
        x = mixed(x, row, image, mask, known_noise)
        told = _tensor(self._network(input=x.numpy(), time=self._times[level])["output"])
        below, guess = stepped(x, row, told, noise)
        return {"output": below.numpy(), "guess": guess.numpy()}


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.array(value, np.float32))
