"""What each kind of artifact computes: the torch module, its inputs and outputs."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from rethined_export.artifacts import ExportSpec
from rethined_export.converters.types import Array, Program, Runner
from rethined_export.models.rethined import LOW_RESOLUTION, Rethined
from rethined_export.models.rethined.config import PATCH, TOKENS
from rethined_export.recipes.rethined.caller import BATCH, Pair, PairRuntime
from rethined_export.recipes.rethined.dropin import HoleGraph
from rethined_export.recipes.rethined.graph import ExportGraph
from rethined_export.recipes.rethined.holes import HoleTokens
from rethined_export.recipes.rethined.patches import HALO, LOW_WINDOW, PatchStage


def exportable(spec: ExportSpec, model: Rethined) -> Program:
    """The module that a spec asks for, with inputs to trace it by.

    Args:
        model: reference in eval mode.
    """
    if spec.part == "low":
        return _low(spec, model)
    if spec.part == "patch":
        return _patch(spec)
    graph = whole_graph(spec, model)
    return Program(graph, _scene(spec.hr), graph.output_names)


def whole_graph(spec: ExportSpec, model: Rethined) -> ExportGraph | HoleGraph:
    """Image and mask to image; for a part, the whole it belongs to."""
    if spec.upscale == "patches":
        return HoleGraph(model, spec.hr, spec.places, spec.top_k)
    return ExportGraph(model, spec.hr, spec.upscale, spec.top_k)


def _scene(side: int) -> dict[str, Tensor]:
    """An image, and a mask over its upper half's left part."""
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, side, side)
    mask[:, :, : side // 2, : side // 8] = 1
    return {"image": image, "mask": mask}


def _low(spec: ExportSpec, model: Rethined) -> Program:
    inputs = _scene(LOW_RESOLUTION)
    inputs["tokens"] = torch.arange(spec.places, dtype=torch.int32)
    module = HoleTokens(model, spec.top_k)
    if module.coherent:
        inputs["rows"] = torch.arange(TOKENS, dtype=torch.int32).clamp(max=spec.places)
    return Program(module, inputs, ("low", "composite", "indices", "scores"))


def _patch(spec: ExportSpec) -> Program:
    scale, sources = spec.hr // LOW_RESOLUTION, BATCH * spec.top_k
    window = PATCH * scale + 2 * HALO
    inputs = {
        "sources": torch.rand(sources, window, 3, window),
        "low_targets": torch.rand(BATCH, LOW_WINDOW, 3, LOW_WINDOW),
    }
    if spec.top_k > 1:
        inputs["weights"] = torch.full((BATCH, spec.top_k), 1 / spec.top_k)
    return Program(PatchStage(scale, spec.top_k).eval(), inputs, ("patches",))


class TorchRuntime:
    """A module called as an artifact is: arrays by name in, arrays by name out."""

    name = "torch"

    def __init__(self, module: nn.Module, outputs: tuple[str, ...]) -> None:
        self._module, self._outputs = module, outputs

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        with torch.no_grad():
            made = self._module(*(torch.from_numpy(np.asarray(x)) for x in inputs.values()))
        tensors = made if isinstance(made, tuple) else (made,)
        return {name: x.numpy() for name, x in zip(self._outputs, tensors, strict=True)}


def in_place_of_whole(spec: ExportSpec, model: Rethined, runtime: Runner) -> Runner:
    """An artifact as a function from image and mask to image.

    A program of a split pair is completed by the torch twin of the other, so that each is judged by
    itself, in the image it helps to make.
    """
    if spec.part == "whole":
        return runtime
    other = exportable(replace(spec, part="patch" if spec.part == "low" else "low"), model)
    twin = TorchRuntime(other.module, other.outputs)
    low, patch = (runtime, twin) if spec.part == "low" else (twin, runtime)
    scale = spec.hr // LOW_RESOLUTION
    pair = Pair(
        low,
        patch if scale > 1 else None,
        scale,
        spec.places,
        spec.top_k,
        model.config.coherence,
    )
    return PairRuntime(pair, runtime.name)
