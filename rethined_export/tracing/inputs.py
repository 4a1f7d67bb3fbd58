"""What one program is given: by its caller in a scene, or at random where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rethined_export.converters.types import Array, Runner
from rethined_export.errors import UserError
from rethined_export.parity.tensors import Inputs
from rethined_export.spec import ExportSpec
from rethined_export.tracing.tensors import layouts
from rethined_export.tracing.types import Wanted


class _HeardError(Exception):
    """Carries the inputs of a program out of its caller."""

    def __init__(self, inputs: dict[str, Array]) -> None:
        super().__init__()
        self.inputs = inputs


class _Listener:
    """Stands for a program, to hear what it would be given."""

    name = "listener"

    def __init__(self, takes: frozenset[str]) -> None:
        self.takes = takes

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        raise _HeardError({name: np.array(value) for name, value in inputs.items()})


def given_in(
    spec: ExportSpec, takes: frozenset[str], others: Mapping[str, Runner], scene: Any
) -> dict[str, Array]:
    """What a spec's program is given first when a scene is filled.

    Args:
        takes: names of its inputs. others: the model's other programs, by part.
        scene: of the recipe.

    Raises:
        UserError: this scene needs no run of it.
    """
    tensors = scene.tensors if isinstance(scene, Inputs) else {}
    tensors = tensors or {"image": scene.image, "mask": scene.mask}
    runner = spec.recipe.caller(spec.options, {**others, spec.part: _Listener(takes)})
    try:
        runner(**{name: tensor.numpy() for name, tensor in tensors.items()})
    except _HeardError as heard:
        return heard.inputs
    raise UserError(f"the {spec.part} program is not run on {scene.name}; give another --image")


def at_random(takes: Mapping[str, Wanted], seed: int = 0) -> dict[str, Array]:
    """Uniform values in [0, 1) for each input, zeros where it takes whole numbers.

    Raises:
        UserError: a size is left open.
    """
    random = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, wanted in takes.items():
        if None in wanted.shape:
            sizes = ", ".join("?" if size is None else str(size) for size in wanted.shape)
            raise UserError(
                f"input {name} is [{sizes}]: the file leaves a size open; fix its sizes first"
            )
        shape = tuple(size for size in wanted.shape if size is not None)
        values = random.random(shape) if wanted.dtype.startswith("float") else np.zeros(shape)
        made[name] = values.astype(wanted.dtype)
    return made


def fitted(inputs: Mapping[str, Array], takes: Mapping[str, Wanted]) -> dict[str, Array]:
    """Inputs of one file as another of the same network takes them.

    By name, or in order where names differ; images turned where the other has them channels last.

    Raises:
        UserError: it takes other ones.
    """
    names = dict(zip(takes, inputs, strict=False))
    if takes.keys() == inputs.keys():
        names = {name: name for name in takes}
    if len(takes) != len(inputs):
        raise UserError(f"the reference takes {list(takes)}, the artifact {list(inputs)}")
    made = {}
    for name, wanted in takes.items():
        value = inputs[names[name]]
        alike = [one for one in layouts(value) if one.shape == wanted.shape]
        if not alike:
            raise UserError(
                f"the reference takes {name} {list(wanted.shape)}, the artifact "
                f"{list(value.shape)}; give a file of the same network"
            )
        made[name] = np.ascontiguousarray(alike[0].astype(wanted.dtype))
    return made
