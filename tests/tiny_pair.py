"""A split pair of two small graphs: every hole token is half grey, and copies the last token."""

import json
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.spec import ExportSpec

SIDE = 1024
_IMAGE, _MASK = [1, 3, 512, 512], [1, 1, 512, 512]
_SEEN = {
    "composite": _IMAGE,
    "details": _IMAGE,
    "queries": [4096, 1],
    "keys": [1, 4096],
    "shares": _MASK,
}


def tiny_pair(folder: Path) -> Path:
    """The first of its two files."""
    options = RethinedOptions(hr=SIDE, upscale="patches", split=True)
    low = ExportSpec("rethined", "onnx", options, "low")
    choose = ExportSpec("rethined", "onnx", options, "choose")
    _save(folder, low, _looking(), {"image": _IMAGE, "mask": _MASK}, _SEEN)
    places = options.places
    gives = {"low": [places, 8, 3, 8], "indices": [1, places, 1], "scores": [1, places, 1]}
    takes = {**_SEEN, "tokens": [places]}
    _save(folder, choose, _choosing(places), takes, gives)
    return folder / low.file_name()


def _looking() -> list[Any]:
    """The image with half grey in its hole; the rest is zero."""
    return [
        _constant("half", TensorProto.FLOAT, [1], [0.5]),
        _constant("queries", TensorProto.FLOAT, [4096, 1], [0.0] * 4096),
        _constant("keys", TensorProto.FLOAT, [1, 4096], [0.0] * 4096),
        helper.make_node("Sub", ["half", "image"], ["towards"]),
        helper.make_node("Mul", ["towards", "mask"], ["change"]),
        helper.make_node("Add", ["image", "change"], ["composite"]),
        helper.make_node("Sub", ["image", "image"], ["details"]),
        helper.make_node("Identity", ["mask"], ["shares"]),
    ]


def _choosing(places: int) -> list[Any]:
    return [
        _constant("low", TensorProto.FLOAT, [places, 8, 3, 8], [0.5] * (places * 192)),
        _constant("indices", TensorProto.INT32, [1, places, 1], [4095] * places),
        _constant("scores", TensorProto.FLOAT, [1, places, 1], [0.0] * places),
    ]


def _constant(name: str, kind: int, shape: list[int], values: list[Any]) -> Any:
    tensor = helper.make_tensor(name, kind, shape, values)
    return helper.make_node("Constant", [], [name], value=tensor)


def _save(
    folder: Path,
    spec: ExportSpec,
    nodes: list[Any],
    takes: dict[str, list[int]],
    gives: dict[str, list[int]],
) -> None:
    integers = ("tokens", "indices")

    def infos(tensors: dict[str, list[int]]) -> list[Any]:
        return [
            helper.make_tensor_value_info(
                name, TensorProto.INT32 if name in integers else TensorProto.FLOAT, shape
            )
            for name, shape in tensors.items()
        ]

    graph = helper.make_graph(nodes, "tiny", infos(takes), infos(gives))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"rethined.spec": json.dumps(spec.to_dict())})
    onnx.save(model, folder / spec.file_name())
