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
        ours, theirs = _tensors(self.model), _tensors(model)
        means = [tensor for tensor in ours if tensor.is_floating_point()]
        values = [tensor for tensor in theirs if tensor.is_floating_point()]
        torch._foreach_lerp_(means, values, 1 - left)
        counts = [tensor for tensor in ours if not tensor.is_floating_point()]
        torch._foreach_copy_(counts, [t for t in theirs if not t.is_floating_point()])


def _tensors(model: Rethined) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
