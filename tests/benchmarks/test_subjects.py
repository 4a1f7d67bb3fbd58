"""What a timed inference is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rethined_export.benchmarks import subjects
from rethined_export.deployed import Deployed
from rethined_export.photo.window import Window
from rethined_export.spec import default_spec


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_pictures_lie_in_memory_as_the_artifact_reads_them(
    onnx_512: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the runtime, or the way to it, copies them while the inference is timed."""
    seen = []
    spec = default_spec(Window.square(512), target)

    def run(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        seen.extend(inputs.values())
        return {"output": np.zeros((1, 3, 512, 512), np.float32)}

    @contextmanager
    def load(_path: Path, _threads: int) -> Iterator[object]:
        yield Deployed(spec, {"whole": run}, 1)

    monkeypatch.setattr(subjects, "deployed", load)
    with subjects.subject(onnx_512, 1) as fill:
        parts = fill()
    assert parts.total > 0
    for value in seen:
        own = value.transpose(0, 2, 3, 1) if target == "tflite" else value
        assert own.flags.c_contiguous


def test_the_timed_hole_lies_where_the_artifact_fills():
    """Some of it, or nothing would be timed."""
    _, hole = subjects.noise_photo(Window.square(128))
    part = subjects.in_middle(hole, 56)
    assert part.any()
    assert part.sum() < hole.sum()
    assert np.array_equal(part[36:92, 36:92], hole[36:92, 36:92])
    assert part.sum() == part[36:92, 36:92].sum()
    assert subjects.in_middle(hole, None) is hole
