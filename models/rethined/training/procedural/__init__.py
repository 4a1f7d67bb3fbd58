"""Photographs that nobody took: an endless stream of images to train on, free of any licence."""

from rethined_export.models.rethined.training.procedural.scene import scene

__all__ = ["scene"]
