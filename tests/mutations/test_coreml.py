"""Broken Core ML artifacts are caught by the numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rethined_export.converters.apple import ct, mil
from rethined_export.models.rethined.filters import gaussian_taps
from rethined_export.rewrite.bicubic import BicubicUpsample
from tests.copies import copied, replace_bytes

Mutation = Callable[[Path], None]


def weight_file(package: Path) -> Path:
    """The package's weights."""
    return next(package.rglob("weight.bin"))


def edit_weights(package: Path, old: bytes, new: bytes) -> None:
    """Replace a byte pattern in the weights."""
    data = bytearray(weight_file(package).read_bytes())
    replace_bytes(data, old, new)
    weight_file(package).write_bytes(bytes(data))


def edit_program(package: Path, change: Callable[[list[Any]], None]) -> None:
    """Change the operators of the program."""
    [path] = package.rglob("*.mlmodel")
    spec = ct.utils.load_spec(str(package))
    [block] = spec.mlProgram.functions["main"].block_specializations.values()
    change(list(block.operations))
    path.write_bytes(spec.SerializeToString())


def constant_behind(operations: list[Any], operator: Any, argument: str) -> mil.Value:
    """The constant value an operator's argument refers to."""
    name = operator.inputs[argument].arguments[0].name
    source = next(op for op in operations if op.outputs and op.outputs[0].name == name)
    return source.attributes["val"]


def of_type(operations: list[Any], kind: str) -> list[Any]:
    """Operators of one MIL type, in order."""
    return [operation for operation in operations if operation.type == kind]


def zeroed_weight_block(package: Path) -> None:
    data = bytearray(weight_file(package).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 65536] = bytes(65536)
    weight_file(package).write_bytes(bytes(data))


def sixty_four_bytes_overwritten(package: Path) -> None:
    data = bytearray(weight_file(package).read_bytes())
    middle = len(data) // 2 // 4 * 4
    data[middle : middle + 64] = np.full(16, 2.5, np.float32).tobytes()
    weight_file(package).write_bytes(bytes(data))


def replicate_for_reflect(package: Path) -> None:
    def change(operations: list[Any]) -> None:
        pads = [
            value
            for pad in of_type(operations, "pad")
            if (value := constant_behind(operations, pad, "mode"))
            .immediateValue.tensor.strings.values[0] == "reflect"
        ]  # fmt: skip
        pads[-1].immediateValue.tensor.strings.values[0] = "replicate"

    edit_program(package, change)


def blur_sigma(package: Path) -> None:
    old, new = (np.tile(t.float().numpy(), 3) for t in (gaussian_taps(), gaussian_taps(sigma=2.2)))
    edit_weights(package, old.tobytes(), new.tobytes())


def bicubic_kernel(package: Path) -> None:
    old = BicubicUpsample(2).kernel.numpy()
    edit_weights(package, old.tobytes(), np.roll(old, 1, axis=3).tobytes())


def sigmoid_to_tanh(package: Path) -> None:
    def change(operations: list[Any]) -> None:
        of_type(operations, "sigmoid")[-1].type = "tanh"

    edit_program(package, change)


def align_corners(package: Path) -> None:
    def change(operations: list[Any]) -> None:
        resize = of_type(operations, "upsample_bilinear")[0]
        value = constant_behind(operations, resize, "align_corners")
        value.immediateValue.tensor.bools.values[0] = True

    edit_program(package, change)


def mask_polarity(package: Path) -> None:
    def change(operations: list[Any]) -> None:
        first = next(op for op in of_type(operations, "sub") if _reads(op, "mask"))
        first.type = "add"

    edit_program(package, change)


def _reads(operation: Any, name: str) -> bool:
    return any(
        argument.name == name for given in operation.inputs.values() for argument in given.arguments
    )


@pytest.mark.parametrize(
    "mutate",
    [
        zeroed_weight_block,
        sixty_four_bytes_overwritten,
        replicate_for_reflect,
        blur_sigma,
        bicubic_kernel,
        sigmoid_to_tanh,
        align_corners,
        mask_polarity,
    ],
)
def test_mutation_is_caught(
    mutate: Mutation, exported: Path, tmp_path: Path, judge: Callable[[Path], int]
):
    [artifact] = exported.glob("*.mlpackage")
    copy = copied(artifact, tmp_path)
    mutate(copy)
    assert judge(copy) == 3


def test_truncated_weights_are_refused(
    exported: Path, tmp_path: Path, judge: Callable[[Path], int]
):
    [artifact] = exported.glob("*.mlpackage")
    copy = copied(artifact, tmp_path)
    path = weight_file(copy)
    path.write_bytes(path.read_bytes()[:-100_000])
    assert judge(copy) == 2


def test_unknown_operator_is_named(
    exported: Path, tmp_path: Path, judge: Callable[[Path], int], capsys: pytest.CaptureFixture[str]
):
    [artifact] = exported.glob("*.mlpackage")
    copy = copied(artifact, tmp_path)

    def change(operations: list[Any]) -> None:
        of_type(operations, "sigmoid")[-1].type = "sinh"

    edit_program(copy, change)
    assert judge(copy) == 5
    assert "sinh" in capsys.readouterr().err
