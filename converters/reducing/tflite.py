"""TFLite: ai-edge-quantizer, and what it leaves: large constants and the names of tensors."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rethined_export.converters.reducing.types import Reduction, Sample
from rethined_export.converters.tflite import channels_last, pack, unpack

#: Operators with weights.
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
#: Constants of more bytes are halved too, where they are no weights and no table of indices.
_LARGE = 4096
#: Version of DEQUANTIZE that takes float16.
_HALF_VERSION = 3
#: Images of a whole artifact are in [0, 1]: so many levels that those of 8 bits come back exactly.
_UNIT = ("image", "mask", "output")


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
        kinds = {getattr(schema.BuiltinOperator, name) for name in _LAYERS}
        return tuple(
            self._graph.tensors[operator.outputs[0]].name.decode()
            for operator in self._graph.operators
            if self._codes[operator.opcodeIndex].builtinCode in kinds
        )

    def reduce(self, path: Path, how: Reduction) -> None:
        """Write the reduced file."""
        from ai_edge_quantizer.quantizer import Quantizer

        made = Quantizer(bytearray(self._data), _recipe(how))
        if made.need_calibration and self._ranges is None:
            self._ranges = made.calibrate(
                {self._signature(): _Runs(how, self._images)}, num_threads=1
            )
            for name in _UNIT:
                if name in self._ranges:
                    self._ranges[name] = {"min": np.float32(0), "max": np.float32(1)}
        result = made.quantize(
            self._ranges if made.need_calibration else None,
            enable_progress_bar=False,
            enable_progress_report=False,
        )
        path.write_bytes(bytes(result.quantized_model))
        model = unpack(path)
        _halve_constants(model)
        _shorten_names(model)
        path.write_bytes(pack(model))

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


def _recipe(how: Reduction) -> Any:
    """What the quantiser is to do with which operators."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.recipe_manager import RecipeManager

    made, operators = RecipeManager(), qtyping.TFLOperationName
    layers = (
        operators.CONV_2D,
        operators.DEPTHWISE_CONV_2D,
        operators.CONV_2D_TRANSPOSE,
        operators.FULLY_CONNECTED,
    )
    for operator in layers:
        match how.precision:
            case "fp16":
                weights = qtyping.TensorQuantizationConfig(16, dtype=qtyping.TensorDataType.FLOAT)
                halved = qtyping.OpQuantizationConfig(
                    weight_tensor_config=weights,
                    compute_precision=qtyping.ComputePrecision.FLOAT,
                    explicit_dequantize=True,
                )
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
        made.add_quantization_config(re.escape(name), operators.ALL_SUPPORTED, None, "no_quantize")
    return made.get_quantization_recipe()


def _halve_constants(model: Any) -> None:
    """Cast large floats that no layer reads, such as codes of places, to float16 and back in use.

    Tables are left alone: what they hold may be indices.
    """
    graph = model.subgraphs[0]
    readers = _readers(model)
    casts = []
    for place, tensor in enumerate(list(graph.tensors)):
        data = model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.FLOAT32 or data is None or len(data) < _LARGE:
            continue
        if not readers[place] or any(name in ("GATHER", *_LAYERS) for name, _ in readers[place]):
            continue
        half, buffer = schema.TensorT(), schema.BufferT()
        values = np.frombuffer(bytes(data), np.float32).astype(np.float16)
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        half.type, half.shape, half.name = schema.TensorType.FLOAT16, tensor.shape, tensor.name
        if all(other.buffer != tensor.buffer for other in graph.tensors if other is not tensor):
            model.buffers[tensor.buffer].data = None
        half.buffer, tensor.buffer = len(model.buffers), 0
        model.buffers.append(buffer)
        graph.tensors.append(half)
        tensor.name += b"_float"
        casts.append(_dequantise(model, len(graph.tensors) - 1, place))
    graph.operators = [*casts, *graph.operators]


def _dequantise(model: Any, source: int, into: int) -> Any:
    """An operator that turns a tensor into floats."""
    code = schema.BuiltinOperator.DEQUANTIZE
    places = [i for i, known in enumerate(model.operatorCodes) if known.builtinCode == code]
    if not places:
        known = schema.OperatorCodeT()
        known.builtinCode = known.deprecatedBuiltinCode = code
        known.version = _HALF_VERSION
        model.operatorCodes.append(known)
        places = [len(model.operatorCodes) - 1]
    model.operatorCodes[places[0]].version = max(
        model.operatorCodes[places[0]].version, _HALF_VERSION
    )
    operator = schema.OperatorT()
    operator.opcodeIndex = places[0]
    operator.inputs, operator.outputs = np.array([source], np.int32), np.array([into], np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def _readers(model: Any) -> dict[int, list[tuple[str, int]]]:
    """Of every tensor, the operators that read it and where among their inputs."""
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    found = defaultdict(list)
    for operator in model.subgraphs[0].operators:
        kind = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for position, tensor in enumerate(operator.inputs):
            found[int(tensor)].append((kind, position))
    return found


def _shorten_names(model: Any) -> None:
    """Tensors are named by their whole origin in torch, which takes more room than some weights.

    Those of the boundary get the signature's names: a quantised output is a tensor of its own.
    """
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    for entry in (*signature.inputs, *signature.outputs):
        graph.tensors[entry.tensorIndex].name = entry.name
    boundary = {int(place) for place in (*graph.inputs, *graph.outputs)}
    for place, tensor in enumerate(graph.tensors):
        if place not in boundary:
            origin = tensor.name.split(b";")[0].rsplit(b"/", 1)[-1].rsplit(b".", 1)[-1]
            tensor.name = b"%s;%d" % (origin, place)
