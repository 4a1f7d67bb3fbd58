"""ONNX graphs of a few operators."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Kind, what it reads, what it writes, attributes.
Node = tuple[str, list[str], str, dict[str, Any]]


def saved(path: Path, shapes: dict[str, tuple[int, ...]], stored: dict[str, Any],
          *nodes: Node) -> Path:  # fmt: skip
    """A model of these nodes; the last one's result is its output."""
    made = [helper.make_node(kind, read, [written], written, **said)
            for kind, read, written, said in nodes]  # fmt: skip
    takes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
             for name, shape in shapes.items()]  # fmt: skip
    gives = [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(np.asarray(value), name)
                 for name, value in stored.items()]  # fmt: skip
    graph = helper.make_graph(made, "tiny", takes, gives, constants)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path
