"""Images of 8 bits at an ONNX graph's boundary; all in between stays as it is."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from rethined_export.converters.reducing.types import UNIT

#: Names of the constants of a level.
_STEP = ("level_scale", "level_zero")


def images_as_integers(graph: Any) -> None:
    """Let images come in and go out as uint8, 255 levels from 0 to 1.

    Outputs are rounded to the nearest level and clipped, so that a known pixel of 8 bits comes back
    as it came.
    """
    before, after = [], []
    for value in (value for value in graph.input if value.name in UNIT):
        inside = _renamed(graph, value)
        before.append(helper.make_node("DequantizeLinear", [value.name, *_STEP], [inside]))
    for value in (value for value in graph.output if value.name in UNIT):
        inside = _renamed(graph, value)
        after.append(helper.make_node("QuantizeLinear", [inside, *_STEP], [value.name]))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    for name, number in zip(_STEP, (np.float32(1 / 255), np.uint8(0)), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(number), name))


def _renamed(graph: Any, value: Any) -> str:
    """Make a value of the boundary uint8, and give all nodes another in its place; its name."""
    value.type.tensor_type.elem_type = TensorProto.UINT8
    inside = f"{value.name}_float"
    for node in graph.node:
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                if name == value.name:
                    side[place] = inside
    return inside
