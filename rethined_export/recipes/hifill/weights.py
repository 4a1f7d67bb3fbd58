"""HiFill's weights, whose kernels files may hold as TensorFlow does or as torch does."""

import re
from collections.abc import Mapping
from dataclasses import replace

from rethined_export.checkpoints import Checkpoint
from rethined_export.errors import UserError
from rethined_export.models.hifill import HiFill, HiFillInpainter
from rethined_export.recipes.reference import loaded_reference
from rethined_export.recipes.types import Reference, Source

#: What else a checkpoint of a training holds: the discriminator, counters, an optimiser's averages.
_OTHERS = re.compile(r"^(?!generator/)|/(Adam|Adam_1)$")
#: Names of the files of a TensorFlow checkpoint, and of a frozen graph.
_TENSORFLOW = re.compile(r"\.(index|meta|pb|data-\d+-of-\d+)$")
#: Places of a TensorFlow kernel's sides, ``[k, k, in, out]``, in the order of torch's.
_TURN = (3, 2, 0, 1)


def loaded(network: HiFill, source: Source) -> Reference:
    """The network with the weights of a file.

    Raises:
        UserError: it cannot be read, or does not fit; or it is one of TensorFlow's own files.
    """
    if _TENSORFLOW.search(source.path.name):
        raise UserError(
            f"{source.path} is a file of TensorFlow's; save its variables as safetensors first, "
            "docs/models/hifill.md says how"
        )
    model = HiFillInpainter(network, network.config)
    return loaded_reference(model, network, source, optional=_OTHERS, adapt=turned)


def turned(checkpoint: Checkpoint, wanted: Mapping[str, tuple[int, ...]]) -> Checkpoint:
    """Its kernels as torch has them; no kernel's shape can be taken for another's other order."""
    tensors = dict(checkpoint.tensors)
    for name, tensor in tensors.items():
        shape = wanted.get(name.rpartition(".")[2], ())
        if tensor.dim() == len(_TURN) and tuple(tensor.shape) != shape:
            other = tensor.permute(*_TURN)
            if tuple(other.shape) == shape:
                tensors[name] = other
    return replace(checkpoint, tensors=tensors)
