"""ML Programs as graphs: read from the specification alone, so that any operator will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rethined_export.converters.apple import mil
from rethined_export.converters.mil.reading import FUNCTION, open_package
from rethined_export.converters.types import ArtifactError
from rethined_export.lint.graph import Graph, Operator, Shape, Value, product, times

_SMALL = 64
#: Operators whose multiply-adds depend on more than shapes that are looked at here.
_UNCOUNTED = ("einsum", "gru", "lstm", "rnn", "scaled_dot_product_attention")
#: Kinds of immediate values, in the specification's spelling.
_HELD = ("floats", "ints", "bools", "strings", "longInts", "doubles")


def read(path: Path) -> Graph:
    """The main function of an ``.mlpackage``.

    Raises:
        ArtifactError: not a package, not an ML Program, or a damaged one.
    """
    spec, _ = open_package(path)
    function = spec.mlProgram.functions[FUNCTION]
    try:
        return _graph(function, function.block_specializations[function.opset].operations)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error


def _graph(function: Any, operations: Any) -> Graph:
    values = {entry.name: _declared(entry) for entry in function.inputs}
    operators = []
    for operation in operations:
        constant = operation.type == "const" or operation.type.startswith("constexpr_")
        for output in operation.outputs:
            held = operation.attributes["val"] if operation.type == "const" else None
            values[output.name] = _declared(output, held, constant=constant)
        if not constant:
            operators.append(_operator(operation, values))
    notes = []
    if any(None in (value.shape or ()) for value in values.values()):
        notes.append("some shapes are left open in the file, so rules on shapes cannot be decided")
    return Graph("coreml", tuple(operators), tuple(notes))


def _declared(entry: Any, held: Any = None, *, constant: bool = False) -> Value:
    """A named value with the type that the file gives it."""
    if entry.type.WhichOneof("type") != "tensorType":
        return Value(entry.name, constant=constant)
    tensor = entry.type.tensorType
    shape: Shape = tuple(
        size.constant.size if size.WhichOneof("dimension") == "constant" else None
        for size in tensor.dimensions
    )
    dtype = mil.DataType.Name(tensor.dataType).lower()
    return Value(entry.name, dtype, shape, constant, None if held is None else _immediate(held))


def _immediate(held: Any) -> tuple[Any, ...] | None:
    """Elements of a small constant that stands in the specification itself."""
    tensor = held.immediateValue.tensor
    kind = tensor.WhichOneof("value")
    if kind not in _HELD:
        return None
    found = tuple(getattr(tensor, kind).values)
    return found if len(found) <= _SMALL else None


def _operator(operation: Any, values: dict[str, Value]) -> Operator:
    parameters: dict[str, list[Value]] = {}
    for key, argument in sorted(operation.inputs.items()):
        parameters[key] = [
            values[one.name]
            if one.WhichOneof("binding") == "name"
            else Value("", constant=True, data=_immediate(one.value))
            for one in argument.arguments
        ]
    attributes = {
        key: _plain(given[0].data)
        for key, given in parameters.items()
        if len(given) == 1 and given[0].data is not None
    }
    written = tuple(values[output.name] for output in operation.outputs)
    return Operator(
        operation.type,
        written[0].name if written else "",
        tuple(value for given in parameters.values() for value in given),
        written,
        attributes,
        _multiply_adds(operation.type, parameters, written, attributes),
        nested=bool(operation.blocks),
        roles=tuple(key for key, given in parameters.items() for _ in given),
    )


def _plain(data: tuple[Any, ...]) -> Any:
    """A single element as itself."""
    return data[0] if len(data) == 1 else data


def _multiply_adds(
    kind: str,
    parameters: dict[str, list[Value]],
    written: tuple[Value, ...],
    attributes: dict[str, Any],
) -> int | None:
    """Each output element costs one for each weight, or element of a row, that it sees."""
    if kind in _UNCOUNTED:
        return None
    if kind not in ("conv", "conv_transpose", "linear", "matmul"):
        return 0
    image, made = parameters["x"][0].shape, product(written[0].shape)
    if kind == "matmul":
        return times(made, image[-2 if attributes.get("transpose_x") else -1]) if image else None
    weight = parameters["weight"][0].shape
    if not weight:
        return None
    if kind == "conv_transpose":  # weights [in, out / groups, ...]
        return times(product(image), *weight[1:])
    return times(made, *weight[1:])  # weights [out, in / groups, ...]
