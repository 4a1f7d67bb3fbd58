"""A broken push–pull fill in an artifact of the shipped weights is caught by the numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.copies import copied
from tests.mutations.test_onnx import Mutation, nodes, store


def less_trust(model: onnx.ModelProto) -> None:
    """Cells lean on the coarser level until an eighth is known, not a sixteenth."""
    found = 0
    for stored in model.graph.initializer:
        values = numpy_helper.to_array(stored)
        for old, new in ((16, 8), (1 / 16, 1 / 8)):
            if values.dtype == np.float32 and values.size == 1 and values.item() == old:
                store(stored, np.full_like(values, new))
                found += 1
    assert found, "no such constant"


def border_counts_as_black(model: onnx.ModelProto) -> None:
    """Smoothing takes zeros beyond the image's border into its means."""
    smoothing = [
        node
        for node in nodes(model, "AveragePool")
        if any(a.name == "kernel_shape" and list(a.ints) == [3, 3] for a in node.attribute)
    ]
    assert smoothing
    for node in smoothing:
        kept = [a for a in node.attribute if a.name != "count_include_pad"]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("count_include_pad", 1)])


def nearest_for_bilinear(model: onnx.ModelProto) -> None:
    """Coarser levels are enlarged in blocks."""
    for node in nodes(model, "Resize"):
        for attribute in node.attribute:
            if attribute.name == "mode":
                attribute.s = b"nearest"


@pytest.mark.parametrize("mutation", [less_trust, border_counts_as_black, nearest_for_bilinear])
def test_mutation_is_caught(
    mutation: Mutation, onnx_512: Path, tmp_path: Path, judge: Callable[[Path], int]
) -> None:
    artifact = copied(onnx_512, tmp_path / "copy")
    model = onnx.load(artifact)
    mutation(model)
    onnx.save(model, artifact)
    assert judge(artifact) == 3


def test_the_artifact_itself_passes(onnx_512: Path, judge: Callable[[Path], int]) -> None:
    assert judge(onnx_512) == 0
