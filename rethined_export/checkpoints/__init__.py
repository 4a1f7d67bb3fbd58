"""Checkpoints as people have them, read without running anything in them.

``read`` gives the tensors of safetensors files, torch files of every age, whole pickled modules,
Lightning checkpoints, TorchScript archives, plain pickles and sharded checkpoints; ``fit`` takes
a network's weights from them; ``describe`` lists what is there.
"""

from rethined_export.checkpoints.errors import CheckpointError
from rethined_export.checkpoints.fitting import Fitted, fit, strip
from rethined_export.checkpoints.listing import Guess, Listing, describe, guess
from rethined_export.checkpoints.reading import Checkpoint, combined, digest, read

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Fitted",
    "Guess",
    "Listing",
    "combined",
    "describe",
    "digest",
    "fit",
    "guess",
    "read",
    "strip",
]
