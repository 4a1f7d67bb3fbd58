"""The xnnpack rules say what LiteRT's own delegate does."""

from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import FLOAT, INT, Step, Tensor, constant, delegated, tflite_model, weights

from rethined_export.lint.graph import Graph
from rethined_export.lint.report import report
from rethined_export.lint.rules import FALLS_BACK, FOLDER, RUNS, judge, read_rules
from rethined_export.lint.tflite import read

BOOK = read_rules(FOLDER / "xnnpack.toml")
IMAGE = (1, 4, 4, 2)
BIAS = weights(3)
SIMPLE = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
BLOCK = {"strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
PIXEL = BLOCK | {"filterWidth": 1, "filterHeight": 1}
PADDING = constant([[0, 0], [1, 1], [1, 1], [0, 0]])
UNARY = (
    "ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "HARD_SWISH", "LOG", "LOGISTIC", "LOG_SOFTMAX",
    "NEG", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT",
    "SQUARE", "TANH", "ZEROS_LIKE",
)  # fmt: skip
BINARY = {
    "ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions",
    "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions", "POW": "PowOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions", "FLOOR_DIV": "FloorDivOptions",
}  # fmt: skip


def image(*shape: int, dtype: str = FLOAT) -> Tensor:
    return Tensor(shape or IMAGE, dtype)


def _joined(count: int) -> Step:
    return Step(
        "CONCATENATION", [image() for _ in range(count)], [image(1, 4, 4, 2 * count)],
        "ConcatenationOptions", {"axis": 3},
    )  # fmt: skip


def _split(count: int) -> Step:
    return Step(
        "SPLIT", [constant(3), image(1, 4, 4, 2 * count)], [image() for _ in range(count)],
        "SplitOptions", {"numSplits": count},
    )  # fmt: skip


def _reduced(kind: str, *axes: int) -> Step:
    kept = tuple(1 if place in axes else size for place, size in enumerate(IMAGE))
    return Step(kind, [image(), constant(axes)], [image(*kept)], "ReducerOptions",
                {"keepDims": True})  # fmt: skip


def _strided(step: int) -> Step:
    ends = constant([1, 2 * step, 2 * step, 2])
    return Step(
        "STRIDED_SLICE", [image(), constant([0] * 4), ends, constant([1, step, step, 1])],
        [image(1, 2, 2, 2)], "StridedSliceOptions",
    )  # fmt: skip


def _resized(kind: str, options: str) -> Step:
    return Step(kind, [image(), constant([8, 8])], [image(1, 8, 8, 2)], options)


def _products(adjoint: str = "", *, dtype: str = FLOAT) -> Step:
    first, second = (1, 8, 4) if adjoint == "adjX" else (1, 4, 8), (1, 8, 4)
    second = (1, 4, 8) if adjoint == "adjY" else second
    fields = {adjoint: True} if adjoint else {}
    return Step("BATCH_MATMUL", [Tensor(first, dtype), Tensor(second, dtype)],
                [Tensor((1, 4, 4), dtype)], "BatchMatMulOptions", fields)  # fmt: skip


def steps() -> dict[str, Step]:
    """Operators in the variants that rules tell apart."""
    found = {kind: Step(kind, [image()], [image()]) for kind in UNARY}
    found["GELU"] = Step("GELU", [image()], [image()], "GeluOptions")
    found["rank 6"] = Step("ABS", [image(1, 1, *IMAGE)], [image(1, 1, *IMAGE)])
    for kind, options in BINARY.items():
        found[kind] = Step(kind, [image(), image()], [image()], options)
        found[f"{kind} of integers"] = Step(
            kind, [image(dtype=INT), image(dtype=INT)], [image(dtype=INT)], options
        )
    for kind in ("ADD", "SUB", "MUL", "DIV"):
        found[f"{kind} with tanh"] = Step(
            kind, [image(), image()], [image()], BINARY[kind], {"fusedActivationFunction": 4}
        )
    found |= {f"{count} joined": _joined(count) for count in range(1, 8)}
    found |= {f"{count} split": _split(count) for count in range(2, 7)}
    for dtype in (FLOAT, INT):
        one = image(dtype=dtype)
        found |= {
            f"RESHAPE {dtype}": Step("RESHAPE", [one, constant([4, 8])], [Tensor((4, 8), dtype)]),
            f"SLICE {dtype}": Step("SLICE", [one, constant([0] * 4), constant([1, 2, 2, 2])],
                                   [Tensor((1, 2, 2, 2), dtype)]),
            f"TRANSPOSE {dtype}": Step("TRANSPOSE", [one, constant([0, 3, 1, 2])],
                                       [Tensor((1, 2, 4, 4), dtype)]),
            f"PAD {dtype}": Step("PAD", [one, PADDING], [Tensor((1, 6, 6, 2), dtype)]),
            f"EXPAND_DIMS {dtype}": Step("EXPAND_DIMS", [one, constant(0)],
                                         [Tensor((1, *IMAGE), dtype)]),
            f"TILE {dtype}": Step("TILE", [one, constant([1, 2, 2, 1])],
                                  [Tensor((1, 8, 8, 2), dtype)]),
        }  # fmt: skip
    for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"):
        found |= {f"{kind} {axes}": _reduced(kind, *axes) for axes in ((1, 2), (3,), (0,))}
    found |= {f"step {step}": _strided(step) for step in (1, 2)}
    found |= {f"product {side}": _products(side) for side in ("", "adjX", "adjY")}
    found |= {f"softmax {beta}": Step("SOFTMAX", [image()], [image()], "SoftmaxOptions",
                                      {"beta": beta}) for beta in (1.0, 2.0)}  # fmt: skip
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
        for name, fields in (("block", BLOCK), ("pixel", PIXEL)):
            found[f"{kind} {name}"] = Step(kind, [image()], [image(1, 2, 2, 2)], "Pool2DOptions",
                                           fields)  # fmt: skip
    return found | _weighted() | _moved()


def _weighted() -> dict[str, Step]:
    """Operators with weights: constant or not, with a fused activation or without a bias."""
    kernel, rows = weights(3, 3, 3, 2), weights(3, 8)
    result, depthwise = image(1, 4, 4, 3), weights(1, 3, 3, 2)
    slim = SIMPLE | {"depthMultiplier": 1}
    found = {
        f"CONV_2D activation {number}": Step(
            "CONV_2D", [image(), kernel, BIAS], [result], "Conv2DOptions",
            SIMPLE | {"fusedActivationFunction": number})
        for number in range(5)
    }  # fmt: skip
    return found | {
        "CONV_2D dilated": Step("CONV_2D", [image(), kernel, BIAS], [result], "Conv2DOptions",
                                SIMPLE | {"dilationWFactor": 2, "dilationHFactor": 2}),
        "CONV_2D of two images": Step("CONV_2D", [image(), image(3, 3, 3, 2), BIAS], [result],
                                      "Conv2DOptions", SIMPLE),
        "DEPTHWISE": Step("DEPTHWISE_CONV_2D", [image(), depthwise, weights(2)], [image()],
                          "DepthwiseConv2DOptions", slim),
        "DEPTHWISE without bias": Step("DEPTHWISE_CONV_2D", [image(), depthwise], [image()],
                                       "DepthwiseConv2DOptions", slim),
        "FULLY_CONNECTED": Step("FULLY_CONNECTED", [image(4, 8), rows, BIAS], [image(4, 3)],
                                "FullyConnectedOptions"),
        "FULLY_CONNECTED without bias": Step("FULLY_CONNECTED", [image(4, 8), rows], [image(4, 3)],
                                             "FullyConnectedOptions"),
        "FULLY_CONNECTED of two": Step("FULLY_CONNECTED", [image(4, 8), image(3, 8), BIAS],
                                       [image(4, 3)], "FullyConnectedOptions"),
        "TRANSPOSE_CONV": Step("TRANSPOSE_CONV", [constant([1, 8, 8, 3]), kernel, image()],
                               [image(1, 8, 8, 3)], "TransposeConvOptions",
                               {"strideW": 2, "strideH": 2}),
        "PRELU": Step("PRELU", [image(), weights(1, 1, 2)], [image()]),
        "PRELU of two": Step("PRELU", [image(), image(1, 1, 2)], [image()]),
        "LEAKY_RELU": Step("LEAKY_RELU", [image()], [image()], "LeakyReluOptions", {"alpha": 0.2}),
    }  # fmt: skip


def _moved() -> dict[str, Step]:
    """Operators that move elements, choose them, or change their type."""
    table, wide = Tensor((8, 4)), image(1, 4, 4, 4)
    return {
        "PADV2": Step("PADV2", [image(), PADDING, constant(1, FLOAT)], [image(1, 6, 6, 2)]),
        "MIRROR_PAD": Step("MIRROR_PAD", [image(), PADDING], [image(1, 6, 6, 2)],
                           "MirrorPadOptions"),
        "SQUEEZE": Step("SQUEEZE", [image()], [image(4, 4, 2)], "SqueezeOptions",
                        {"squeezeDims": [0]}),
        "RESIZE_BILINEAR": _resized("RESIZE_BILINEAR", "ResizeBilinearOptions"),
        "RESIZE_NEAREST": _resized("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
        "DEPTH_TO_SPACE": Step("DEPTH_TO_SPACE", [wide], [image(1, 8, 8, 1)],
                               "DepthToSpaceOptions", {"blockSize": 2}),
        "SPACE_TO_DEPTH": Step("SPACE_TO_DEPTH", [wide], [image(1, 2, 2, 16)],
                               "SpaceToDepthOptions", {"blockSize": 2}),
        "GATHER": Step("GATHER", [table, Tensor((3,), INT)], [image(3, 4)], "GatherOptions"),
        "ARG_MAX": Step("ARG_MAX", [table, constant([1])], [Tensor((8,), INT)], "ArgMaxOptions",
                        {"outputType": 2}),
        "TOPK_V2": Step("TOPK_V2", [table, constant(2)], [image(8, 2), Tensor((8, 2), INT)]),
        "CAST": Step("CAST", [image()], [image(dtype=INT)]),
        "CUMSUM": Step("CUMSUM", [image(), constant(1)], [image()], "CumsumOptions"),
        "PACK": Step("PACK", [image(), image()], [image(2, *IMAGE)], "PackOptions",
                     {"valuesCount": 2}),
        "SELECT_V2": Step("SELECT_V2", [image(dtype="BOOL"), image(), image()], [image()]),
        "GREATER_EQUAL": Step("GREATER_EQUAL", [image(), image()], [image(dtype="BOOL")]),
        "half weights": Step("DEQUANTIZE", [constant(np.ones(IMAGE), "FLOAT16")], [image()]),
    }  # fmt: skip


def expected(graph: Graph) -> set[int]:
    """What the rules say runs; they leave nothing open that is asked here."""
    verdicts = [one.verdict for one in judge(BOOK, graph.operators)]
    assert set(verdicts) <= {RUNS, FALLS_BACK}
    return {number for number, verdict in enumerate(verdicts) if verdict == RUNS}


@pytest.mark.parametrize("name", steps())
def test_one_operator(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(tflite_model(steps()[name]))
    assert delegated(path)[0] == expected(read(path))


def test_every_operator_that_the_rules_name_is_asked() -> None:
    named = {kind for rule in BOOK.rules for kind in rule.operators} - {"*"}
    # The deprecated form of SELECT_V2.
    assert named - {step.kind for step in steps().values()} == {"SELECT"}


def agrees(path: Path) -> None:
    graph = read(path)
    taken, parts = delegated(path)
    assert taken == expected(graph)
    figures = report(BOOK, graph)
    assert figures["partitions"]["count"] == parts
    assert figures["multiply_adds"]["share"] == 1


def test_shipped_network(tflite_512: Path) -> None:
    """Operator by operator, and in how many parts: the delegate's answer for a whole network."""
    agrees(tflite_512)


def test_parts_of_a_small_graph(tmp_path: Path) -> None:
    """Three parts in the file's order, two for a runtime that may take what is ready first."""
    start, half, other = image(), image(), image()
    resized = image(1, 8, 8, 2)
    path = tmp_path / "a.tflite"
    path.write_bytes(
        tflite_model(
            Step("CONV_2D", [start, weights(2, 3, 3, 2), weights(2)], [half], "Conv2DOptions",
                 SIMPLE),
            Step("RESIZE_NEAREST_NEIGHBOR", [half, constant([8, 8])], [resized],
                 "ResizeNearestNeighborOptions"),
            Step("ABS", [start], [other]),
            Step("ABS", [resized], [image(1, 8, 8, 2)]),
        )
    )  # fmt: skip
    agrees(path)
    assert delegated(path)[1] == 2
