"""Broken programs of the hole-token form are caught by the numbers: drop-in and pair."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from rethined_export.cli import export as export_cli
from rethined_export.recipes.rethined.dropin import HoleList, PatchPaste
from rethined_export.recipes.rethined.holes import neighbours
from rethined_export.recipes.rethined.patches import enlarging
from tests.mutations.test_onnx import Mutation, broken, score_scale, store

SIDE = 1024
SCALE = SIDE // 512


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """A drop-in without a limit, and a pair that chooses several times and has all programs."""
    folder = tmp_path_factory.mktemp("patches")
    common = ["--target", "onnx", "--hr", str(SIDE), "--upscale", "patches", "--no-verify",
              "--output", str(folder), "--checkpoint", str(weights),
              "--least-mass", "0%"]  # fmt: skip
    assert export_cli.main([*common, "--hole-budget", "100%"]) == 0
    assert export_cli.main([*common, "--split", "--patch-program"]) == 0
    return folder


def change(model: onnx.ModelProto, old: torch.Tensor, new: Callable[[np.ndarray], np.ndarray]):
    """Replace the stored constants that hold exactly these numbers, whatever their shape."""
    numbers = old.numpy().reshape(-1)
    found = 0
    for stored in model.graph.initializer:
        values = numpy_helper.to_array(stored)
        if values.size == numbers.size and np.allclose(values.reshape(-1), numbers, atol=1e-7):
            changed = new(values.reshape(old.shape).copy())
            store(stored, changed.reshape(values.shape).astype(values.dtype))
            found += 1
    assert found, "no such constant"


def enlarged_without_overshoot(model: onnx.ModelProto) -> None:
    change(model, enlarging(SCALE).float(), np.abs)


def window_off_by_one(model: onnx.ModelProto) -> None:
    change(model, enlarging(SCALE).float(), lambda v: np.roll(v, 1, axis=1))


def low_added(model: onnx.ModelProto) -> None:
    """What a source's low image holds is added where it should be taken away."""
    [difference] = [node for node in model.graph.node if node.op_type == "Sub"]
    difference.op_type = "Add"


def neighbours_transposed(model: onnx.ModelProto) -> None:
    change(model, neighbours(), lambda v: v.reshape(-1, 3, 3).swapaxes(1, 2))


def coherence_bias(model: onnx.ModelProto) -> None:
    stored = next(s for s in model.graph.initializer if s.name.endswith("mix.bias"))
    store(stored, np.zeros_like(numpy_helper.to_array(stored)))


def channels_mixed_up(model: onnx.ModelProto) -> None:
    change(model, PatchPaste(8 * SCALE).within, lambda v: v[::-1])


def list_off_by_one(model: onnx.ModelProto) -> None:
    change(model, HoleList(4096).wanted, lambda v: np.roll(v, 1))


@pytest.mark.parametrize(
    ("part", "mutate"),
    [
        ("patches100", enlarged_without_overshoot),
        ("patches100", window_off_by_one),
        ("patches100", neighbours_transposed),
        ("patches100", channels_mixed_up),
        ("patches100", list_off_by_one),
        ("low10", score_scale),
        ("choose10", neighbours_transposed),
        ("choose10", coherence_bias),
        ("patch", enlarged_without_overshoot),
        ("patch", low_added),
    ],
)
def test_mutation_is_caught(
    part: str, mutate: Mutation, patches: Path, tmp_path: Path, judge: Callable[[Path], int]
):
    [artifact] = patches.glob(f"*-{part}-*.onnx")
    assert judge(broken(artifact, tmp_path, mutate)) == 3


@pytest.mark.parametrize("part", ["patches100", "low10", "choose10", "patch"])
def test_untouched_passes(part: str, patches: Path, judge: Callable[[Path], int]):
    [artifact] = patches.glob(f"*-{part}-*.onnx")
    assert judge(artifact) == 0
