"""The running mean of a model's weights: steadier than the last step's, above all with a critic."""

import copy

import torch
from torch import Tensor

from rethined_export.models.rethined.model import Rethined


class Average:
    """Follows a model; its own copy stays in eval mode.

    Args:
        decay: share of the mean that a step leaves; early steps leave less, so that the start is
            soon forgotten.
    """

    def __init__(self, model: Rethined, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def follow(self, model: Rethined, step: int) -> None:
        """Take in the weights after a step, counted from 1 since the run began."""
        left = min(self._decay, (1 + step) / (10 + step))
        means: list[Tensor] = []
        values: list[Tensor] = []
        state = model.state_dict()
        for name, mean in self.model.state_dict().items():
            if mean.is_floating_point():
                means.append(mean)
                values.append(state[name])
            else:
                mean.copy_(state[name])
        torch._foreach_lerp_(means, values, 1 - left)
