"""ONNX: what ONNX Runtime's tools cannot do right is ours; its dynamic quantiser and histograms."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import HistogramCollector
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode

from rethined_export.converters.onnx import load, read
from rethined_export.converters.reducing.onnx_boundary import images_as_integers
from rethined_export.converters.reducing.onnx_half import halve, halve_constants
from rethined_export.converters.reducing.onnx_integers import (
    Integers,
    Range,
    behind,
    layers_of,
)
from rethined_export.converters.reducing.types import Reduction, Sample

#: Bars of a histogram by method, levels that entropy is measured for, share that is kept.
_BINS, _LEVELS, _PERCENTILE = {"percentile": 2048, "entropy": 128}, 128, 99.99
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
        self._ranges: dict[str, Range] | None = None

    def layers(self) -> tuple[str, ...]:
        """Convolutions, and products with a constant."""
        return tuple(node.name for node in layers_of(self._model.graph))

    def reduce(self, path: Path, how: Reduction) -> None:
        """Write the reduced file."""
        names = [name for name in self.layers() if name not in how.kept]
        match how.precision:
            case "fp16":
                made = halve(self._model)
            case "int8-weights":
                made = self._copy()
                Integers(made, names).weights()
            case "int8-dynamic":
                made = self._dynamic(names)
                Integers(made, how.kept).weights()
            case _:
                made = self._static(names, how)
        if how.precision != "fp16":
            halve_constants(made.graph, how.untouched)
        if how.integer_io:
            images_as_integers(made.graph)
        self._save(made, path)

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

    def _dynamic(self, names: list[str]) -> Any:
        """Convolutions and products in integers, each input's range measured in each run."""
        if not names:  # which the quantiser takes for all
            return self._copy()
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
        made.quantize_model()
        made.model.topological_sort()  # it appends its nodes
        return made.model.model

    def _static(self, names: list[str], how: Reduction) -> Any:
        """Quantise and dequantise around each layer, with ranges measured beforehand."""
        if self._ranges is None:
            self._ranges = _measured(self._copy(), how)
        made = self._copy()
        Integers(made, names, how.kept - how.untouched).all(self._ranges)
        return made


def _measured(model: Any, how: Reduction) -> dict[str, Range]:
    """Ranges of what layers take and give, over all samples."""
    layers = list(layers_of(model.graph))
    names = {node.input[0] for node in layers} | {*behind(model.graph).values()}
    given = {value.name for value in (*model.graph.input, *model.graph.output)}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in sorted(names - given)
    )
    ranges = _Extremes() if how.method == "minmax" else _Histograms(how.method)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "watched.onnx"
        path.write_bytes(model.SerializeToString())
        with load(path, how.threads) as session:
            for sample in how.samples():
                seen = sample | session(**sample)
                ranges.add({name: seen[name] for name in sorted(names)})
    return ranges.found()


class _Extremes:
    """The least and the largest of all."""

    def __init__(self) -> None:
        self._found: dict[str, Range] = {}

    def add(self, seen: Sample) -> None:
        for name, values in seen.items():
            low, high = float(values.min()), float(values.max())
            before = self._found.get(name, (low, high))
            self._found[name] = (min(low, before[0]), max(high, before[1]))

    def found(self) -> dict[str, Range]:
        return self._found


class _Histograms:
    """ONNX Runtime's histograms, and what it cuts off them."""

    def __init__(self, method: str) -> None:
        bins = _BINS[method]
        self._collector = HistogramCollector(method, False, bins, _LEVELS, _PERCENTILE, "same")

    def add(self, seen: Sample) -> None:
        with contextlib.redirect_stdout(None):
            self._collector.collect({name: [values] for name, values in seen.items()})

    def found(self) -> dict[str, Range]:
        with contextlib.redirect_stdout(None):
            made = self._collector.compute_collection_result()
        return {name: (float(cut[0]), float(cut[1])) for name, cut in made.items()}
