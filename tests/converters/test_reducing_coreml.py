"""Core ML artifacts of less precision: a small one, loaded and run by our interpreter."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from rethined_export.artifacts import size_of
from rethined_export.converters import coreml as target
from rethined_export.converters.mil import MLProgram
from rethined_export.converters.reducing.coreml import reducer
from rethined_export.converters.reducing.palette import nearest_levels
from rethined_export.converters.reducing.types import Reduction, Sample

SIDE, WIDTH = 16, 48
#: Least PSNR in dB of the filled hole against fp32: of noise through three convolutions.
LEAST = {"fp16": 55.0, "int8": 25.0, "int8-weights": 35.0, "palette6": 25.0, "palette4": 12.0}
#: Most bytes over those in fp32; the graph itself takes as much room in any.
MOST = {"fp16": 0.62, "int8": 0.48, "int8-weights": 0.42, "palette6": 0.38, "palette4": 0.33}


def photos(count: int = 3) -> Iterator[Sample]:
    for seed in range(count):
        random = np.random.default_rng(seed)
        mask = np.zeros((1, 1, SIDE, SIDE), np.float32)
        mask[:, :, 4:12, 4:12] = 1
        yield {"image": random.random((1, 3, SIDE, SIDE), np.float32), "mask": mask}


def build(image: Any, mask: Any) -> tuple[Any, Any]:
    """Three convolutions of a filtered photo set into it; indices go through large floats."""
    box = np.full((3, 1, 3, 3), 1 / 9, np.float32)
    now = mb.conv(x=image, weight=box, groups=3, pad_type="same", name="filtered")
    random, channels = np.random.default_rng(0), 3
    for number, made in enumerate((WIDTH, WIDTH, 3)):
        weight = random.normal(0, (channels * 9) ** -0.5, (made, channels, 3, 3))
        bias = np.full(made, 0.1, np.float32)
        now = mb.conv(x=now, weight=weight.astype(np.float32), bias=bias, pad_type="same")
        channels = made
        if number < 2:
            now = mb.relu(x=now)
    places = np.arange(4095, 4095 - SIDE, -1, dtype=np.float32).reshape(SIDE, 1)
    best = mb.reduce_argmax(x=image, axis=3, keep_dims=False)
    found = mb.gather(x=places, indices=best, axis=0)
    indices = mb.cast(x=found, dtype="int32", name="indices")
    outside = mb.mul(x=image, y=mb.sub(x=1.0, y=mask))
    return mb.add(x=mb.mul(x=now, y=mask), y=outside, name="output"), indices


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = (1, 3, SIDE, SIDE), (1, 1, SIDE, SIDE)
    specs = [mb.TensorSpec(shape) for shape in shapes]
    model = ct.convert(
        mb.program(input_specs=specs, opset_version=ct.target.iOS16)(build),
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    model.user_defined_metadata["rethined.spec"] = json.dumps({})
    path = tmp_path_factory.mktemp("exact") / "exact.mlpackage"
    target.save(model, path)
    return path


@pytest.fixture(scope="module")
def made(exact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One package of each precision."""
    folder, one = tmp_path_factory.mktemp("made"), reducer(exact)
    paths = {name: folder / f"{name}.mlpackage" for name in LEAST}
    for name, path in paths.items():
        one.reduce(path, Reduction(name, photos))
    return paths


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def run(path: Path) -> dict[str, np.ndarray]:
    return MLProgram(path).run(next(photos()))


def test_smaller_and_near(exact: Path, made: dict[str, Path]) -> None:
    truth, hole = run(exact)["output"], np.s_[:, :, 4:12, 4:12]
    for name, path in made.items():
        error = run(path)["output"][hole] - truth[hole]
        assert -10 * np.log10(np.square(error).mean()) >= LEAST[name], name
        assert size(path) <= MOST[name] * size(exact), name
        assert target.metadata(path)["rethined.spec"] == "{}"


def test_known_pixels_and_indices_are_exact(exact: Path, made: dict[str, Path]) -> None:
    truth, sample = run(exact), next(photos())
    known = np.repeat(sample["mask"] == 0, 3, axis=1)
    for name, path in made.items():
        found = run(path)
        np.testing.assert_array_equal(found["indices"], truth["indices"], name)
        np.testing.assert_array_equal(found["output"][known], sample["image"][known], name)


def test_float16_is_computed_in_float16(made: dict[str, Path]) -> None:
    """The interpreter rounds what the program declares as such, so that it shows here."""
    seen: dict[str, np.ndarray] = {}
    MLProgram(made["fp16"]).run(next(photos()), lambda name, value: seen.update({name: value}))
    halves = [value for name, value in seen.items() if "relu" in name]
    assert halves
    for value in halves:
        np.testing.assert_array_equal(value, value.astype(np.float16).astype(np.float32))


def test_activations_go_through_integers(made: dict[str, Path]) -> None:
    counted = target.count_operators(made["int8"])
    assert counted["quantize"] == counted["dequantize"] >= 3
    assert counted["quantize"] <= 8


def test_layers_that_are_kept_stay_in_floats(exact: Path, tmp_path: Path) -> None:
    one = reducer(exact)
    layers = one.layers()
    assert len(layers) == 3
    one.reduce(tmp_path / "m.mlpackage", Reduction("mixed", photos, kept=frozenset(layers)))
    assert target.count_operators(tmp_path / "m.mlpackage")["quantize"] == 0


def test_a_filter_with_few_weights_is_left_alone(made: dict[str, Path]) -> None:
    """It is no layer, so nothing could keep it in floats."""
    found = []
    for name in ("fp16", "int8"):
        seen: dict[str, np.ndarray] = {}
        MLProgram(made[name]).run(
            next(photos()), lambda name, value, seen=seen: seen.update({name: value})
        )
        (filtered,) = (value for name, value in seen.items() if name.startswith("filtered"))
        found.append(filtered)
    np.testing.assert_array_equal(*found)


def test_equal_small_constants_are_written_once(made: dict[str, Path]) -> None:
    for name, path in made.items():
        function = ct.utils.load_spec(str(path)).mlProgram.functions["main"]
        held = [
            operation.attributes["val"].SerializeToString(deterministic=True)
            for operation in function.block_specializations[function.opset].operations
            if operation.type == "const" and operation.attributes["val"].HasField("immediateValue")
        ]
        assert len(held) == len(set(held)), name


def test_layers_that_compute_in_floats_are_stored_in_8_bits(exact: Path, tmp_path: Path) -> None:
    one, path = reducer(exact), tmp_path / "int8.mlpackage"
    one.reduce(path, Reduction("int8", photos, kept=frozenset(one.layers())))
    assert target.count_operators(path)["quantize"] == 0
    assert size_of(path) <= MOST["int8-weights"] * size_of(exact)


@given(
    seed=st.integers(0, 1000),
    bits=st.sampled_from([4, 6]),
    count=st.integers(1, 300),
    outlier=st.sampled_from([1.0, 50.0]),
)
def test_each_weight_takes_the_nearest_of_ascending_levels(
    seed: int, bits: int, count: int, outlier: float
) -> None:
    weights = np.random.default_rng(seed).normal(size=(count, 1)).astype(np.float16)
    weights[0] *= outlier
    levels, places = nearest_levels(bits, weights)
    assert levels.shape == (2**bits,)
    assert (np.diff(levels.astype(np.float64)) >= 0).all()
    assert (levels.dtype, places.dtype) == (weights.dtype, np.uint8)
    apart = np.abs(weights.reshape(-1, 1).astype(np.float64) - levels.astype(np.float64))
    taken = np.abs(weights.ravel().astype(np.float64) - levels[places].astype(np.float64))
    # Levels are rounded to float16 after the nearest was chosen.
    slack = np.abs(levels).max().astype(np.float64) * 2**-10
    assert (taken <= apart.min(axis=1) + 2 * slack).all()


def test_few_values_are_kept_as_they_are() -> None:
    """Where there are no more of them than a palette has, however they lie."""
    random = np.random.default_rng(3)
    for count in (1, 4, 16):
        weights = random.choice(random.normal(size=count) ** 3, 640).astype(np.float32)
        levels, places = nearest_levels(4, weights)
        assert levels.shape == (16,)
        np.testing.assert_array_equal(levels[places], weights)
