"""What the pipeline needs to know of each model: one module or package each, one line here."""

import importlib
from collections.abc import Callable, Collection
from typing import Any, cast

from rethined_export.names import choose
from rethined_export.recipes.types import Recipe

#: Where each model's ``RECIPE`` lives; the first is the default.
RECIPES = {
    "rethined": "rethined_export.recipes.rethined",
    "lama": "rethined_export.recipes.lama",
    "migan": "rethined_export.recipes.migan",
    "deepfill": "rethined_export.recipes.deepfill",
    "partial-conv": "rethined_export.recipes.partial_conv",
    "aot-gan": "rethined_export.recipes.aot_gan",
    "context-encoder": "rethined_export.recipes.context_encoder",
    "dfnet": "rethined_export.recipes.dfnet",
    "two-stage": "rethined_export.recipes.twostage",
    "repaint": "rethined_export.recipes.repaint",
    "hifill": "rethined_export.recipes.hifill",
    "pmrf": "rethined_export.recipes.pmrf",
    "module": "rethined_export.recipes.module",
}


def recognisers() -> dict[str, Callable[[Collection[str]], float]]:
    """For each model, how likely tensors of these names are its own, 0 to 1."""

    def of(model: str) -> Callable[[Collection[str]], float]:
        return lambda names: recipe(model).recognises(frozenset(names))

    return {model: of(model) for model in RECIPES}


def recipe(model: str) -> Recipe[Any]:
    """The recipe of a model.

    Raises:
        UserError: unknown; the nearest name is suggested.
    """
    module = importlib.import_module(RECIPES[choose("--model", model, RECIPES)])
    return cast(Recipe[Any], module.RECIPE)
