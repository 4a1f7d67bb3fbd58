"""DeepFill for images of one size, in operators that all targets take and run fast."""

import copy

from rethined_export.models.deepfill import Deepfill, Layer
from rethined_export.rewrite.contextual import DiagonalAttention
from rethined_export.rewrite.reflect import ReflectedConv


def rewritten(model: Deepfill, height: int, width: int) -> Deepfill:
    """Twin of the network: attention by products and moved tables, reflection by slices.

    Args:
        model: reference in eval mode; it is copied.

    Raises:
        ValueError: the network takes no images of this size, or its attention cannot be rewritten.
    """
    model.config.check_size(height, width)
    made = copy.deepcopy(model).requires_grad_(False)
    plain = made.attention
    made.set_submodule(made.names.attention, DiagonalAttention(plain, height, width))
    for layer in list(made.modules()):
        if isinstance(layer, Layer) and layer.conv.padding_mode == "reflect":
            layer.add_module("conv", ReflectedConv(layer.conv))
    return made.eval()
