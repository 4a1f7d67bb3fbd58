"""Trained weights, each with its card and the settings that made it."""

from pathlib import Path

from rethined_export.models.rethined.config import Variant


def shipped(preset: str, variant: Variant) -> Path | None:
    """The weights that come with the package for a preset and variant, if there are any."""
    path = Path(__file__).with_name(f"rethined-{preset}.safetensors")
    return path if variant == "paper" and path.exists() else None
