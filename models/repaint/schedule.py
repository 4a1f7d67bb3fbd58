"""How noisy each step is, and in which order RePaint walks them.

"RePaint: Inpainting using Denoising Diffusion Probabilistic Models", arXiv 2201.09865; the network
was trained on 1000 steps, of which a schedule keeps some, evenly spaced.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
#: Steps of the training, and the variances of the noise that its first and last add.
TRAINED, _FIRST, _LAST = 1000, 1e-4, 0.02


@dataclass(frozen=True)
class Schedule:
    """Steps of a fill; step ``t`` goes from noise level ``t`` to the one below.

    Attributes:
        steps: kept of the training's, 2 to 1000. length, visits: of jumps: each stretch of
            ``length`` steps is walked ``visits`` times, between two of which it is noised again.
    """

    steps: int = 250
    length: int = 10
    visits: int = 10

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= TRAINED:
            raise ValueError(f"{self.steps} steps are not 2 to {TRAINED}")
        if not 1 <= self.length < self.steps:
            raise ValueError(
                f"jumps of {self.length} are not shorter than all {self.steps} steps, and 1 or more"
            )
        if self.visits < 1:
            raise ValueError(f"a stretch cannot be walked {self.visits} times")

    @cached_property
    def times(self) -> npt.NDArray[np.int64]:
        """What the network takes each step's noise for, 0 to 999, ``[steps]``."""
        places = np.arange(self.steps) * ((TRAINED - 1) / (self.steps - 1))
        return np.rint(places).astype(np.int64)

    @cached_property
    def kept(self) -> Doubles:
        """Of each level, which share of the variance is still the image's, ``[steps]``."""
        trained = np.cumprod(1 - np.linspace(_FIRST, _LAST, TRAINED))
        return np.asarray(trained[self.times], np.float64)

    @cached_property
    def added(self) -> Doubles:
        """Variance of the noise that a level has over the one below, ``[steps]``."""
        return 1 - self.kept / self._kept_below

    @property
    def _kept_below(self) -> Doubles:
        return np.concatenate([[1.0], self.kept[:-1]])

    def table(self) -> npt.NDArray[np.float32]:
        """What a step's formulas need of each level, ``[steps, 9]``.

        The image's and the noise's share of a noisy image; what that image and the noise are
        multiplied by for the clean one; the clean and the noisy image's share of the mean below;
        logarithms of the most and the least variance around it; and 1, at the last step 0.
        """
        kept, below, added = self.kept, self._kept_below, self.added
        least = added * (1 - below) / (1 - kept)
        least[0] = least[1]  # of nothing there is no logarithm
        columns = [
            np.sqrt(kept),
            np.sqrt(1 - kept),
            np.sqrt(1 / kept),
            np.sqrt(1 / kept - 1),
            added * np.sqrt(below) / (1 - kept),
            (1 - below) * np.sqrt(1 - added) / (1 - kept),
            np.log(added),
            np.log(least),
            np.arange(self.steps) > 0,
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def walk(self) -> list[int]:
        """Levels in order, from the noisiest to -1, which is the image.

        To a lower level leads a run of the network, to a higher one noise.
        """
        levels: list[int] = []
        for level in reversed(range(self.steps)):
            levels.append(level)
            if level % self.length == 0 and level + self.length < self.steps:
                up = range(level + 1, level + self.length + 1)
                down = reversed(range(level, level + self.length))
                levels += [*up, *down] * (self.visits - 1)
        return [*levels, -1]

    @property
    def runs(self) -> int:
        """How often a fill runs the network."""
        return sum(after < before for before, after in pairwise(self.walk()))
