"""The conditions that a rule may ask for: each is true, false, or cannot be told (None)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rethined_export.lint.graph import Operator, Value

Answer = bool | None


def holds(when: dict[str, Any], operator: Operator) -> Answer:
    """Whether all conditions hold; one that fails settles it, whatever cannot be told."""
    answers = [CONDITIONS[name](operator, wanted) for name, wanted in when.items()]
    if False in answers:
        return False
    return None if None in answers else True


def _any(answers: Iterable[Answer]) -> Answer:
    found = list(answers)
    if True in found:
        return True
    return None if None in found else False


def _dtype(operator: Operator, wanted: list[str]) -> Answer:
    return _any(value.dtype in wanted if value.dtype else None for value in operator.flowing)


def _dtype_not(operator: Operator, wanted: list[str]) -> Answer:
    return _any(value.dtype not in wanted if value.dtype else None for value in operator.flowing)


def _output_dtype_not(operator: Operator, wanted: list[str]) -> Answer:
    return _any(value.dtype not in wanted if value.dtype else None for value in operator.outputs)


def _input_dtype(operator: Operator, wanted: dict[str, list[str]]) -> Answer:
    """Whether inputs, constants included, have one of these types each."""
    answers: list[Answer] = []
    for place, dtypes in wanted.items():
        value = _input(operator, int(place))
        answers.append(None if value is None or not value.dtype else value.dtype in dtypes)
    return False if False in answers else None if None in answers else True


def _rank_over(operator: Operator, limit: int) -> Answer:
    return _any(_rank(value, lambda rank: rank > limit) for value in operator.flowing)


def _rank_under(operator: Operator, limit: int) -> Answer:
    return _any(_rank(value, lambda rank: rank < limit) for value in operator.flowing)


def _rank(value: Value, test: Callable[[int], bool]) -> Answer:
    return None if value.shape is None else test(len(value.shape))


def _open_shape(operator: Operator, wanted: bool) -> Answer:
    open_ = any(value.shape is None or None in value.shape for value in operator.flowing)
    return open_ == wanted


def _size_over(operator: Operator, limit: int) -> Answer:
    return _any(
        None if value.shape is None else any(size is not None and size > limit
                                             for size in value.shape)
        for value in operator.flowing
    )  # fmt: skip


def _inputs_over(operator: Operator, limit: int) -> Answer:
    return len(operator.given) > limit


def _inputs_under(operator: Operator, limit: int) -> Answer:
    return len(operator.given) < limit


def _outputs_over(operator: Operator, limit: int) -> Answer:
    return len(operator.outputs) > limit


def _input(operator: Operator, place: int) -> Value | None:
    return operator.inputs[place] if place < len(operator.inputs) else None


def _variable(operator: Operator, place: int) -> Answer:
    value = _input(operator, place)
    return value is not None and not value.constant


def _absent(operator: Operator, place: int) -> Answer:
    return _input(operator, place) is None


def _attribute(operator: Operator, wanted: dict[str, list[Any]]) -> Answer:
    return all(operator.attributes.get(name) in values for name, values in wanted.items())


def _attribute_not(operator: Operator, wanted: dict[str, list[Any]]) -> Answer:
    return any(
        name in operator.attributes and not _among(operator.attributes[name], values)
        for name, values in wanted.items()
    )


def _among(found: Any, values: list[Any]) -> bool:
    """Whether an attribute, or every element of one that is a vector, is among values."""
    elements = found if isinstance(found, tuple) else (found,)
    return all(element in values for element in elements)


def _element_not(operator: Operator, wanted: dict[str, list[Any]]) -> Answer:
    return _any(_outside(_input(operator, int(place)), values) for place, values in wanted.items())


def _outside(value: Value | None, values: list[Any]) -> Answer:
    if value is None:
        return False
    return None if value.data is None else any(element not in values for element in value.data)


def _input_rank_not(operator: Operator, wanted: dict[str, list[int]]) -> Answer:
    return _any(
        False if (value := _input(operator, int(place))) is None
        else _rank(value, lambda rank, ranks=ranks: rank not in ranks)  # type: ignore[misc]
        for place, ranks in wanted.items()
    )  # fmt: skip


def _rows_not(operator: Operator, wanted: dict[str, list[int]]) -> Answer:
    """Whether the first size of an input is none of those."""
    answers: list[Answer] = []
    for place, sizes in wanted.items():
        value = _input(operator, int(place))
        known = value is not None and bool(value.shape)
        answers.append(value.shape[0] not in sizes if known and value and value.shape else None)
    return _any(answers)


def _nested(operator: Operator, wanted: bool) -> Answer:
    return operator.nested == wanted


#: By the name that tables use; ``docs/lint.md`` explains them.
CONDITIONS: dict[str, Callable[[Operator, Any], Answer]] = {
    "dtype": _dtype,
    "dtype_not": _dtype_not,
    "output_dtype_not": _output_dtype_not,
    "input_dtype": _input_dtype,
    "rank_over": _rank_over,
    "rank_under": _rank_under,
    "size_over": _size_over,
    "open_shape": _open_shape,
    "inputs_over": _inputs_over,
    "inputs_under": _inputs_under,
    "outputs_over": _outputs_over,
    "variable": _variable,
    "absent": _absent,
    "attribute": _attribute,
    "attribute_not": _attribute_not,
    "element_not": _element_not,
    "input_rank_not": _input_rank_not,
    "rows_not": _rows_not,
    "nested": _nested,
}
