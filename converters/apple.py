"""coremltools, imported alone and quietly, for all that convert or read packages.

On import it looks for every framework that it could convert from, and TensorFlow and torchao take
seven of its eleven seconds and two thirds of its gigabyte. We convert from torch.
"""

import logging
import sys

_UNUSED = [name for name in ("tensorflow", "torchao") if name not in sys.modules]

logging.getLogger("coremltools").setLevel(logging.ERROR)
# A name without a module is one that is not installed, to whoever imports it.
sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]
try:
    import coremltools as ct
finally:
    for _name in _UNUSED:
        del sys.modules[_name]

from coremltools.converters.mil.frontend.milproto.helper import proto_to_types  # noqa: E402
from coremltools.converters.mil.frontend.milproto.load import load  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402
from coremltools.libmodelpackage import ModelPackage  # noqa: E402
from coremltools.proto import MIL_pb2 as mil  # noqa: E402

__all__ = ["ModelPackage", "ct", "load", "mil", "proto_to_types", "types"]
