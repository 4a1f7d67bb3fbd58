"""Narrow networks as artifacts: converted, loaded, compared with torch, and what is in them."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import onnx
from torch import nn

from rethined_export.converters import TARGETS, converter
from rethined_export.converters.types import Runner
from rethined_export.parity.report import check_parity
from rethined_export.recipes.options import Options
from rethined_export.recipes.types import Recipe, Reference

#: What converters write for operators that no delegate takes, or that run outside the runtime.
UNWANTED = {
    "onnx": {"GatherND", "ScatterND", "ScatterElements", "EyeLike", "Range", "Col2Im"},
    "tflite": {"GATHER_ND", "EMBEDDING_LOOKUP", "SCATTER_ND", "RANGE", "CUSTOM"},
    "coreml": {"gather_nd", "scatter_nd", "scatter", "range_1d", "gather_along_axis"},
}
#: Bytes of the largest constant that is no weight.
LARGEST_CONSTANT = 4 << 20

Write = Callable[[str, str, Path], None]


def made(write: Write, target: str, part: str, folder: Path) -> Path:
    """The artifact of a part, written in a process of its own: onnxsim needs one without sessions.

    Args:
        write: of target, part and path; at the top of a module that is light to import.
    """
    path = folder / f"{part}{TARGETS[target].suffix}"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(write, target, part, path).result()
    return path


def assert_equals_torch(
    recipe: Recipe, options: Options, model: nn.Module, target: str, paths: dict[str, Path]
) -> None:
    """On one photo, through the caller; known pixels bit for bit."""
    judge = recipe.judge(options, Reference(model, "untrained", ""))
    scene = next(iter(recipe.scenes(options, None, None)))
    programs: dict[str, Runner] = {
        part: converter(target).load(path, 1) for part, path in paths.items()
    }
    report = check_parity(judge, recipe.caller(options, programs), "", [scene])
    assert not report.failures


def assert_plain_operators(target: str, path: Path, module: nn.Module) -> None:
    """Nothing unwanted, and no large constants but weights.

    Args:
        module: what was exported.
    """
    assert not UNWANTED[target] & set(converter(target).count_operators(path))
    if target == "onnx":
        weights = {tuple(parameter.shape) for parameter in module.parameters()}
        for stored in onnx.load(path).graph.initializer:
            if tuple(stored.dims) not in weights:
                assert stored.ByteSize() <= LARGEST_CONSTANT, stored.name
