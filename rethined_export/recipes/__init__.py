"""What the pipeline needs to know of each model: one module or package each, one line here."""

import importlib
from typing import Any, cast

from rethined_export.recipes.options import choose
from rethined_export.recipes.types import Recipe

#: Where each model's ``RECIPE`` lives; the first is the default.
RECIPES = {
    "rethined": "rethined_export.recipes.rethined",
    "lama": "rethined_export.recipes.lama",
    "migan": "rethined_export.recipes.migan",
    "module": "rethined_export.recipes.module",
}


def recipe(model: str) -> Recipe[Any]:
    """The recipe of a model.

    Raises:
        UserError: unknown; the nearest name is suggested.
    """
    module = importlib.import_module(RECIPES[choose("--model", model, RECIPES)])
    return cast(Recipe[Any], module.RECIPE)
