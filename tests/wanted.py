"""Operators that accelerators take, and those that converters write and no artifact may hold."""

from pathlib import Path

import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from rethined_export.converters import converter, tflite

#: What converters write for operators that no delegate takes or that a rewrite should have removed.
UNWANTED = {
    "onnx": {"GatherND", "ScatterND", "ScatterElements", "EyeLike", "Range", "Col2Im"},
    "tflite": {"GATHER_ND", "EMBEDDING_LOOKUP", "SCATTER_ND", "RANGE"},
    "coreml": {"gather_nd", "scatter_nd", "scatter", "range_1d", "gather_along_axis"},
}
#: A constant that is not a weight would show here, whole networks' largest tensors aside.
LARGEST_CONSTANT = 4_000_000
#: Operators of Core ML's that add an epsilon of their own to what was asked for: 1e-4 to what is
#: inverted, 1e-5 to a variance of 1 where a constant is multiplied by and another added.
INEXACT = {"inverse", "batch_norm"}


def assert_wanted(target: str, artifact: Path) -> None:
    """Operators are those that accelerators take, on tensors of rank 4 at most."""
    operators = set(converter(target).count_operators(artifact))
    assert not (UNWANTED[target] | INEXACT) & operators
    if target == "onnx":
        graph, sizes = onnx.load(artifact).graph, {}
        for stored in graph.initializer:
            sizes[stored.name] = numpy_helper.to_array(stored).nbytes
        kernels = {node.input[1] for node in graph.node if node.op_type.startswith("Conv")}
        others = {name: size for name, size in sizes.items() if name not in kernels}
        assert max(others.values()) <= LARGEST_CONSTANT, others
        assert kernels <= sizes.keys(), "a kernel is made at run time"
    if target == "coreml":
        assert {entry.name for entry in artifact.iterdir()} == {"Data", "Manifest.json"}
    if target == "tflite":
        graphs = tflite.unpack(artifact).subgraphs
        tensors = [tensor for graph in graphs for tensor in graph.tensors]
        assert max(len(t.shape) for t in tensors if t.shape is not None) <= 4
        assert schema.TensorType.INT64 not in {tensor.type for tensor in tensors}
        codes = {code.builtinCode for code in tflite.unpack(artifact).operatorCodes}
        assert schema.BuiltinOperator.CUSTOM not in codes
