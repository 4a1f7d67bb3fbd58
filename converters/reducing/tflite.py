"""TFLite: ai-edge-quantizer, and what it leaves: large constants and the names of tensors."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rethined_export.converters.reducing.tflite_constants import LAYERS, Halving, shorten_names
from rethined_export.converters.reducing.types import UNIT, Reduction, Sample
from rethined_export.converters.tflite import channels_last, pack, unpack

#: Place of the weights among a layer's inputs.
_WEIGHT = 1


def reducer(artifact: Path) -> "_Reducer":
    """Read an artifact in fp32.

    Raises:
        ArtifactError: not a TFLite file, or a damaged one.
    """
    return _Reducer(artifact)


class _Reducer:
    """One flatbuffer; a layer is known by the tensor it makes."""

    def __init__(self, artifact: Path) -> None:
        self._data = artifact.read_bytes()
        self._images = channels_last(artifact)
        self._graph = unpack(artifact).subgraphs[0]
        self._codes = unpack(artifact).operatorCodes
        self._ranges: dict[str, Any] | None = None

    def layers(self) -> tuple[str, ...]:
        """Convolutions and fully connected layers, by the names of their outputs."""
        return tuple(self._name(operator) for operator in self._layers())

    def _layers(self) -> Iterator[Any]:
        kinds = {getattr(schema.BuiltinOperator, name) for name in LAYERS}
        for operator in self._graph.operators:
            if self._codes[operator.opcodeIndex].builtinCode in kinds:
                yield operator

    def _name(self, operator: Any) -> str:
        return str(self._graph.tensors[operator.outputs[0]].name.decode())

    def _sharing(self) -> frozenset[str]:
        """Layers whose weights others read too."""
        readers = Counter(int(operator.inputs[_WEIGHT]) for operator in self._layers())
        return frozenset(self._name(o) for o in self._layers() if readers[o.inputs[_WEIGHT]] > 1)

    def reduce(self, path: Path, how: Reduction) -> None:
        """Write the reduced file."""
        from ai_edge_quantizer.quantizer import Quantizer

        recipe = _recipe(how, self._sharing())
        made = Quantizer(bytearray(self._data), recipe.get_quantization_recipe())
        if made.need_calibration and self._ranges is None:
            self._ranges = self._measured(_recipe(replace(how, kept=frozenset())), how)
        result = made.quantize(
            self._ranges if made.need_calibration else None,
            enable_progress_bar=False,
            enable_progress_report=False,
        )
        path.write_bytes(bytes(result.quantized_model))
        model = unpack(path)
        Halving(model).halve()
        shorten_names(model)
        path.write_bytes(pack(model))

    def _measured(self, recipe: Any, how: Reduction) -> Any:
        """The least and the largest that each activation is over all samples.

        Left to itself the quantiser takes a moving average, in which the first sample weighs 0.95
        and what is larger in the others is cut off.
        """
        from ai_edge_quantizer.calibrator import Calibrator
        from ai_edge_quantizer.utils.qsv_utils import min_max_update

        runs = Calibrator(bytearray(self._data), 1, qsv_update_func=min_max_update)
        runs.calibrate({self._signature(): _Runs(how, self._images)}, recipe)
        ranges = runs.get_model_qsvs()
        for name in UNIT:
            if name in ranges:
                ranges[name] = {"min": np.float32(0), "max": np.float32(1)}
        return ranges

    def _signature(self) -> str:
        from ai_edge_litert.interpreter import Interpreter

        return str(next(iter(Interpreter(model_content=self._data).get_signature_list())))


class _Runs:
    """Samples in the artifact's layout; may be gone through more than once."""

    def __init__(self, how: Reduction, images: frozenset[str]) -> None:
        self._how, self._images = how, images

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._how.samples():
            yield {
                name: np.ascontiguousarray(value.transpose(0, 2, 3, 1))
                if name in self._images
                else value
                for name, value in sample.items()
            }


def _recipe(how: Reduction, sharing: frozenset[str] = frozenset()) -> Any:
    """A recipe manager: what the quantiser is to do with which operators.

    Args:
        sharing: layers that share their weights, which it cannot store for one in float16 and for
            another in 8 bits; of those that are untouched they stay in fp32.
    """
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.recipe_manager import RecipeManager

    made, operators = RecipeManager(), qtyping.TFLOperationName
    layers = (
        operators.CONV_2D,
        operators.DEPTHWISE_CONV_2D,
        operators.CONV_2D_TRANSPOSE,
        operators.FULLY_CONNECTED,
    )
    halved = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    for operator in layers:
        match how.precision:
            case "fp16":
                made.add_quantization_config(".*", operator, halved, "float_casting")
            case "int8-weights":
                made.add_weight_only_config(".*", operator, 8)
            case "int8-dynamic":
                made.add_dynamic_config(".*", operator, 8)
            case _:
                made.add_static_config(".*", operator, 8, 8)
    if how.integer_io:
        for boundary in (operators.INPUT, operators.OUTPUT):
            made.add_static_config(".*", boundary, 8, 8)
    for name in sorted(how.kept):
        scope = re.escape(name)
        made.add_quantization_config(scope, operators.ALL_SUPPORTED, None, "no_quantize")
        for operator in layers:
            if name not in how.untouched:
                made.add_weight_only_config(scope, operator, 8)
            elif name not in sharing:
                made.add_quantization_config(scope, operator, halved, "float_casting")
    return made
