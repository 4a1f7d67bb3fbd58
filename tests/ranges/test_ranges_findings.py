"""What float16 does not hold is named, with the operator where it arises and what helps."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rethined_export.ranges.findings import Finding, findings, largest
from rethined_export.ranges.inside import DIVISOR, PRODUCTS, SQUARES, SUM
from rethined_export.ranges.measuring import measure
from rethined_export.tracing.artifact import recorder
from tests.lint.tiny_tflite import Step, Tensor, constant, tflite_model
from tests.tiny_onnx import Node, saved

MAP = (1, 2, 300, 300)


def found(folder: Path, inputs: dict[str, np.ndarray], stored: dict[str, Any],
          *nodes: Node) -> list[Finding]:  # fmt: skip
    shapes = {name: value.shape for name, value in inputs.items()}
    run = recorder(saved(folder / "a.onnx", shapes, stored, *nodes), 1)
    given = {name: value.astype(np.float32) for name, value in inputs.items()}
    return findings(run.graph, measure(run, [given], folder))


def told(told: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.operator, one.what, one.verdict) for one in told]


def test_nothing_is_said_of_what_fits(tmp_path: Path) -> None:
    nodes: tuple[Node, ...] = (
        ("Mul", ["x", "c"], "a", {}), ("Add", ["a", "e"], "b", {}), ("Div", ["x", "b"], "y", {}),
    )  # fmt: skip
    stored = {"c": np.float32(1000), "e": np.float32(1e-3)}
    assert not found(tmp_path, {"x": np.linspace(0, 1, 5)}, stored, *nodes)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(65505, "overflows"), (65504, "near"), (20000, "near"), (16000, None)]
)
def test_a_result_is_named_where_it_arises(
    factor: float, verdict: str | None, tmp_path: Path
) -> None:
    """And not behind operators that hand it on."""
    nodes: tuple[Node, ...] = (
        ("Mul", ["x", "c"], "a", {}), ("Relu", ["a"], "b", {}), ("Reshape", ["b", "s"], "y", {}),
    )  # fmt: skip
    stored = {"c": np.float32(factor), "s": np.array([4, 1])}
    wanted = [("Mul", "result", verdict)] if verdict else []
    assert told(found(tmp_path, {"x": np.float32([0, 0.5, 1, 1])}, stored, *nodes)) == wanted


def test_nan_and_infinity_overflow(tmp_path: Path) -> None:
    [one] = found(tmp_path, {"x": np.zeros(3)}, {}, ("Log", ["x"], "y", {}))[:1]
    assert (one.what, one.verdict, one.magnitude) == ("result", "overflows", math.inf)
    assert largest((math.nan, math.nan)) == math.inf


def test_a_mean_whose_sum_overflows(tmp_path: Path) -> None:
    """The mean is 1; the sum that it is made of 90000. Rows first fit."""
    ones = {"x": np.ones(MAP)}
    both: Node = ("ReduceMean", ["x", "a"], "y", {})
    [one] = found(tmp_path, ones, {"a": np.array([2, 3])}, both)
    assert (one.what, one.verdict, one.magnitude) == (SUM, "overflows", 90000)
    assert "rows first" in one.instead
    rows: Node = ("ReduceMean", ["x", "a"], "r", {})
    columns: Node = ("ReduceMean", ["r", "b"], "y", {})
    stored = {"a": np.array([3]), "b": np.array([2])}
    assert not found(tmp_path, ones, stored, rows, columns)


def test_sums_that_cancel_are_those_of_magnitudes(tmp_path: Path) -> None:
    signs = np.ones(MAP)
    signs[..., ::2] = -1
    [one] = found(tmp_path, {"x": signs}, {}, ("GlobalAveragePool", ["x"], "y", {}))
    assert (one.what, one.magnitude) == (SUM, 90000)


def test_a_deviation_whose_squares_overflow(tmp_path: Path) -> None:
    stored = {"s": np.float32([1, 1]), "b": np.float32([0, 0])}
    wave = np.sin(np.linspace(0, 40, 2 * 100 * 100)).reshape(1, 2, 100, 100) * 5
    node: Node = ("InstanceNormalization", ["x", "s", "b"], "y", {"epsilon": 1e-8})
    listed = found(tmp_path, {"x": wave}, stored, node)
    assert told(listed) == [
        ("InstanceNormalization", SUM, "near"),
        ("InstanceNormalization", SQUARES, "overflows"),
        ("InstanceNormalization", "constant", "vanishes"),
    ]
    squares = listed[1].magnitude
    assert squares == pytest.approx(wave.var((2, 3)).max() * 10000, rel=1e-4)


def test_products_that_cancel(tmp_path: Path) -> None:
    """The result is small; on the way to it float16 may pass its end."""
    x = np.tile(np.float32([300, -300]), 32).reshape(1, 64)
    nodes: Node = ("MatMul", ["x", "w"], "y", {})
    [one] = found(tmp_path, {"x": x}, {"w": np.full((64, 1), 5, np.float32)}, nodes)
    assert (one.what, one.verdict, one.magnitude) == (PRODUCTS, "near", 64 * 300 * 5)


def test_a_convolutions_products(tmp_path: Path) -> None:
    x = np.full((1, 2, 8, 8), 100.0)
    weights = np.ones((3, 2, 3, 3), np.float32)
    weights[:, 0] = -1
    assert not found(tmp_path, {"x": x}, {"w": weights}, ("Conv", ["x", "w"], "y", {}))
    [one] = found(tmp_path, {"x": x}, {"w": 50 * weights}, ("Conv", ["x", "w"], "y", {}))
    assert (one.what, one.magnitude) == (PRODUCTS, 2 * 9 * 100 * 50)


@pytest.mark.parametrize(
    ("epsilon", "why"), [(1e-8, "is zero in float16"), (1e-5, "flush"), (1e-3, None)]
)
def test_an_epsilon_that_vanishes(epsilon: float, why: str | None, tmp_path: Path) -> None:
    """And the divisor that it alone keeps from zero."""
    nodes: tuple[Node, ...] = (("Add", ["x", "e"], "a", {}), ("Div", ["z", "a"], "y", {}))
    inputs = {"x": np.float32([0, 2]), "z": np.float32([0, 0])}
    listed = found(tmp_path, inputs, {"e": np.float32(epsilon)}, *nodes)
    if why is None:
        assert not listed
        return
    assert told(listed) == [("Add", "constant", "vanishes"), ("Div", DIVISOR, "vanishes")]
    assert why in listed[0].why
    assert listed[1].magnitude == pytest.approx(epsilon)


def test_figures_are_the_worst_over_all_runs(tmp_path: Path) -> None:
    nodes: tuple[Node, ...] = (("Div", ["c", "x"], "y", {}),)
    run = recorder(saved(tmp_path / "a.onnx", {"x": (2,)}, {"c": np.float32(1)}, *nodes), 1)
    measured = measure(run, [{"x": np.float32(x)} for x in ([4, 2], [1, -0.5])], tmp_path)
    assert measured.tensors["y"] == (-2, 1)
    assert measured.within[0][DIVISOR] == 0.5
    assert measured.runs == 2


def test_tflite_says_the_same(tmp_path: Path) -> None:
    """Axes and weights lie elsewhere there: a mean over 90000, and a layer of rows."""
    image, mean, rows = Tensor((1, 300, 300, 1)), Tensor((1, 1, 1, 1)), Tensor((1, 2))
    path = tmp_path / "a.tflite"
    path.write_bytes(
        tflite_model(
            Step("MEAN", [image, constant([1, 2])], [mean], "ReducerOptions", {"keepDims": True}),
            Step("FULLY_CONNECTED", [mean, constant([[2.0], [-70000.0]], "FLOAT32")], [rows],
                 "FullyConnectedOptions"),
        )
    )  # fmt: skip
    run = recorder(path, 1)
    [name] = run.takes
    measured = measure(run, [{name: np.ones((1, 300, 300, 1), np.float32)}], tmp_path)
    assert told(findings(run.graph, measured)) == [
        ("MEAN", SUM, "overflows"),
        ("FULLY_CONNECTED", "result", "overflows"),
        ("FULLY_CONNECTED", PRODUCTS, "near"),
    ]
