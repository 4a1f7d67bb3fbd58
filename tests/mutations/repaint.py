"""What breaks an ONNX artifact of RePaint: one step, by a network of 64 channels at its bottom."""

from collections.abc import Callable

import numpy as np
import onnx

from tests.mutations.test_onnx import change, mask_polarity, nodes
from tests.mutations.twostage import constant

#: Columns of the table before the waves of the time.
_FORMULAS = 9


def table(model: onnx.ModelProto, how: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change what stands in the table, a row a level."""
    change(model, "rows", how)


def sines_first(model: onnx.ModelProto) -> None:
    """As other diffusion networks have the waves."""

    def swapped(rows: np.ndarray) -> np.ndarray:
        cosines, sines = np.split(rows[:, _FORMULAS:], 2, axis=1)
        return np.concatenate([rows[:, :_FORMULAS], sines, cosines], axis=1)

    table(model, swapped)


def schedule_a_level_off(model: onnx.ModelProto) -> None:
    table(model, lambda rows: np.roll(rows, 1, axis=0))


def _column(model: onnx.ModelProto, place: int, how: Callable[[np.ndarray], np.ndarray]) -> None:
    def changed(rows: np.ndarray) -> np.ndarray:
        made = rows.copy()
        made[:, place] = how(rows[:, place])
        return made

    table(model, changed)


def variance_for_its_root(model: onnx.ModelProto) -> None:
    """Known pixels noised without the square root, as a paper that cites it has the line."""
    _column(model, 1, np.square)


def only_the_least_variance(model: onnx.ModelProto) -> None:
    """As though the network had not learned it."""
    table(model, lambda rows: np.concatenate([rows[:, :6], rows[:, [7, 7]], rows[:, 8:]], axis=1))


def no_noise_below(model: onnx.ModelProto) -> None:
    _column(model, 8, np.zeros_like)


def guess_not_clamped(model: onnx.ModelProto) -> None:
    (clip,) = nodes(model, "Clip")
    constant(model, clip, 2, np.array(1.5))


def heads_within_the_three(model: onnx.ModelProto) -> None:
    """Queries of all heads, then keys, then values: the newer order of the same code."""

    def reordered(weight: np.ndarray) -> np.ndarray:
        split = weight.reshape(4, 3, 16, *weight.shape[1:])
        return split.swapaxes(0, 1).reshape(weight.shape)

    change(model, "middle_block.1.qkv.weight", reordered)


def larger_epsilon(model: onnx.ModelProto) -> None:
    """1e-3 for 1e-5, in all norms."""
    for root in nodes(model, "Sqrt"):
        added = next(node for node in nodes(model, "Add") if node.output[0] == root.input[0])
        place = 1 if added.input[1] in {x.name for x in model.graph.initializer} else 0
        constant(model, added, place, np.array(1e-3))


def enlarged_smoothly(model: onnx.ModelProto) -> None:
    resize = nodes(model, "Resize")[-1]
    next(a for a in resize.attribute if a.name == "mode").s = b"linear"


def skip_before_map(model: onnx.ModelProto) -> None:
    """Of the last block, whose two halves have as many channels each."""
    join = nodes(model, "Concat")[-1]
    join.input[:] = join.input[::-1]


MUTATIONS = [
    mask_polarity,
    sines_first,
    schedule_a_level_off,
    variance_for_its_root,
    only_the_least_variance,
    no_noise_below,
    guess_not_clamped,
    heads_within_the_three,
    larger_epsilon,
    enlarged_smoothly,
    skip_before_map,
]
