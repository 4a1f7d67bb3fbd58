"""Saved artifacts as recorders, whoever wrote them."""

from pathlib import Path

from rethined_export.converters import installed, target_of
from rethined_export.converters.types import ArtifactError
from rethined_export.tracing.types import Recorder


def recorder(path: Path, threads: int) -> Recorder:
    """An artifact, loaded to run operator by operator.

    Raises:
        ArtifactError: no artifact, a damaged one, or one its runtime refuses.
        UnsupportedOperatorError: with an operator that the runtime does not know.
        MissingConverterError: the packages that run it are not installed.
    """
    target = target_of(path)
    if not path.exists():
        raise ArtifactError(f"{path} does not exist")
    with installed(target):
        if target == "onnx":
            from rethined_export.tracing.onnx import OnnxRecorder

            return OnnxRecorder(path, threads)
        if target == "tflite":
            from rethined_export.tracing.tflite import TfliteRecorder

            return TfliteRecorder(path, threads)
        from rethined_export.tracing.coreml import CoremlRecorder

        return CoremlRecorder(path, threads)
