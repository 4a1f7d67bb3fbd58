"""The ML Program interpreter, on small programs that are saved and read back."""

import gc
import math
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ct = pytest.importorskip("coremltools")
mil = pytest.importorskip("coremltools.converters.mil")

from rethined_export.converters.mil import MLProgram, registry  # noqa: E402
from rethined_export.converters.types import (  # noqa: E402
    ArtifactError,
    UnsupportedOperatorError,
)
from rethined_export.models.rethined import preset_config, untrained  # noqa: E402
from rethined_export.recipes.rethined.graph import ExportGraph  # noqa: E402

mb: Any = mil.Builder
types: Any = mil.mil.types

# float32 has 6e-8 of relative rounding error. Both sides sum at most some hundred products of
# size 1, in different orders: 1e-5 is far above the noise and far below a wrong option.
TOLERANCE = 1e-5
IMAGE = (2, 4, 6, 8)

Build = Callable[..., Any]
Reference = Callable[..., Tensor]


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Each conversion collects garbage, 0.4 s over all that is imported unless it is frozen; and
    threads that wait for each other on a busy machine cost more than they gain here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)


def saved(
    path: Path,
    build: Build,
    shapes: Sequence[tuple[int, ...]],
    target: str = "iOS17",
    dtypes: Sequence[Any] | None = None,
) -> Path:
    """Save a program of inputs ``x0``, ``x1``, …, converted as it is, without rewriting passes."""
    version = getattr(ct.target, target)
    names = [f"x{index}" for index in range(len(shapes))]
    kinds = dtypes or [types.fp32] * len(shapes)
    specs = [mb.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, kinds, strict=True)]
    # The decorator reads the inputs' names from the signature.
    scope: dict[str, Any] = {"build": build}
    exec(f"def program({', '.join(names)}): return build({', '.join(names)})", scope)
    program = mb.program(input_specs=specs, opset_version=version)(scope["program"])
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=version,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    package = path / "program.mlpackage"
    model.save(str(package))
    return package


def random(*shapes: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]


def execute(package: Path, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    program = MLProgram(package)
    outputs = program.run({f"x{index}": array for index, array in enumerate(arrays)})
    return [outputs[name] for name in program.outputs]


def compare(
    path: Path,
    build: Build,
    reference: Reference,
    shapes: Sequence[tuple[int, ...]] = (IMAGE,),
    **options: Any,
) -> None:
    arrays = random(*shapes)
    (result,) = execute(saved(path, build, shapes, **options), arrays)
    expected = reference(*map(torch.from_numpy, arrays)).numpy()
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=TOLERANCE, atol=TOLERANCE)


def tensor(array: Any) -> Tensor:
    return torch.tensor(array)


WEIGHT, BIAS = random((6, 4, 3, 2), (6,))
GROUPED = random((4, 2, 3, 3))[0]
UP = random((4, 3, 4, 4))[0]
UP_GROUPED = random((4, 1, 3, 3))[0]
VECTOR = random((4,))[0]
MATRIX = random((5, 8))[0]


def flags(value: Any) -> Any:
    return mb.cast(x=value, dtype="fp32")


UNARY: dict[str, Reference] = {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "identity": lambda x: x.clone(),
    "relu": torch.relu,
    "relu6": F.relu6,
    "round": torch.round,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": F.silu,
    "sin": torch.sin,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "square": lambda x: x * x,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("kind", UNARY)
def test_unary(tmp_path: Path, kind: str) -> None:
    compare(tmp_path, lambda x: getattr(mb, kind)(x=x), UNARY[kind])


BINARY: dict[str, Reference] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "real_div": torch.div,
    "floor_div": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "mod": torch.remainder,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "equal": lambda x, y: (x == y).float(),
    "not_equal": lambda x, y: (x != y).float(),
    "greater": lambda x, y: (x > y).float(),
    "greater_equal": lambda x, y: (x >= y).float(),
    "less": lambda x, y: (x < y).float(),
    "less_equal": lambda x, y: (x <= y).float(),
}


@pytest.mark.parametrize("kind", BINARY)
def test_binary_with_broadcasting(tmp_path: Path, kind: str) -> None:
    def build(x: Any, y: Any) -> Any:
        # Halves, so that some pairs are equal.
        x, y = (mb.mul(x=mb.round(x=mb.mul(x=one, y=4.0)), y=0.25) for one in (x, y))
        y = mb.add(x=y, y=0.25) if kind in ("real_div", "floor_div", "mod") else y
        value = getattr(mb, kind)(x=x, y=y)
        return flags(value) if value.dtype == types.bool else value

    def reference(x: Tensor, y: Tensor) -> Tensor:
        x, y = (torch.round(one * 4) * 0.25 for one in (x, y))
        y = y + 0.25 if kind in ("real_div", "floor_div", "mod") else y
        return BINARY[kind](x, y)

    arrays = random((2, 3, 4), (4,))
    arrays[1] = np.abs(arrays[1])
    (result,) = execute(saved(tmp_path, build, [(2, 3, 4), (4,)]), arrays)
    expected = reference(*map(torch.from_numpy, arrays)).numpy()
    np.testing.assert_allclose(result, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["logical_and", "logical_or", "logical_xor"])
def test_logic(tmp_path: Path, kind: str) -> None:
    def build(x: Any, y: Any) -> Any:
        pair = mb.greater(x=x, y=0.0), mb.logical_not(x=mb.greater(x=y, y=0.0))
        return flags(getattr(mb, kind)(x=pair[0], y=pair[1]))

    function = getattr(torch, kind)
    compare(tmp_path, build, lambda x, y: function(x > 0, y <= 0).float(), [(4, 5), (4, 5)])


PARAMETRIC: dict[str, tuple[Build, Reference]] = {
    "pow": (lambda x: mb.pow(x=mb.abs(x=x), y=1.7), lambda x: x.abs() ** 1.7),
    "sqrt": (lambda x: mb.sqrt(x=mb.abs(x=x)), lambda x: x.abs().sqrt()),
    "rsqrt": (
        lambda x: mb.rsqrt(x=mb.abs(x=x), epsilon=0.5),
        lambda x: 1 / (x.abs() + 0.5).sqrt(),
    ),
    "inverse": (
        lambda x: mb.inverse(x=mb.abs(x=x), epsilon=0.5),
        lambda x: 1 / (x.abs() + 0.5),
    ),
    "log": (lambda x: mb.log(x=mb.abs(x=x), epsilon=0.5), lambda x: (x.abs() + 0.5).log()),
    "clip": (lambda x: mb.clip(x=x, alpha=-0.5, beta=0.8), lambda x: x.clamp(-0.5, 0.8)),
    "threshold": (lambda x: mb.threshold(x=x, alpha=0.2), lambda x: x.clamp(min=0.2)),
    "gelu_exact": (lambda x: mb.gelu(x=x, mode="EXACT"), F.gelu),
    "gelu_tanh": (
        lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: F.gelu(x, approximate="tanh"),
    ),
    "gelu_sigmoid": (
        lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
        lambda x: x * torch.sigmoid(1.702 * x),
    ),
    "leaky_relu": (lambda x: mb.leaky_relu(x=x, alpha=0.1), lambda x: F.leaky_relu(x, 0.1)),
    "elu": (lambda x: mb.elu(x=x, alpha=0.7), lambda x: F.elu(x, 0.7)),
    "prelu": (lambda x: mb.prelu(x=x, alpha=VECTOR), lambda x: F.prelu(x, tensor(VECTOR))),
    "linear_activation": (
        lambda x: mb.linear_activation(x=x, alpha=2.0, beta=-1.0),
        lambda x: 2 * x - 1,
    ),
    "sigmoid_hard": (
        lambda x: mb.sigmoid_hard(x=x, alpha=0.3, beta=0.4),
        lambda x: (0.3 * x + 0.4).clamp(0, 1),
    ),
    "softmax": (lambda x: mb.softmax(x=x, axis=1), lambda x: x.softmax(1)),
    "select": (
        lambda x: mb.select(cond=mb.greater(x=x, y=0.0), a=x, b=mb.exp(x=x)),
        lambda x: torch.where(x > 0, x, x.exp()),
    ),
    "cast_cuts_towards_zero": (
        lambda x: flags(mb.cast(x=mb.mul(x=x, y=3.0), dtype="int32")),
        lambda x: (3 * x).trunc(),
    ),
    "cast_to_bool": (
        lambda x: flags(mb.cast(x=mb.relu(x=x), dtype="bool")),
        lambda x: (x > 0).float(),
    ),
    "cast_to_half": (
        lambda x: flags(mb.cast(x=x, dtype="fp16")),
        lambda x: x.half().float(),
    ),
    "reduce_max": (lambda x: mb.reduce_max(x=x, axes=[1, -1]), lambda x: x.amax((1, 3))),
    "reduce_min": (
        lambda x: mb.reduce_min(x=x, axes=[2], keep_dims=True),
        lambda x: x.amin(2, keepdim=True),
    ),
    "reduce_sum": (lambda x: mb.reduce_sum(x=x, axes=[0, 2]), lambda x: x.sum((0, 2))),
    "reduce_mean": (
        lambda x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True),
        lambda x: x.mean((2, 3), keepdim=True),
    ),
    "reduce_l2_norm": (lambda x: mb.reduce_l2_norm(x=x, axes=[1]), lambda x: x.norm(dim=1)),
    "reduce_sum_square": (
        lambda x: mb.reduce_sum_square(x=x, axes=[1]),
        lambda x: (x * x).sum(1),
    ),
    "reduce_log_sum_exp": (
        lambda x: mb.reduce_log_sum_exp(x=x, axes=[-1]),
        lambda x: x.logsumexp(-1),
    ),
    "reduce_argmax": (
        lambda x: mb.reduce_argmax(x=x, axis=2, keep_dims=True),
        lambda x: x.argmax(2, keepdim=True).int(),
    ),
    "reduce_argmin": (lambda x: mb.reduce_argmin(x=x, axis=-1), lambda x: x.argmin(-1).int()),
    "reduce_argmax_16_bits": (
        lambda x: mb.cast(x=mb.reduce_argmax(x=x, axis=1, output_dtype="uint16"), dtype="int32"),
        lambda x: x.argmax(1).int(),
    ),
    "batch_norm": (
        lambda x: mb.batch_norm(
            x=x, mean=VECTOR, variance=VECTOR**2, gamma=VECTOR + 2, beta=VECTOR - 1, epsilon=0.1
        ),
        lambda x: F.batch_norm(
            x,
            tensor(VECTOR),
            tensor(VECTOR**2),
            tensor(VECTOR + 2),
            tensor(VECTOR - 1),
            eps=0.1,
        ),
    ),
    "matmul": (
        lambda x: mb.matmul(x=x, y=mb.exp(x=x), transpose_y=True),
        lambda x: x @ x.exp().transpose(2, 3),
    ),
    "matmul_transpose_x": (
        lambda x: mb.matmul(x=x, y=mb.exp(x=x), transpose_x=True),
        lambda x: x.transpose(2, 3) @ x.exp(),
    ),
}
MOVES: dict[str, tuple[Build, Reference]] = {
    "reshape": (lambda x: mb.reshape(x=x, shape=[2, -1, 8]), lambda x: x.reshape(2, 24, 8)),
    "reshape_zeros_count_from_the_right": (
        lambda x: mb.reshape(x=x, shape=[0, 0, -1, 0, 0]),
        lambda x: x.reshape(1, 2, 4, 6, 8),
    ),
    "transpose": (
        lambda x: mb.transpose(x=x, perm=[2, 0, -1, 1]),
        lambda x: x.permute(2, 0, 3, 1),
    ),
    "expand_dims": (
        lambda x: mb.expand_dims(x=mb.reduce_sum(x=x, axes=[0, 1]), axes=[-1, 0]),
        lambda x: x.sum((0, 1))[None, :, :, None],
    ),
    "squeeze": (
        lambda x: mb.squeeze(x=mb.reshape(x=x, shape=[1, 384, 1]), axes=[0]),
        lambda x: x.reshape(384, 1),
    ),
    "squeeze_all": (
        lambda x: mb.squeeze(x=mb.reshape(x=x, shape=[1, 384, 1])),
        lambda x: x.reshape(384),
    ),
    "concat": (
        lambda x: mb.concat(values=[x, mb.exp(x=x)], axis=-2),
        lambda x: torch.cat([x, x.exp()], 2),
    ),
    "concat_interleaved": (
        lambda x: mb.concat(values=[x, mb.exp(x=x)], axis=1, interleave=True),
        lambda x: torch.stack([x, x.exp()], 2).reshape(2, 8, 6, 8),
    ),
    "stack": (
        lambda x: mb.stack(values=[x, mb.exp(x=x)], axis=-1),
        lambda x: torch.stack([x, x.exp()], -1),
    ),
    "split_sizes": (
        lambda x: mb.split(x=x, split_sizes=[1, 5, 2], axis=-1)[1],
        lambda x: x[..., 1:6],
    ),
    "split_evenly": (lambda x: mb.split(x=x, num_splits=3, axis=2)[2], lambda x: x[:, :, 4:]),
    "tile": (lambda x: mb.tile(x=x, reps=[1, 2, 1, 3]), lambda x: x.repeat(1, 2, 1, 3)),
    "reverse": (lambda x: mb.reverse(x=x, axes=[1, -1]), lambda x: x.flip(1, 3)),
    "slice_by_index": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[0, 1, -5, 3],
            end=[1, -1, 9, 0],
            stride=[1, 1, 2, 2],
            begin_mask=[True, False, False, False],
            end_mask=[False, False, False, True],
        ),
        lambda x: x[:1, 1:-1, 1::2, 3::2],
    ),
    "slice_by_index_backwards": (
        lambda x: mb.slice_by_index(
            x=x, begin=[0, 0, 5, -2], end=[2, 4, 0, 1], stride=[1, 1, -2, -1]
        ),
        lambda x: tensor(x.numpy()[:, :, 5:0:-2, -2:1:-1].copy()),
    ),
    "slice_by_index_squeezes": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[1, 0, 0, -1],
            end=[0, 0, 6, 0],
            end_mask=[False, True, False, False],
            squeeze_mask=[True, False, False, True],
        ),
        lambda x: x[1, :, :, -1],
    ),
    "slice_by_size": (
        lambda x: mb.slice_by_size(x=x, begin=[0, -3, 1, 2], size=[2, 2, -1, 3]),
        lambda x: x[:, 1:3, 1:, 2:5],
    ),
    "crop": (
        lambda x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 3]),
        lambda x: x[:, :, 1:-2, :-3],
    ),
    "pad_constant": (
        lambda x: mb.pad(x=x, pad=[0, 0, 1, 0, 2, 3, 0, 4], mode="constant", constant_val=1.5),
        lambda x: F.pad(x, (0, 4, 2, 3, 1, 0), value=1.5),
    ),
    "pad_reflect": (
        lambda x: mb.pad(x=x, pad=[2, 3, 1, 4], mode="reflect"),
        lambda x: F.pad(x, (1, 4, 2, 3), mode="reflect"),
    ),
    "pad_replicate": (
        lambda x: mb.pad(x=x, pad=[2, 3, 1, 4], mode="replicate"),
        lambda x: F.pad(x, (1, 4, 2, 3), mode="replicate"),
    ),
    "pixel_shuffle": (
        lambda x: mb.pixel_shuffle(x=x, upscale_factor=2),
        lambda x: F.pixel_shuffle(x, 2),
    ),
    "pixel_unshuffle": (
        lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        lambda x: F.pixel_unshuffle(x, 2),
    ),
    # TensorFlow's layout: channel (row · 2 + column) · C + c.
    "space_to_depth": (
        lambda x: mb.space_to_depth(x=x, block_size=2),
        lambda x: torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1),
    ),
    "depth_to_space": (
        lambda x: mb.depth_to_space(x=mb.space_to_depth(x=x, block_size=2), block_size=2),
        lambda x: x.clone(),
    ),
    "shape": (lambda x: mb.add(x=mb.shape(x=x), y=1), lambda x: tensor([3, 5, 7, 9]).int()),
    "fill": (
        lambda x: mb.mul(x=x, y=mb.fill(shape=mb.shape(x=x), value=2.0)),
        lambda x: 2 * x,
    ),
    "fill_like": (
        lambda x: mb.mul(x=x, y=mb.fill_like(ref_tensor=x, value=3.0)),
        lambda x: 3 * x,
    ),
    "upsample_nearest_neighbor": (
        lambda x: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=3.0, scale_factor_width=2.0
        ),
        lambda x: F.interpolate(x, (18, 16)),
    ),
    "resize_nearest_neighbor": (
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=12, target_size_width=8),
        lambda x: F.interpolate(x, (12, 8)),
    ),
    "upsample_bilinear": (
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False
        ),
        lambda x: F.interpolate(x, (12, 24), mode="bilinear", align_corners=False),
    ),
    "upsample_bilinear_aligned": (
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=True
        ),
        lambda x: F.interpolate(x, (12, 24), mode="bilinear", align_corners=True),
    ),
    "upsample_bilinear_fractional": (
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=0.7, scale_factor_width=1.3, align_corners=False
        ),
        lambda x: F.interpolate(x, (4, 10), mode="bilinear", align_corners=False),
    ),
    "resize": (
        lambda x: mb.resize(
            x=x, shape=[9, 0], resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"
        ),
        lambda x: F.interpolate(x, (9, 8), mode="bilinear", align_corners=False),
    ),
    "resize_nearest": (
        lambda x: mb.resize(
            x=x,
            shape=[12, 24],
            resized_dims=np.uint32(2),
            interpolation_mode="NEAREST_NEIGHBOR",
            sampling_mode="UNALIGN_CORNERS",
        ),
        lambda x: F.interpolate(x, (12, 24)),
    ),
}
FILTERS: dict[str, tuple[Build, Reference]] = {
    "conv": (
        lambda x: mb.conv(
            x=x,
            weight=WEIGHT,
            bias=BIAS,
            strides=[2, 1],
            dilations=[1, 2],
            pad_type="custom",
            pad=[1, 1, 2, 2],
        ),
        lambda x: F.conv2d(
            x, tensor(WEIGHT), tensor(BIAS), stride=(2, 1), padding=(1, 2), dilation=(1, 2)
        ),
    ),
    "conv_of_unequal_pads": (
        lambda x: mb.conv(x=x, weight=WEIGHT, pad_type="custom", pad=[1, 0, 0, 2]),
        lambda x: F.conv2d(F.pad(x, (0, 2, 1, 0)), tensor(WEIGHT)),
    ),
    "conv_in_groups": (
        lambda x: mb.conv(x=x, weight=GROUPED, groups=2, pad_type="valid"),
        lambda x: F.conv2d(x, tensor(GROUPED), groups=2),
    ),
    # Height 6, window 3, stride 2: one element of padding; width 8, window 2: none.
    "conv_same": (
        lambda x: mb.conv(x=x, weight=WEIGHT, strides=[2, 2], pad_type="same"),
        lambda x: F.conv2d(F.pad(x, (0, 0, 0, 1)), tensor(WEIGHT), stride=2),
    ),
    "conv_same_lower": (
        lambda x: mb.conv(x=x, weight=WEIGHT, strides=[2, 2], pad_type="same_lower"),
        lambda x: F.conv2d(F.pad(x, (0, 0, 1, 0)), tensor(WEIGHT), stride=2),
    ),
    "conv_1d": (
        lambda x: mb.conv(
            x=mb.reshape(x=x, shape=[2, 4, 48]), weight=WEIGHT[..., 0], pad_type="valid"
        ),
        lambda x: F.conv1d(x.reshape(2, 4, 48), tensor(WEIGHT[..., 0].copy())),
    ),
    "conv_transpose": (
        lambda x: mb.conv_transpose(
            x=x, weight=UP, bias=BIAS[:3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda x: F.conv_transpose2d(x, tensor(UP), tensor(BIAS[:3]), stride=2, padding=1),
    ),
    "conv_transpose_of_unequal_pads": (
        lambda x: mb.conv_transpose(
            x=x, weight=UP, strides=[2, 2], pad_type="custom", pad=[0, 2, 1, 0]
        ),
        lambda x: F.conv_transpose2d(x, tensor(UP), stride=2)[:, :, :-2, 1:],
    ),
    "conv_transpose_in_groups": (
        lambda x: mb.conv_transpose(
            x=x, weight=UP_GROUPED, groups=4, dilations=[2, 1], pad_type="valid"
        ),
        lambda x: F.conv_transpose2d(x, tensor(UP_GROUPED), groups=4, dilation=(2, 1)),
    ),
    "conv_transpose_same": (
        lambda x: mb.conv_transpose(x=x, weight=UP[..., :3, :3], strides=[2, 2], pad_type="same"),
        lambda x: F.conv_transpose2d(x, tensor(UP[..., :3, :3].copy()), stride=2)[:, :, :-1, :-1],
    ),
    "linear": (
        lambda x: mb.linear(x=mb.reshape(x=x, shape=[48, 8]), weight=MATRIX, bias=BIAS[:5]),
        lambda x: F.linear(x.reshape(48, 8), tensor(MATRIX), tensor(BIAS[:5])),
    ),
    "max_pool": (
        lambda x: mb.max_pool(
            x=x, kernel_sizes=[3, 2], strides=[2, 1], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda x: F.max_pool2d(x, (3, 2), (2, 1), 1),
    ),
    "max_pool_of_unequal_pads": (
        lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], pad_type="custom", pad=[0, 1, 1, 0]),
        lambda x: F.max_pool2d(F.pad(x, (1, 0, 0, 1), value=-math.inf), 2, 1),
    ),
    "max_pool_rounding_up": (
        lambda x: mb.max_pool(
            x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="valid", ceil_mode=True
        ),
        lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    ),
    "avg_pool_counting_padding": (
        lambda x: mb.avg_pool(
            x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]
        ),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=True),
    ),
    "avg_pool_of_unequal_pads": (
        lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 3], pad_type="custom", pad=[1, 0, 0, 1]),
        lambda x: F.avg_pool2d(F.pad(x, (0, 1, 1, 0)), (2, 3), 1),
    ),
    "avg_pool_excluding_padding": (
        lambda x: mb.avg_pool(
            x=x,
            kernel_sizes=[3, 3],
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            exclude_padding_from_average=True,
        ),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "avg_pool_same_excluding_padding": (
        lambda x: mb.avg_pool(
            x=x,
            kernel_sizes=[3, 3],
            strides=[2, 2],
            pad_type="same",
            exclude_padding_from_average=True,
        ),
        # Padded by one at the end, where torch's own rounding up leaves the padding out as well.
        lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True, count_include_pad=False),
    ),
}
CASES = PARAMETRIC | MOVES | FILTERS


@pytest.mark.parametrize("case", CASES)
def test_operator(tmp_path: Path, case: str) -> None:
    compare(tmp_path, *CASES[case])


# Sampling positions on the pixels 0 and 1, from the documentation of resize_bilinear.
GRIDS = {
    ("UNALIGN_CORNERS", 5): [0, 0.1, 0.5, 0.9, 1],
    ("STRICT_ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("ALIGN_CORNERS", 1): [0.5],
    ("STRICT_ALIGN_CORNERS", 1): [0],
    ("DEFAULT", 5): [0, 0.4, 0.8, 1, 1],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
}


@pytest.mark.parametrize(("mode", "size"), GRIDS)
def test_sampling_modes(tmp_path: Path, mode: str, size: int) -> None:
    def build(x: Any) -> Any:
        return mb.resize_bilinear(
            x=x, target_size_height=1, target_size_width=size, sampling_mode=mode
        )

    package = saved(tmp_path, build, [(1, 1, 1, 2)])
    (result,) = execute(package, [np.array([[[[0, 1]]]], np.float32)])
    np.testing.assert_allclose(result[0, 0, 0], GRIDS[mode, size], atol=1e-6)


@pytest.mark.parametrize(
    ("align", "centres", "expected"),
    [
        (False, False, [0, 0.5, 1, 1]),
        (False, True, [0, 0.25, 0.75, 1]),
        (True, False, [0, 1 / 3, 2 / 3, 1]),
    ],
)
def test_half_pixel_centers(
    tmp_path: Path, align: bool, centres: bool, expected: list[float]
) -> None:
    def build(x: Any) -> Any:
        return mb.upsample_bilinear(
            x=x, scale_factor_width=2, align_corners=align, half_pixel_centers=centres
        )

    package = saved(tmp_path, build, [(1, 1, 1, 2)])
    (result,) = execute(package, [np.array([[[[0, 1]]]], np.float32)])
    np.testing.assert_allclose(result[0, 0, 0], expected, atol=1e-6)


def test_reflect_and_replicate_differ(tmp_path: Path) -> None:
    (x,) = random(IMAGE)
    results = []
    for mode in ("reflect", "replicate"):
        (tmp_path / mode).mkdir()
        package = saved(
            tmp_path / mode, lambda x, mode=mode: mb.pad(x=x, pad=[1, 1], mode=mode), [IMAGE]
        )
        results.append(execute(package, [x])[0])
    np.testing.assert_array_equal(results[0][..., 1:-1], results[1][..., 1:-1])
    assert (results[0][..., 0] != results[1][..., 0]).all()


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("target", ["iOS16", "iOS17"])
def test_topk(tmp_path: Path, target: str, ascending: bool) -> None:
    def build(x: Any) -> Any:
        sixteen = {"output_indices_dtype": "uint16"} if target == "iOS17" else {}
        values, indices = mb.topk(x=x, k=3, axis=1, ascending=ascending, **sixteen)
        return values, mb.cast(x=indices, dtype="int32")

    (x,) = random((4, 9))
    values, indices = execute(saved(tmp_path, build, [(4, 9)], target=target), [x])
    order = np.argsort(x if ascending else -x, axis=1)[:, :3]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, 1))


def test_topk_of_values_alone(tmp_path: Path) -> None:
    compare(
        tmp_path,
        lambda x: mb.topk(x=x, k=2, axis=-1, sort=False, return_indices=False),
        lambda x: x.topk(2).values,
    )


INDICES = np.array([[3, 0], [-1, 2]], np.int32)


def gathered(target: str, kind: str, **options: Any) -> Build:
    def build(x: Any, indices: Any) -> Any:
        # Indices computed at run time: coremltools itself refuses bad constants.
        return getattr(mb, kind)(x=x, indices=mb.add(x=indices, y=0), **options)

    return build


@pytest.mark.parametrize(
    ("kind", "shape", "options", "reference"),
    [
        ("gather", (4, 3), {"axis": 0}, lambda x: x[INDICES]),
        ("gather", (3, 4), {"axis": -1}, lambda x: x[:, INDICES]),
        (
            "gather",
            (2, 4, 3),
            {"axis": 1, "batch_dims": 1},
            lambda x: np.stack([x[0][INDICES[0]], x[1][INDICES[1]]]),
        ),
        (
            "gather",
            (2, 3, 4),
            {"axis": 2, "batch_dims": 1},
            lambda x: np.stack([x[0][:, INDICES[0]], x[1][:, INDICES[1]]]),
        ),
        (
            "gather_along_axis",
            (2, 4),
            {"axis": 1},
            lambda x: np.take_along_axis(x, INDICES, 1),
        ),
    ],
)
@pytest.mark.parametrize("target", ["iOS16", "iOS17"])
def test_gathers(
    tmp_path: Path,
    target: str,
    kind: str,
    shape: tuple[int, ...],
    options: Mapping[str, Any],
    reference: Callable[[Any], Any],
) -> None:
    package = saved(
        tmp_path,
        gathered(target, kind, **options),
        [shape, INDICES.shape],
        target=target,
        dtypes=[types.fp32, types.int32],
    )
    (x,) = random(shape)
    if target == "iOS17":  # negative indices are out of bounds since
        with pytest.raises(ArtifactError, match=f"{kind}.*indices -1 to 3 of an axis of 4"):
            execute(package, [x, INDICES])
    indices = INDICES % 4 if target == "iOS17" else INDICES
    np.testing.assert_array_equal(execute(package, [x, indices])[0], reference(x))
    with pytest.raises(ArtifactError, match=f"{kind}.*to 4 of an axis of 4"):
        execute(package, [x, indices + 1])


@pytest.mark.parametrize(
    ("option", "build"),
    [
        (
            "nearest neighbour from 8 to 12",
            lambda x: mb.upsample_nearest_neighbor(
                x=x, scale_factor_height=1.0, scale_factor_width=1.5
            ),
        ),
        (
            "nearest neighbour from 6 to 3",
            lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=3, target_size_width=8),
        ),
        (
            "align_corners with half_pixel_centers",
            lambda x: mb.upsample_bilinear(
                x=x, scale_factor_width=2, align_corners=True, half_pixel_centers=True
            ),
        ),
        (
            "division of integers",
            lambda x: mb.real_div(x=mb.shape(x=x), y=np.array([2, 2, 2, 2], np.int32)),
        ),
        ("pad_type valid", lambda x: mb.conv(x=x, weight=WEIGHT, pad_type="valid", pad=[1] * 4)),
        (
            "begin_mask with a negative stride",
            lambda x: mb.slice_by_index(
                x=x, begin=[0] * 4, end=[1] * 4, stride=[-1] * 4, begin_mask=[True] * 4
            ),
        ),
    ],
)
def test_options_without_a_defined_meaning(tmp_path: Path, option: str, build: Build) -> None:
    with pytest.raises(UnsupportedOperatorError, match=option):
        execute(saved(tmp_path, build, [IMAGE]), random(IMAGE))


def test_unknown_operators_are_named_when_loading(tmp_path: Path) -> None:
    package = saved(tmp_path, lambda x: mb.cumsum(x=mb.l2_norm(x=x), axis=1), [IMAGE])
    with pytest.raises(UnsupportedOperatorError, match="cumsum, l2_norm"):
        MLProgram(package)


def test_parameters_that_an_operator_ignores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = saved(tmp_path, lambda x: mb.clip(x=x, alpha=0.0, beta=1.0), [IMAGE])
    monkeypatch.setitem(registry.OPERATORS, "clip", lambda call: call.tensor("x"))
    with pytest.raises(UnsupportedOperatorError, match=r"clip.*unknown options alpha, beta"):
        execute(package, random(IMAGE))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x[:1], r"is \(1, 4, 6, 8\), declared \(2, 4, 6, 8\)"),
        (lambda x: x > 0, r"is torch.bool, declared fp32"),
        (lambda x: x.double(), r"is torch.float64, declared fp32"),
        (lambda x: (x, x), "2 outputs, 1 declared"),
        (lambda x: x @ x, "fails: "),
    ],
)
def test_results_that_contradict_the_declaration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Build, message: str
) -> None:
    package = saved(tmp_path, lambda x: mb.relu(x=x, name="bent"), [IMAGE])
    monkeypatch.setitem(registry.OPERATORS, "relu", lambda call: wrong(call.tensor("x")))
    with pytest.raises(ArtifactError, match=rf"relu \(bent\).*{message}"):
        execute(package, random(IMAGE))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30, 3e9, -1.0, 65536.0])
def test_values_that_an_integer_cannot_hold(tmp_path: Path, value: float) -> None:
    def build(x: Any) -> Any:
        return flags(mb.cast(x=x, dtype="uint16"))

    package = saved(tmp_path, build, [(1,)])
    with pytest.raises(ArtifactError, match="cast"):
        execute(package, [np.array([value], np.float32)])
    assert execute(package, [np.array([65535.9], np.float32)])[0] == 65535


def half_product(x: Any) -> Any:
    return mb.mul(x=mb.cast(x=x, dtype="fp16"), y=np.float16(3))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, np.float16(0.1) * np.float16(3)),  # both the input and the product are rounded
        (683.0, 2048.0),  # 2049 has 12 significant bits
        (21824.0, 65472.0),  # close to the largest finite number, 65504
        (22000.0, math.inf),
        (-22000.0, -math.inf),
        (70000.0, math.inf),
    ],
)
def test_half_precision(tmp_path: Path, value: float, expected: float) -> None:
    package = saved(tmp_path, half_product, [(1,)])
    (result,) = execute(package, [np.array([value], np.float32)])
    assert result.dtype == np.float16
    assert result[0] == expected


def test_half_precision_against_numpy(tmp_path: Path) -> None:
    (x,) = random((1000,))
    package = saved(tmp_path, lambda x: mb.add(x=half_product(x), y=np.float16(0.7)), [(1000,)])
    expected = x.astype(np.float16) * np.float16(3) + np.float16(0.7)
    np.testing.assert_array_equal(execute(package, [x])[0], expected)


def test_half_precision_rounds_large_indices(tmp_path: Path) -> None:
    """What happens to a token index that a float16 program computes with floats."""

    def build(x: Any) -> Any:
        rows = mb.floor_div(x=mb.cast(x=x, dtype="fp16"), y=np.float16(64))
        return mb.cast(x=rows, dtype="int32")

    package = saved(tmp_path, build, [(3,)], dtypes=[types.int32])
    (rows,) = execute(package, [np.array([2047, 4094, 4095], np.int32)])
    assert rows.tolist() == [31, 63, 64]  # not 63: 4095 becomes 4096


class Network(nn.Module):
    """One convolution of 64 → 64 channels, large enough to be compressed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(64, 64, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.conv(x))


def converted(model: nn.Module, inputs: tuple[Tensor, ...], **options: Any) -> Any:
    exported = torch.export.export(model.eval(), inputs).run_decompositions({})
    defaults = {
        "convert_to": "mlprogram",
        "minimum_deployment_target": ct.target.iOS16,
        "compute_precision": ct.precision.FLOAT32,
        "skip_model_load": True,
    }
    return ct.convert(exported, **(defaults | options))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.mlpackage"
    converted(Network(), (torch.zeros(1, 64, 8, 8),), outputs=[ct.TensorType(name="output")]).save(
        str(path)
    )
    return path


def test_package(network: Path) -> None:
    program = MLProgram(network)
    assert program.inputs == {"x": (1, 64, 8, 8)}
    assert program.outputs == ["output"]
    assert program.count_operators() == {"conv": 1, "gelu": 1}
    (x,) = random((1, 64, 8, 8))
    with torch.no_grad():
        expected = Network()(tensor(x)).numpy()
    np.testing.assert_allclose(program.run({"x": x})["output"], expected, atol=TOLERANCE)
    with pytest.raises(ValueError, match="'y'"):
        program.run({"y": x})
    with pytest.raises(ValueError, match=r"x is \(1, 64, 8, 4\)"):
        program.run({"x": x[..., :4]})


@pytest.mark.parametrize("compression", ["linear", "palette"])
def test_compressed_weights(network: Path, tmp_path: Path, compression: str) -> None:
    optimize = pytest.importorskip("coremltools.optimize.coreml")
    if compression == "linear":
        function = optimize.linear_quantize_weights
        config = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    else:
        function = optimize.palettize_weights
        config = optimize.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=0)
    model = ct.models.MLModel(str(network), skip_model_load=True)
    small = function(model, optimize.OptimizationConfig(global_config=config))
    plain = optimize.decompress_weights(small)
    (x,) = random((1, 64, 8, 8))
    outputs = []
    for name, one in (("original", model), ("small", small), ("plain", plain)):
        one.save(str(tmp_path / f"{name}.mlpackage"))
        program = MLProgram(tmp_path / f"{name}.mlpackage")
        assert program.count_operators() == {"conv": 1, "gelu": 1}
        outputs.append(program.run({"x": x})["output"])
    np.testing.assert_array_equal(outputs[1], outputs[2])
    assert (outputs[0] != outputs[1]).any()


def weights(package: Path) -> Path:
    return package / "Data/com.apple.CoreML/weights/weight.bin"


def specification(package: Path) -> Path:
    return package / "Data/com.apple.CoreML/model.mlmodel"


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda package: cut(weights(package)),
        lambda package: os.truncate(weights(package), weights(package).stat().st_size - 1),
        lambda package: os.truncate(weights(package), 0),
        lambda package: weights(package).unlink(),
        lambda package: cut(specification(package)),
        lambda package: os.truncate(specification(package), 0),
        lambda package: specification(package).unlink(),
        lambda package: cut(package / "Manifest.json"),
        lambda package: (package / "Manifest.json").unlink(),
        lambda package: [shutil.rmtree(package), package.mkdir()],
        lambda package: [shutil.rmtree(package), package.write_text("{}")],
        lambda package: shutil.rmtree(package),
    ],
)
def test_damaged_packages(network: Path, tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    package = tmp_path / "damaged.mlpackage"
    shutil.copytree(network, package)
    damage(package)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArtifactError) as error:
        MLProgram(package)
    assert "damaged.mlpackage" in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before  # reading writes nothing


def test_neural_networks_are_not_programs(tmp_path: Path) -> None:
    size = [("x", ct.models.datatypes.Array(3))]
    builder = ct.models.neural_network.NeuralNetworkBuilder(
        size, [("y", size[0][1])], disable_rank5_shape_mapping=True
    )
    builder.add_activation("relu", "RELU", "x", "y")
    ct.models.utils.save_spec(builder.spec, str(tmp_path / "old.mlpackage"))
    with pytest.raises(ArtifactError, match="neuralNetwork, not an ML Program"):
        MLProgram(tmp_path / "old.mlpackage")


def test_flexible_shapes_are_refused(tmp_path: Path) -> None:
    side = ct.RangeDim(8, 16, default=8)
    inputs = [ct.TensorType(name="x", shape=(1, 64, side, 8))]
    traced = torch.jit.trace(Network().eval(), torch.zeros(1, 64, 8, 8))
    model = ct.convert(traced, inputs=inputs, convert_to="mlprogram", skip_model_load=True)
    model.save(str(tmp_path / "flexible.mlpackage"))
    with pytest.raises(ArtifactError, match="flexible shapes"):
        MLProgram(tmp_path / "flexible.mlpackage")


def test_values_are_freed_after_their_last_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(x: Any) -> Any:
        for _ in range(20):
            x = mb.relu(x=x)
        return x

    alive: list[weakref.ref[Tensor]] = []
    counts = []

    def relu(call: registry.Call) -> Tensor:
        counts.append(sum(one() is not None for one in alive))
        result = torch.relu(call.tensor("x"))
        alive.append(weakref.ref(result))
        return result

    monkeypatch.setitem(registry.OPERATORS, "relu", relu)
    (x,) = random(IMAGE)
    (result,) = execute(saved(tmp_path, build, [IMAGE]), [x])
    np.testing.assert_array_equal(result, x.clip(0))
    assert max(counts) == 1  # the argument alone


def test_constant_and_passed_through_outputs(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        doubled = mb.add(x=x, y=x)
        return doubled, mb.identity(x=doubled), mb.relu(x=doubled)

    (x,) = random(IMAGE)
    doubled, same, positive = execute(saved(tmp_path, build, [IMAGE]), [x])
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(same, 2 * x)
    np.testing.assert_array_equal(positive, (2 * x).clip(0))


def test_exported_graph(tmp_path: Path) -> None:
    graph = ExportGraph(untrained(preset_config("mobile", "paper")), 512)
    torch.manual_seed(0)
    image, mask = torch.rand(1, 3, 512, 512), torch.zeros(1, 1, 512, 512)
    mask[..., 100:300, 150:250] = 1
    names = graph.output_names
    model = converted(graph, (image, mask), outputs=[ct.TensorType(name=name) for name in names])
    model.save(str(tmp_path / "graph.mlpackage"))
    outputs = MLProgram(tmp_path / "graph.mlpackage").run(
        {"image": image.numpy(), "mask": mask.numpy()}
    )
    with torch.no_grad():
        expected = dict(zip(names, graph(image, mask), strict=True))
    np.testing.assert_array_equal(outputs["indices"], expected["indices"].numpy())
    np.testing.assert_allclose(outputs["output"], expected["output"].numpy(), atol=TOLERANCE)
