"""Broken ONNX artifacts are caught by the numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, helper, numpy_helper

from rethined_export.models.rethined.filters import gaussian_taps
from rethined_export.rewrite.bicubic import BicubicUpsample
from tests.copies import copied

Mutation = Callable[[onnx.ModelProto], None]


def initializer(model: onnx.ModelProto, like: torch.Tensor) -> onnx.TensorProto:
    """The stored tensor with these values."""
    for stored in model.graph.initializer:
        if list(stored.dims) == list(like.shape):
            values = numpy_helper.to_array(stored)
            if values.dtype == np.float32 and np.allclose(values, like.numpy(), atol=1e-7):
                return stored
    raise AssertionError(f"no initializer of shape {tuple(like.shape)} with those values")


def named(model: onnx.ModelProto, part: str) -> onnx.TensorProto:
    """The stored tensor whose name contains a text."""
    return next(stored for stored in model.graph.initializer if part in stored.name)


def store(stored: onnx.TensorProto, values: np.ndarray) -> None:
    """Replace a stored tensor's values."""
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), stored.name))


def change(model: onnx.ModelProto, part: str, how: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the stored tensor whose name contains a text."""
    stored = named(model, part)
    values = numpy_helper.to_array(stored)
    changed = how(values)
    assert not np.array_equal(changed, values)
    store(stored, changed)


def nodes(model: onnx.ModelProto, kind: str) -> list[NodeProto]:
    """Nodes of one type, in order."""
    return [node for node in model.graph.node if node.op_type == kind]


def redirect(model: onnx.ModelProto, old: str, new: str, but: NodeProto) -> None:
    """Make every reader of ``old``, except one node, read ``new``."""
    for node in model.graph.node:
        if node is not but and node.name != but.name:
            node.input[:] = [new if name == old else name for name in node.input]


def insert(model: onnx.ModelProto, old: str, kind: str, extra: np.ndarray, first: bool) -> None:
    """Put ``kind(old, extra)`` (or ``kind(extra, old)``) between ``old`` and its readers."""
    constant = numpy_helper.from_array(extra, f"{old}_extra")
    model.graph.initializer.append(constant)
    inputs = [old, constant.name] if first else [constant.name, old]
    attributes = {"axis": 1} if kind == "Gather" else {}
    node = helper.make_node(kind, inputs, [f"{old}_mutated"], f"{old}_mutation", **attributes)
    redirect(model, old, node.output[0], node)
    place = next(
        (i + 1 for i, other in enumerate(model.graph.node) if old in other.output),
        0,
    )
    model.graph.node.insert(place, node)


def zero_weight_block(model: onnx.ModelProto) -> None:
    stored = named(model, "coherence.0.weight")
    values = numpy_helper.to_array(stored).copy()
    values[:16] = 0
    store(stored, values)


def overwrite_weight_bytes(model: onnx.ModelProto) -> None:
    stored = named(model, "stage4.1.reparam_conv.weight")
    values = numpy_helper.to_array(stored).copy()
    values.reshape(-1)[5000:5016] = 3.0
    store(stored, values)


def replicate_for_reflect(model: onnx.ModelProto) -> None:
    pads = [n for n in nodes(model, "Pad") if any(a.s == b"reflect" for a in n.attribute)]
    attribute = next(a for a in pads[-1].attribute if a.name == "mode")
    attribute.s = b"edge"


def _bicubic(a: float, shift: float) -> np.ndarray:
    phase = (torch.arange(2, dtype=torch.float64) + 0.5) / 2 - 0.5 + shift
    distance = (torch.arange(-2.0, 3.0, dtype=torch.float64) - phase[:, None]).abs()
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    taps = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0))
    return torch.einsum("pi,qj->pqij", taps, taps).reshape(4, 1, 5, 5).float().numpy()


def bicubic_coefficient(model: onnx.ModelProto) -> None:
    store(initializer(model, BicubicUpsample(2).kernel), _bicubic(-0.5, 0.0))


def half_pixel_off(model: onnx.ModelProto) -> None:
    store(initializer(model, BicubicUpsample(2).kernel), _bicubic(-0.75, 0.25))


def transposed_patch_order(model: onnx.ModelProto) -> None:
    reshape = next(n for n in nodes(model, "Reshape")[::-1] if _shape(model, n) == [64, 1, 64])
    name = reshape.output[0]
    node = helper.make_node("Transpose", [name], [f"{name}_t"], "transposed", perm=[2, 1, 0])
    redirect(model, name, node.output[0], node)
    place = next(i for i, other in enumerate(model.graph.node) if other.name == reshape.name)
    model.graph.node.insert(place + 1, node)


def _shape(model: onnx.ModelProto, reshape: NodeProto) -> list[int]:
    for stored in model.graph.initializer:
        if stored.name == reshape.input[1]:
            return [int(side) for side in numpy_helper.to_array(stored)]
    return []


def mask_polarity(model: onnx.ModelProto) -> None:
    insert(model, "mask", "Sub", np.array(1, np.float32), first=False)


def bgr(model: onnx.ModelProto) -> None:
    insert(model, "image", "Gather", np.array([2, 1, 0], np.int64), first=True)


def one_index_off_by_one(model: onnx.ModelProto) -> None:
    # Token (1, 1) lies inside the mask's corner; its neighbour to the right is fetched instead.
    index = nodes(model, "Gather")[-1].input[1]
    offset = np.zeros((3, 1024, 64), np.int32)
    offset[:, 16:32, 1] = 1
    insert(model, index, "Add", offset, first=True)


def blur_sigma(model: onnx.ModelProto) -> None:
    old, new = gaussian_taps().float(), gaussian_taps(sigma=2.2).float()
    stored = initializer(model, old.reshape(1, 1, 7, 1).repeat(3, 1, 1, 1))
    store(stored, new.reshape(1, 1, 7, 1).repeat(3, 1, 1, 1).numpy())


def dropped_bias(model: onnx.ModelProto) -> None:
    stored = named(model, "coherence.0.bias")
    store(stored, np.zeros_like(numpy_helper.to_array(stored)))


def score_scale(model: onnx.ModelProto) -> None:
    """The queries, which are the first half of what is projected."""
    for part in ("project.patch.weight", "project.context.weight"):
        stored = named(model, part)
        values = numpy_helper.to_array(stored).copy()
        values[: len(values) // 2] *= np.float32(1.01)
        store(stored, values)


def dropped_sigmoid(model: onnx.ModelProto) -> None:
    sigmoid = nodes(model, "Sigmoid")[-1]
    redirect(model, sigmoid.output[0], sigmoid.input[0], sigmoid)
    model.graph.node.remove(sigmoid)


def align_corners(model: onnx.ModelProto) -> None:
    attribute = next(
        a for a in nodes(model, "Resize")[0].attribute if a.name == "coordinate_transformation_mode"
    )
    attribute.s = b"align_corners"


def top_k_order(model: onnx.ModelProto) -> None:
    for name in list(nodes(model, "TopK")[0].output):
        constant = numpy_helper.from_array(np.array([3, 2, 1, 0], np.int64), f"{name}_order")
        model.graph.initializer.append(constant)
        node = helper.make_node(
            "Gather", [name, constant.name], [f"{name}_r"], f"{name}_flip", axis=3
        )
        redirect(model, name, node.output[0], node)
        place = next(i for i, other in enumerate(model.graph.node) if name in other.output)
        model.graph.node.insert(place + 1, node)


def broken(artifact: Path, folder: Path, mutate: Mutation) -> Path:
    """A copy with one thing changed, still a valid model."""
    copy = copied(artifact, folder)
    model = onnx.load(copy)
    before = model.SerializeToString()
    mutate(model)
    assert model.SerializeToString() != before
    onnx.save(model, copy)
    return copy


def test_untouched_copy_passes(exported: Path, tmp_path: Path, judge: Callable[[Path], int]):
    [artifact] = exported.glob("*.onnx")
    assert judge(copied(artifact, tmp_path)) == 0


@pytest.mark.parametrize(
    "mutate",
    [
        zero_weight_block,
        overwrite_weight_bytes,
        replicate_for_reflect,
        bicubic_coefficient,
        half_pixel_off,
        transposed_patch_order,
        mask_polarity,
        bgr,
        one_index_off_by_one,
        blur_sigma,
        dropped_bias,
        score_scale,
        dropped_sigmoid,
        align_corners,
    ],
)
def test_mutation_is_caught(
    mutate: Mutation, exported: Path, tmp_path: Path, judge: Callable[[Path], int]
):
    [artifact] = exported.glob("*.onnx")
    assert judge(broken(artifact, tmp_path, mutate)) == 3


@pytest.mark.parametrize("mutate", [top_k_order, score_scale])
def test_top_k_mutation_is_caught(
    mutate: Mutation, exported_top4: Path, tmp_path: Path, judge: Callable[[Path], int]
):
    [artifact] = exported_top4.glob("*.onnx")
    assert judge(broken(artifact, tmp_path, mutate)) == 3


def test_truncated_file_is_refused(exported: Path, tmp_path: Path, judge: Callable[[Path], int]):
    [artifact] = exported.glob("*.onnx")
    copy = copied(artifact, tmp_path)
    copy.write_bytes(copy.read_bytes()[:-4096])
    assert judge(copy) == 2
