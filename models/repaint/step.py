"""One step of a fill, and the walk over all of them."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rethined_export.models.repaint.schedule import Schedule
from rethined_export.models.repaint.unet import RepaintUNet

#: What a step takes, in order.
INPUTS = ("x", "t", "image", "mask", "known_noise", "noise")
#: From :data:`INPUTS`.
Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], "Stepped"]
#: The next noise, ``[1, 3, H, W]``, standard normal.
Draw = Callable[[], Tensor]


class Stepped(NamedTuple):
    """What a step gives, both ``[B, 3, H, W]``.

    Attributes:
        below: the noisy image of the level below; of the last, RGB in [-1, 1].
        guess: the clean image as it looks from here, RGB in [-1, 1].
    """

    below: Tensor
    guess: Tensor


class RepaintStep(nn.Module):
    """One step of a schedule."""

    table: Tensor
    times: Tensor

    def __init__(self, network: RepaintUNet, schedule: Schedule) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("table", torch.from_numpy(schedule.table()), persistent=False)
        self.register_buffer("times", torch.from_numpy(schedule.times), persistent=False)

    def forward(
        self, x: Tensor, t: Tensor, image: Tensor, mask: Tensor, known_noise: Tensor, noise: Tensor
    ) -> Stepped:
        """From a noise level to the one below.

        Args:
            x: ``[B, 3, H, W]``, noisy; at the schedule's last level all noise.
            t: ``[B]``, the level, a whole number from 0.
            image: RGB ``[B, 3, H, W]`` in [0, 1]; what lies in the hole does not matter.
            mask: ``[B, 1, H, W]``, 1 = hole, 0 = known; all 1 in a fill's first step.
            known_noise, noise: ``[B, 3, H, W]``, standard normal: on the image where it is known,
                and on what is given.
        """
        level = t.long()
        row = self.table[level][:, :, None, None]
        x = mixed(x, row, image, mask, known_noise)
        return stepped(x, row, self.network(x, self.times[level]), noise)


def mixed(x: Tensor, row: Tensor, image: Tensor, mask: Tensor, known_noise: Tensor) -> Tensor:
    """A noisy image whose known pixels are the photo's, as noisy.

    Args:
        row: of :meth:`Schedule.table`, ``[B, 9, 1, 1]``. Others: as of :class:`RepaintStep`.
    """
    known = row[:, 0:1] * (2 * image - 1) + row[:, 1:2] * known_noise
    return known * (1 - mask) + x * mask


def stepped(x: Tensor, row: Tensor, told: Tensor, noise: Tensor) -> Stepped:
    """The level below of what the network says of a noisy image.

    Args:
        row: of :meth:`Schedule.table`, ``[B, 9, 1, 1]``.
        told: ``[B, 6, H, W]``, as of :class:`RepaintUNet`.
    """
    columns = torch.split(row[:, 2:], 1, dim=1)
    of_image, of_noise, from_guess, from_x, most, least, noisy = columns
    guess = torch.clamp(of_image * x - of_noise * told[:, :3], -1, 1)
    between = (told[:, 3:] + 1) / 2
    deviation = torch.exp(0.5 * (between * most + (1 - between) * least))
    return Stepped(from_guess * guess + from_x * x + noisy * deviation * noise, guess)


def walked(step: Step, schedule: Schedule, image: Tensor, mask: Tensor, draw: Draw) -> Tensor:
    """The whole walk: RGB ``[1, 3, H, W]`` in [-1, 1], known pixels painted too.

    Noise is drawn in a fixed order: first all of the image; for a step its ``noise``, then its
    ``known_noise``, which the first step does without; for a jump one.

    Args:
        image, mask: as of :class:`RepaintStep`.
    """
    levels, x = schedule.walk(), draw()
    for number, (level, following) in enumerate(pairwise(levels)):
        if following < level:
            noise = draw()
            # Of the first no guess was made that the photo could be set into.
            hole, known_noise = (mask, draw()) if number else (torch.ones_like(mask), x)
            t = torch.tensor([float(level)])
            x = step(x, t, image, hole, known_noise, noise).below
        else:
            added = schedule.added[following]
            x = (1 - added) ** 0.5 * x + added**0.5 * draw()
    return x


class RepaintInpainter(nn.Module):
    """The whole walk as a function of an image and a mask, with noise of one seed."""

    def __init__(self, network: RepaintUNet, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.schedule = network, schedule

    @property
    def step(self) -> RepaintStep:
        """One step of it."""
        return RepaintStep(self.network, self.schedule).eval()

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Fill the hole.

        Args:
            image: RGB ``[1, 3, H, W]`` in [0, 1]; what lies in the hole does not matter.
            mask: ``[1, 1, H, W]``, 1 = hole, 0 = known.

        Returns:
            RGB ``[1, 3, H, W]`` in [0, 1], known pixels as they came.
        """
        return composite(walked(self.step, self.schedule, image, mask, noises(image)), image, mask)


def noises(like: Tensor, seed: int = 0) -> Draw:
    """Standard normal noise in the shape of an image, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(like.shape, generator=generator)


def composite(painted: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """What was painted, in [-1, 1], in the hole; the rest exactly as it came, in [0, 1]."""
    return image * (1 - mask) + (painted * 0.5 + 0.5) * mask
