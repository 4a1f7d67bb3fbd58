"""ONNX artifacts of less precision: small ones, loaded and run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from rethined_export.converters import onnx as target
from rethined_export.converters.reducing.onnx import reducer
from rethined_export.converters.reducing.onnx_half import to_half
from rethined_export.converters.reducing.onnx_integers import to_int8, to_uint8
from rethined_export.converters.reducing.types import METHODS, Reduction, Sample
from rethined_export.tracing.artifact import recorder
from rethined_export.tracing.tensors import traced

SIDE, WIDTH = 16, 32
#: Least PSNR in dB of the filled hole against fp32: of noise through four convolutions.
LEAST = {"fp16": 60.0, "int8": 25.0, "int8-weights": 35.0, "int8-dynamic": 25.0}
#: Most bytes over those in fp32; the graph itself takes as much room in any.
MOST = {"fp16": 0.56, "int8": 0.40, "int8-weights": 0.34, "int8-dynamic": 0.34}


def photos(count: int = 3) -> Iterator[Sample]:
    for seed in range(count):
        random = np.random.default_rng(seed)
        mask = np.zeros((1, 1, SIDE, SIDE), np.float32)
        mask[:, :, 4:12, 4:12] = 1
        yield {"image": random.random((1, 3, SIDE, SIDE), np.float32), "mask": mask}


def filler(folder: Path) -> Path:
    """Four convolutions set into the photo; ``indices`` go through a table of floats."""
    random = np.random.default_rng(0)
    stored, nodes, name, channels = [], [], "image", 3
    for layer, made in enumerate((WIDTH, WIDTH, WIDTH, 3)):
        weight = random.normal(0, (channels * 9) ** -0.5, (made, channels, 3, 3))
        stored += [
            numpy_helper.from_array(weight.astype(np.float32), f"w{layer}"),
            numpy_helper.from_array(np.full(made, 0.1, np.float32), f"b{layer}"),
        ]
        nodes.append(
            helper.make_node(
                "Conv", [name, f"w{layer}", f"b{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]
            )
        )
        name, channels = f"c{layer}", made
        if layer < 3:
            nodes.append(helper.make_node("Relu", [name], [f"r{layer}"]))
            name = f"r{layer}"
    places = np.arange(4095, 4095 - SIDE, -1, dtype=np.float32).reshape(SIDE, 1)
    stored += [
        numpy_helper.from_array(places, "places"),
        numpy_helper.from_array(np.array(1, np.float32), "one"),
        numpy_helper.from_array(np.array(1, np.float32), "factor"),
    ]
    nodes += [
        helper.make_node("ArgMax", ["image"], ["best"], axis=3, keepdims=0),
        helper.make_node("Gather", ["places", "best"], ["found"], axis=0),
        helper.make_node("Mul", ["found", "factor"], ["place"]),
        helper.make_node("Cast", ["place"], ["indices"], to=TensorProto.INT32),
        helper.make_node("Sub", ["one", "mask"], ["known"]),
        helper.make_node("Mul", ["image", "known"], ["outside"]),
        helper.make_node("Mul", [name, "mask"], ["inside"]),
        helper.make_node("Add", ["inside", "outside"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "filler",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, SIDE, SIDE]),
        ],
        [
            helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, SIDE, SIDE]),
            helper.make_tensor_value_info("indices", TensorProto.INT32, [1, 3, SIDE, 1]),
        ],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"rethined.spec": "{}"})
    path = folder / "exact.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filler(tmp_path_factory.mktemp("exact"))


def reduced(exact: Path, folder: Path, precision: str, **how: object) -> Path:
    path = folder / f"{precision}.onnx"
    reducer(exact).reduce(path, Reduction(precision, photos, **how))
    return path


def run(path: Path) -> dict[str, np.ndarray]:
    with target.load(path, 1) as session:
        return session(**next(photos()))


def psnr(path: Path, exact: Path) -> float:
    """Of the hole."""
    hole = np.s_[:, :, 4:12, 4:12]
    error = run(path)["output"][hole] - run(exact)["output"][hole]
    return float(-10 * np.log10(max(np.square(error).mean(), 1e-20)))


@pytest.mark.parametrize("precision", LEAST)
def test_smaller_and_near(precision: str, exact: Path, tmp_path: Path) -> None:
    path = reduced(exact, tmp_path, precision)
    assert psnr(path, exact) >= LEAST[precision]
    assert path.stat().st_size <= MOST[precision] * exact.stat().st_size
    assert target.metadata(path) == target.metadata(exact)
    inputs = onnx.load(path).graph.input
    assert {value.type.tensor_type.elem_type for value in inputs} == {TensorProto.FLOAT}


@pytest.mark.parametrize("precision", LEAST)
def test_known_pixels_and_indices_are_exact(precision: str, exact: Path, tmp_path: Path) -> None:
    made, sample = run(reduced(exact, tmp_path, precision)), next(photos())
    np.testing.assert_array_equal(made["indices"], run(exact)["indices"])
    known = np.repeat(sample["mask"] == 0, 3, axis=1)
    np.testing.assert_array_equal(made["output"][known], sample["image"][known])


@pytest.mark.parametrize("precision", LEAST)
def test_the_same_bytes_each_time(precision: str, exact: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = (reduced(exact, place, precision) for place in (tmp_path, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_ranges_are_measured_in_every_way(method: str, exact: Path, tmp_path: Path) -> None:
    assert psnr(reduced(exact, tmp_path, "int8", method=method), exact) >= 20


def test_ways_of_measuring_differ(exact: Path, tmp_path: Path) -> None:
    made = [reduced(exact, tmp_path, "int8", method=method).read_bytes() for method in METHODS]
    assert len(set(made)) == len(METHODS)


@pytest.mark.parametrize("precision", ["mixed", "int8-weights"])
def test_layers_that_are_kept_stay_in_floats(precision: str, exact: Path, tmp_path: Path) -> None:
    layers = reducer(exact).layers()
    assert len(layers) == 4
    path = reduced(exact, tmp_path, precision, kept=frozenset(layers[1:3]))
    stored = {one.name: one.data_type for one in onnx.load(path).graph.initializer}
    assert stored["w1_half"] == stored["w2_half"] == TensorProto.FLOAT16
    assert {stored["w0_int8"], stored["w3_int8"]} == {TensorProto.INT8}
    assert not {"w0", "w1", "w2", "w3"} & set(stored)
    assert psnr(reduced(exact, tmp_path, precision, kept=frozenset(layers)), exact) > LEAST["fp16"]


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_layers_that_compute_in_floats_are_stored_in_8_bits(
    precision: str, exact: Path, tmp_path: Path
) -> None:
    layers = reducer(exact).layers()
    path = reduced(exact, tmp_path, precision, kept=frozenset(layers))
    stored = {one.name: one.data_type for one in onnx.load(path).graph.initializer}
    assert {stored[f"w{number}_int8"] for number in range(4)} == {TensorProto.INT8}
    assert not {"QuantizeLinear", "DynamicQuantizeLinear"} & set(target.count_operators(path))
    weights = reduced(exact, tmp_path, "int8-weights")
    assert psnr(path, exact) == pytest.approx(psnr(weights, exact), abs=1e-3)


def test_images_as_integers(exact: Path, tmp_path: Path) -> None:
    """The session gives and takes floats all the same; 8-bit levels come back exactly."""
    path = reduced(exact, tmp_path, "int8", integer_io=True)
    graph = onnx.load(path).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    images = dict.fromkeys(("image", "mask", "output"), TensorProto.UINT8)
    assert kinds == {**images, "indices": TensorProto.INT32}
    sample = next(photos())
    levels = np.random.default_rng(0).integers(0, 256, (1, 3, SIDE, SIDE))
    sample["image"] = (levels / 255).astype(np.float32)
    with target.load(path, 1) as session:
        made = session(**sample)["output"]
    known = np.repeat(sample["mask"] == 0, 3, axis=1)
    np.testing.assert_array_equal(made[known], sample["image"][known])
    run = traced(recorder(path, 1), sample, tmp_path / "run")  # which is given floats too
    np.testing.assert_array_equal(run.tensors[run.gives["output"]][known], levels[known])
    with target.load(exact, 1) as session:
        wanted = np.clip(session(**sample)["output"], 0, 1)  # there are no levels beyond
    assert -10 * np.log10(np.square(made - wanted)[~known].mean()) >= LEAST["int8"]


def test_floats_become_the_nearest_level() -> None:
    given = np.array([-1, 0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1, 2], np.float32)
    np.testing.assert_array_equal(target.to_levels(given), [0, 0, 0, 1, 255, 255, 255])
    levels = np.arange(256, dtype=np.uint8)
    assert target.to_levels(levels) is levels
    np.testing.assert_array_equal(target.to_levels(levels / np.float32(255)), levels)


def test_what_lies_outside_the_levels_is_clipped(exact: Path, tmp_path: Path) -> None:
    path = reduced(exact, tmp_path, "int8", integer_io=True)
    sample = next(photos())
    with target.load(path, 1) as session:
        within = session(image=np.clip(4 * sample["image"] - 2, 0, 1), mask=sample["mask"])
        beyond = session(image=4 * sample["image"] - 2, mask=sample["mask"])
    np.testing.assert_array_equal(beyond["output"], within["output"])


@given(
    seed=st.integers(0, 1000),
    axis=st.none() | st.integers(0, 3),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
    empty=st.booleans(),
)
def test_weights_are_within_half_a_step(seed: int, axis: int, size: float, empty: bool) -> None:
    values = np.random.default_rng(seed).normal(0, size, (4, 3, 2, 5)).astype(np.float32)
    if empty:
        np.moveaxis(values, axis or 0, 0)[0] = 0
    steps, scales = to_int8(values, axis)
    spread = scales if axis is None else scales.reshape([-1 if i == axis else 1 for i in range(4)])
    # Half a step, and the rounding of the division and the product.
    assert (np.abs(steps * spread - values) <= spread * (0.5 + 1e-4)).all()
    assert np.abs(steps.astype(int)).max() <= 127
    assert steps.dtype == np.int8


@given(low=st.floats(-1e6, 1e6, width=32), size=st.floats(0, 1e6, width=32))
def test_a_range_holds_zero_exactly_and_all_of_itself(low: float, size: float) -> None:
    scale, zero = to_uint8((low, low + size))
    levels = (np.arange(256) - int(zero)) * float(scale)
    assert 0 in levels
    # The zero point is rounded to a whole step: the ends may be half a step out.
    reach = float(scale) * (0.5 + 1e-4)
    assert levels[0] <= min(low, 0) + reach
    assert levels[-1] >= max(low + size, 0) - reach


@given(values=st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_constants_in_half_neither_vanish_nor_overflow(values: list[float]) -> None:
    exact = np.array(values, np.float32)
    made = to_half(exact)
    assert ((made == 0) == (exact == 0)).all()
    assert (np.isfinite(made) == np.isfinite(exact)).all()
    plain = (np.abs(exact) < 65504) & (np.abs(exact) > 2.0**-24)
    np.testing.assert_array_equal(made[plain], exact[plain].astype(np.float16))
