"""A stand-in for weights nobody publishes: it chooses and copies, and cannot inpaint."""

import torch

from rethined_export.models.rethined.copying.config import CopyConfig
from rethined_export.models.rethined.copying.model import CopyModel
from rethined_export.models.seeded import seed_weights

#: What the last layer before the sigmoid and the coherence layer are multiplied with, so that the
#: coarse image is neither flat nor black and white, and a copied patch can be recognised.
_LAST, _COHERENCE = 0.2, 0.1


def untrained_copy(config: CopyConfig | None = None) -> CopyModel:
    """A model in eval mode, the same each time."""
    model = CopyModel(config)
    seed_weights(model, gain=1.0)
    inpainter, head = model.inpainter, model.inpainter.multihead_attention
    with torch.no_grad():
        # Equal projections make the score a similarity: otherwise all tokens choose one key.
        head.w_ks.weight.copy_(head.w_qs.weight)
        model.coarse_model.out_conv.weight.mul_(_LAST)
        inpainter.coherence_layer.weight.mul_(_COHERENCE)
    return model.eval().requires_grad_(False)
