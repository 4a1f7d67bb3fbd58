"""What a timed inference is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rethined_export.benchmarks import subjects


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_pictures_lie_in_memory_as_the_artifact_reads_them(
    onnx_512: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the runtime, or the way to it, copies them while the inference is timed."""
    seen = []

    def run(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        seen.extend(inputs.values())
        return {"output": np.zeros((1, 3, 512, 512), np.float32)}

    @contextmanager
    def load(_path: Path, _threads: int) -> Iterator[object]:
        yield run

    monkeypatch.setattr(subjects, "target_of", lambda _: target)
    monkeypatch.setattr(subjects, "converter", lambda _: SimpleNamespace(load=load))
    with subjects.subject(onnx_512, 1) as fill:
        parts = fill()
    assert parts.total > 0
    for value in seen:
        own = value.transpose(0, 2, 3, 1) if target == "tflite" else value
        assert own.flags.c_contiguous
