"""The network of ogkalu2/Rethined-Implementation: RETHINED's idea with whole patches copied."""

from rethined_export.models.rethined.copying.config import CopyConfig, copy_config, unsupported
from rethined_export.models.rethined.copying.initialise import untrained_copy
from rethined_export.models.rethined.copying.model import CopyModel

__all__ = ["CopyConfig", "CopyModel", "copy_config", "unsupported", "untrained_copy"]
