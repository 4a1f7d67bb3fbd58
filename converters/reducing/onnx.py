"""ONNX: float16 and weights by ourselves, activations by ONNX Runtime's quantiser."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    TensorsData,
    create_calibrator,
)
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode

from rethined_export.converters.onnx import read
from rethined_export.converters.reducing.onnx_half import halve
from rethined_export.converters.reducing.types import Reduction, Sample

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
#: Place of the weights, and their axis of output channels; where groups share it, see _axis.
_LAYERS = {"Conv": (1, 0), "ConvTranspose": (1, 1), "Gemm": (1, 1), "MatMul": (1, 1)}
#: Operators for which an integer twin exists that measures its input in each run.
_DYNAMIC = ("Conv", "MatMul")


def reducer(artifact: Path) -> "_Reducer":
    """Read an artifact in fp32.

    Raises:
        ArtifactError: not an ONNX file, or a damaged one.
    """
    return _Reducer(read(artifact))


class _Reducer:
    """One model; nodes get names of their places, by which the quantiser is told of them."""

    def __init__(self, model: Any) -> None:
        self._model = onnx.shape_inference.infer_shapes(model)
        for place, node in enumerate(self._model.graph.node):
            node.name = f"{node.op_type}_{place}"
        self._stored = {stored.name: stored for stored in self._model.graph.initializer}
        self._ranges: TensorsData | None = None

    def layers(self) -> tuple[str, ...]:
        """Convolutions, and products with a constant."""
        return tuple(node.name for node in self._layers())

    def reduce(self, path: Path, how: Reduction) -> None:
        """Write the reduced file."""
        names = [name for name in self.layers() if name not in how.kept]
        match how.precision:
            case "fp16":
                made = halve(self._model)
            case "int8-weights":
                made = self._quantised_weights(names)
            case "int8-dynamic":
                made = self._dynamic(names)
            case _:
                made = self._static(names, how)
        self._save(made, path)

    def _layers(self) -> Iterator[Any]:
        for node in self._model.graph.node:
            place = _LAYERS.get(node.op_type, (len(node.input), 0))[0]
            if place < len(node.input) and node.input[place] in self._stored:
                yield node

    def _copy(self) -> Any:
        made = onnx.ModelProto()
        made.CopyFrom(self._model)
        return made

    def _save(self, model: Any, path: Path) -> None:
        """With the facts of the fp32 file, and without what its maker says of itself."""
        del model.metadata_props[:]
        model.metadata_props.extend(self._model.metadata_props)
        model.producer_name, model.producer_version = "rethined-export", ""
        del model.graph.value_info[:]
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _quantised_weights(self, names: list[str]) -> Any:
        """Weights in int8 with a scale for each output channel, dequantised before use."""
        model = self._copy()
        graph = model.graph
        wanted = {node.input[_LAYERS[node.op_type][0]]: _axis(node, self._stored)
                  for node in self._layers() if node.name in names}  # fmt: skip
        first: list[Any] = []
        for name, axis in wanted.items():
            values, scales = _to_int8(numpy_helper.to_array(self._stored[name]), axis)
            graph.initializer.append(numpy_helper.from_array(values, f"{name}_int8"))
            graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
            given = [f"{name}_int8", f"{name}_scale"]
            first.append(helper.make_node("DequantizeLinear", given, [f"{name}_float"], axis=axis))
        for node in graph.node:
            place = _LAYERS.get(node.op_type, (0, 0))[0]
            if node.name in names:
                node.input[place] = f"{node.input[place]}_float"
        nodes = [*first, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
        _drop_unread(graph)
        return model

    def _dynamic(self, names: list[str]) -> Any:
        """Convolutions and products in integers, each input's range measured in each run."""
        # Unsigned weights: ONNX Runtime has no kernel for signed ones in ConvInteger.
        made = ONNXQuantizer(
            self._copy(),
            per_channel=False,
            reduce_range=False,
            mode=QuantizationMode.IntegerOps,
            static=False,
            weight_qType=QuantType.QUInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=None,
            nodes_to_quantize=names,
            nodes_to_exclude=[],
            op_types_to_quantize=[*_DYNAMIC],
            extra_options={"MatMulConstBOnly": True},
        )
        return _quantised(made)

    def _static(self, names: list[str], how: Reduction) -> Any:
        """Quantise and dequantise around each layer, with ranges measured beforehand."""
        if self._ranges is None:
            self._ranges = _measured(self._copy(), [*_LAYERS], how)
        made = QDQQuantizer(
            self._copy(),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=names,
            nodes_to_exclude=[],
            op_types_to_quantize=[*_LAYERS],
            extra_options={},
        )
        return _quantised(made)


def _quantised(quantiser: Any) -> Any:
    """Run a quantiser; it appends its nodes, whose order ONNX prescribes."""
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    return quantiser.model.model


def _axis(node: Any, stored: dict[str, Any]) -> int:
    """The axis of a layer's weights that is its output channels', the last of a product's."""
    place, axis = _LAYERS[node.op_type]
    if node.op_type == "MatMul":
        return len(stored[node.input[place]].dims) - 1
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return 0 if transposed else 1
    return axis


def _to_int8(
    values: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8 with a scale for each slice along an axis."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    size = np.abs(values).max(axis=others)
    scales = np.where(size > 0, size / 127, 1).astype(np.float32)
    spread = scales.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return np.clip(np.rint(values / spread), -127, 127).astype(np.int8), scales


def _drop_unread(graph: Any) -> None:
    """Remove constants that nothing reads any more."""
    read_names = {name for node in graph.node for name in node.input}
    kept = [stored for stored in graph.initializer if stored.name in read_names]
    del graph.initializer[:]
    graph.initializer.extend(kept)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Samples one by one, as ONNX Runtime asks for them."""

    def __init__(self, samples: Iterator[Sample]) -> None:
        self._samples = samples

    def get_next(self) -> Sample | None:
        return next(self._samples, None)


def _measured(model: Any, kinds: list[str], how: Reduction) -> TensorsData:
    """Ranges of what the layers take and give, over all samples."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "model.onnx"
        given.write_bytes(model.SerializeToString())
        made = create_calibrator(
            given,
            kinds,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=_METHODS[how.method],
        )
        made.collect_data(_Reader(how.samples()))
        return made.compute_data()
