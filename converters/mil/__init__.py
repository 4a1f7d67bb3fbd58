"""Executes saved Core ML programs where Core ML itself does not run.

The other modules register their operators when imported.
"""

from rethined_export.converters.mil import (  # noqa: F401
    elementwise,
    filters,
    layout,
    quantised,
    resizing,
    selection,
)
from rethined_export.converters.mil.interpreter import MLProgram

__all__ = ["MLProgram"]
