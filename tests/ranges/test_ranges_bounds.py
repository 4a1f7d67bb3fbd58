"""No value of any run lies outside the interval that was told beforehand."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rethined_export.ranges.bounds import Interval, bounds
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.tensors import Tensors
from rethined_export.tracing.types import Recorder
from tests.tiny_onnx import Node, saved

IMAGE, ROWS = (1, 2, 4, 4), (1, 4, 6)
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


#: float32 sums of some hundred products are this far off, in shares of the interval.
ROUNDING = 1e-5
KERNEL = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
ONE: dict[str, tuple[Node, dict[str, Any]]] = {
    "conv": (("Conv", ["x", "w", "b"], "y", KERNEL), {"w": normal(3, 2, 3, 3), "b": normal(3)}),
    "depthwise": (("Conv", ["x", "w"], "y", {"group": 2}), {"w": normal(4, 1, 2, 2)}),
    "transposed": (
        ("ConvTranspose", ["x", "w", "b"], "y", {"strides": [2, 2]}),
        {"w": normal(2, 3, 4, 4), "b": normal(3)},
    ),
    "transposed groups": (
        ("ConvTranspose", ["x", "w", "b"], "y", {"group": 2}),
        {"w": normal(2, 2, 3, 3), "b": normal(4)},
    ),
    "rows times matrix": (("MatMul", ["x", "w"], "y", {}), {"w": normal(4, 5)}),
    "matrix times rows": (("MatMul", ["w", "x"], "y", {}), {"w": normal(5, 4)}),
    "zero pad": (("Pad", ["x", "p"], "y", {}), {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    "pad": (
        ("Pad", ["x", "p", "v"], "y", {}),
        {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": np.float32(-9)},
    ),
    "mean": (("ReduceMean", ["x", "a"], "y", {}), {"a": np.array([2, 3])}),
    "sum": (("ReduceSum", ["x", "a"], "y", {}), {"a": np.array([3])}),
    "average": (("AveragePool", ["x"], "y", KERNEL | {"count_include_pad": 1}), {}),
    "square": (("Mul", ["x", "x"], "y", {}), {}),
    "power": (("Pow", ["x", "e"], "y", {}), {"e": np.float32(2)}),
    "scale": (("Mul", ["x", "c"], "y", {}), {"c": np.float32([-2, 1, 0, 3])}),
    "shift": (("Sub", ["c", "x"], "y", {}), {"c": np.float32([-2, 1, 0, 3])}),
    "divide": (("Div", ["x", "c"], "y", {}), {"c": np.float32([-2, -4, -1, -3])}),
    "limits": (
        ("Clip", ["x", "l", "h"], "y", {}), {"l": np.float32(-0.5), "h": np.float32(0.7)},
    ),
    "leaky": (("LeakyRelu", ["x"], "y", {"alpha": 0.3}), {}),
    "most": (("Max", ["x", "c"], "y", {}), {"c": np.float32([-1, 0.5, 0, 2])}),
    "joined": (("Concat", ["x", "x"], "y", {"axis": 1}), {}),
    "linear": (
        ("Resize", ["x", "", "s"], "y", {"mode": "linear"}), {"s": np.float32([1, 1, 2, 2])},
    ),
    **{
        kind.lower(): ((kind, ["x"], "y", {}), {})
        for kind in ("Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Abs", "Neg", "Sin", "Identity")
    },
}  # fmt: skip


def intervals(run: Recorder, inputs: dict[str, Interval], folder: Path) -> dict[str, Interval]:
    stored = Tensors(folder)
    for name, values in run.constants():
        stored.keep(name, values)
    return bounds(run.graph, stored, inputs)


@pytest.mark.parametrize("kind", ONE)
@given(ends=st.tuples(st.floats(-4, 4), st.floats(-4, 4)), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_an_operators_results_lie_in_its_interval(
    kind: str, ends: tuple[float, float], seed: int
) -> None:
    node, stored = ONE[kind]
    low, high = (float(np.float32(end)) for end in sorted(ends))
    x = np.random.default_rng(seed).choice([low, high, (low + high) / 2], IMAGE)
    with TemporaryDirectory() as folder:
        run = recorder(saved(Path(folder, "a.onnx"), {"x": IMAGE}, stored, node), 1)
        (least, most) = intervals(run, {"x": (low, high)}, Path(folder))["y"]
        made = {}
        run.record({"x": x.astype(np.float32)}, lambda name, values: made.update({name: values}))
    slack = ROUNDING * max(1.0, abs(least), abs(most))
    assert least - slack <= made["y"].min()
    assert made["y"].max() <= most + slack


def test_intervals_of_stored_weights_are_tight(tmp_path: Path) -> None:
    """Inputs at the ends that each weight likes best reach both ends."""
    weights = normal(6, 1)
    node: Node = ("MatMul", ["x", "w"], "y", {})
    run = recorder(saved(tmp_path / "a.onnx", {"x": ROWS}, {"w": weights}, node), 1)
    assert intervals(run, {"x": (0.0, 1.0)}, tmp_path)["y"] == pytest.approx(
        (np.minimum(weights, 0).sum(), np.maximum(weights, 0).sum())
    )


def test_nothing_is_known_behind_an_unknown_operator_until_a_bounded_one(tmp_path: Path) -> None:
    nodes: tuple[Node, ...] = (
        ("Mish", ["x"], "a", {}),
        ("Add", ["a", "x"], "b", {}),
        ("Sigmoid", ["b"], "c", {}),
        ("Add", ["c", "x"], "d", {}),
    )
    run = recorder(saved(tmp_path / "a.onnx", {"x": IMAGE}, {}, *nodes), 1)
    found = intervals(run, {"x": (0.0, 1.0)}, tmp_path)
    assert found == {"x": (0.0, 1.0), "c": (0.0, 1.0), "d": (0.0, 2.0)}


def test_a_divisor_that_may_be_zero_bounds_nothing(tmp_path: Path) -> None:
    node: Node = ("Div", ["x", "z"], "y", {})
    run = recorder(saved(tmp_path / "a.onnx", {"x": IMAGE, "z": IMAGE}, {}, node), 1)
    assert "y" not in intervals(run, {"x": (0.0, 1.0), "z": (-1.0, 1.0)}, tmp_path)
