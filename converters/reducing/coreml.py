"""Core ML: coremltools' passes over the saved program, ranges from our interpreter.

coremltools measures activations by Apple's runtime, which Linux has not.
"""

import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rethined_export.converters.apple import ct, types
from rethined_export.converters.apple import load as load_program
from rethined_export.converters.coreml import save
from rethined_export.converters.files import check_package
from rethined_export.converters.mil import MLProgram
from rethined_export.converters.reducing.coreml_constants import share_constants
from rethined_export.converters.reducing.palette import FEW_WEIGHTS, nearest_levels
from rethined_export.converters.reducing.types import Reduction

# isort: split
# Behind the module that imports coremltools alone: these would bring all that it can convert from.
import coremltools.optimize.coreml as cto
from coremltools.converters.mil.mil.passes.defs.quantization import FP16ComputePrecision
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from coremltools.models.utils import _apply_graph_pass

#: Operators with weights.
_LAYERS = ("conv", "conv_transpose", "linear", "matmul")
#: Weights of so few numbers gain nothing.
_FEW_WEIGHTS = 512
#: What an index may have gone through as a float before it was cast: moves and plain arithmetic.
_INDEX_PATH = frozenset(
    [
        "gather",
        "reshape",
        "transpose",
        "slice_by_index",
        "slice_by_size",
        "concat",
        "expand_dims",
        "squeeze",
        "tile",
        "split",
        "cast",
        "add",
        "sub",
        "mul",
        "floor_div",
        "floor",
        "ceil",
        "round",
        "mod",
        "select",
        "minimum",
        "maximum",
        "clip",
    ]
)
#: What sets a result into the photo: known pixels must come back as they came.
_COMPOSITION = frozenset(
    ["add", "sub", "mul", "select", "clip", "concat", "slice_by_index", "reshape", "transpose"]
)
_TO_HALF = (
    "common::const_elimination",
    "common::cast_optimization",
    "common::dead_code_elimination",
)


def reducer(artifact: Path) -> "_Reducer":
    """Read an artifact in fp32.

    Raises:
        ArtifactError: not a Core ML package, or a damaged one.
    """
    check_package(artifact)
    return _Reducer(artifact)


class _Reducer:
    """One package; a layer is known by its operator's name in the float16 program."""

    def __init__(self, artifact: Path) -> None:
        self._half = _halved(ct.models.MLModel(str(artifact), skip_model_load=True))
        self._ranges: dict[str, dict[str, float]] | None = None

    def layers(self) -> tuple[str, ...]:
        """Convolutions, and products with a constant."""
        return tuple(
            operation.name
            for operation in _operations(self._half)
            if operation.op_type in _LAYERS and _weights(operation) > _FEW_WEIGHTS
        )

    def reduce(self, path: Path, how: Reduction) -> None:
        """Write the reduced package."""
        model = self._half
        match how.precision:
            case "fp16":
                pass
            case "palette6" | "palette4":
                model = cto.palettize_weights(model, _palette(int(how.precision[-1]), how))
            case "int8-weights":
                model = cto.linear_quantize_weights(model, _int8(how))
            case _:
                model = self._activations(how)
                model = cto.linear_quantize_weights(model, _int8(how))
        save(model, path)
        share_constants(path)

    def _activations(self, how: Reduction) -> Any:
        """Quantise and dequantise around each layer, with ranges measured beforehand.

        Layers are named: by their kind, coremltools would also quantise around those whose weights
        stay floats, such as fixed filters of the photo, and no search could keep them.
        """
        if self._ranges is None:
            self._ranges = _measured(self._half, how)
        wanted = dict.fromkeys((name for name in self.layers() if name not in how.kept), _AFFINE)
        passes = []
        for side in ("prefix", "suffix"):
            made = PASS_REGISTRY[f"compression::insert_{side}_quantize_dequantize_pair"]
            config = cto.OptimizationConfig(op_name_configs=wanted)
            made.set_options(
                [PassOption("config", config), PassOption("activation_stats", self._ranges)]
            )
            passes.append(made)
        passes.append(PASS_REGISTRY["common::dequantize_quantize_pair_elimination"])
        return _apply_graph_pass(
            self._half,
            passes,
            spec_version=ct.target.iOS17,
            skip_model_load=True,
            pymil_load_func=load_program,
        )


_LINEAR = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=_FEW_WEIGHTS)
#: Of activations: behind a rectifier half of symmetric steps would never be taken.
_AFFINE = cto.OpLinearQuantizerConfig(mode="linear", weight_threshold=_FEW_WEIGHTS)


def _int8(how: Reduction) -> Any:
    return cto.OptimizationConfig(
        op_type_configs=dict.fromkeys(_LAYERS, _LINEAR), op_name_configs=_alone(how.untouched)
    )


def _palette(bits: int, how: Reduction) -> Any:
    config = cto.OpPalettizerConfig(
        mode="custom", lut_function=partial(nearest_levels, bits), weight_threshold=FEW_WEIGHTS
    )
    return cto.OptimizationConfig(
        op_type_configs=dict.fromkeys(_LAYERS, config), op_name_configs=_alone(how.untouched)
    )


def _alone(names: frozenset[str]) -> dict[str, None]:
    """Configurations of operators that are left alone."""
    return dict.fromkeys(sorted(names))


def _halved(model: Any) -> Any:
    """The program in float16 but for its inputs, outputs, indices and last composition."""
    kept = _kept_exact(model)
    passes = [FP16ComputePrecision(op_selector=lambda operation: operation.name not in kept)]
    return _apply_graph_pass(
        model, [*passes, *(PASS_REGISTRY[name] for name in _TO_HALF)], skip_model_load=True
    )


def _operations(model: Any) -> list[Any]:
    """All operators of a package's program."""
    program = _apply_graph_pass(model, [], skip_model_load=True, return_pymil_prog=True)
    return list(program.functions["main"].operations)


def _weights(operation: Any) -> int:
    """Numbers in an operator's constant weights."""
    for name in ("weight", "x", "y"):
        given = operation.inputs.get(name)
        if given is not None and given.val is not None:
            return int(np.size(given.val))
    return 0


def _kept_exact(model: Any) -> set[str]:
    """Names of operators that must stay in fp32: what indices and the last composition come of."""
    operations = _operations(model)
    makers = {output.name: one for one in operations for output in one.outputs}
    kept: set[str] = set()

    def follow(variable: Any, kinds: frozenset[str]) -> None:
        maker = makers.get(variable.name)
        if maker is None or maker.name in kept or maker.op_type not in kinds:
            return
        kept.add(maker.name)
        for given in maker.inputs.values():
            for one in given if isinstance(given, list | tuple) else (given,):
                if one is not None and one.dtype == types.fp32:
                    follow(one, kinds)

    for operation in operations:
        if operation.op_type == "cast" and operation.dtype.val in ("int32", "int16"):
            follow(operation.x, _INDEX_PATH)
    for output in model.get_spec().description.output:
        for made in makers[output.name].outputs:
            if made.dtype == types.fp32:
                follow(made, _COMPOSITION)
    return kept


def _measured(model: Any, how: Reduction) -> dict[str, dict[str, float]]:
    """Least and largest of every value over all samples, by name."""
    lows: dict[str, float] = defaultdict(lambda: float("inf"))
    highs: dict[str, float] = defaultdict(lambda: float("-inf"))

    def watch(name: str, values: npt.NDArray[Any]) -> None:
        if values.dtype == np.float32 and values.size:
            lows[name] = min(lows[name], float(values.min()))
            highs[name] = max(highs[name], float(values.max()))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "half.mlpackage"
        model.save(str(path))
        program = MLProgram(path)
        torch.set_num_threads(how.threads)
        for sample in how.samples():
            for name, values in sample.items():
                watch(name, values)
            program.run(sample, watch)
    return {name: {"rmin": lows[name], "rmax": highs[name]} for name in lows}
