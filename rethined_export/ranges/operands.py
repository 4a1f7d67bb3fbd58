"""What an operator computes with and along which axes, whatever the format."""

from __future__ import annotations

from rethined_export.lint.graph import Operator, Value

#: Parameters of ML Programs that are operands, in the order other formats have them.
_ROLES = ("cond", "a", "b", "x", "y", "weight", "bias", "values")
#: TFLite's transposed convolution is told the size it makes first, and the image last.
_ORDER = {"TRANSPOSE_CONV": (2, 1, 3)}


def operands(operator: Operator) -> list[Value]:
    """Its image, weight and bias, its two sides, or its list; without sizes, axes and the like."""
    if operator.roles:
        pairs = zip(operator.roles, operator.inputs, strict=True)
        known = [(_ROLES.index(role), value) for role, value in pairs if role in _ROLES]
        return [value for _, value in sorted(known, key=lambda pair: pair[0]) if value is not None]
    places = _ORDER.get(operator.kind, range(len(operator.inputs)))
    chosen = [operator.inputs[place] for place in places if place < len(operator.inputs)]
    return [value for value in chosen if value is not None]


def axes(operator: Operator, rank: int) -> tuple[int, ...]:
    """Axes that a reduction or a normalisation goes over; all where none are named."""
    if operator.kind in _SPATIAL:
        return tuple(range(2, rank))
    if operator.kind == "LayerNormalization":
        return tuple(range(int(operator.attributes.get("axis", -1)) % rank, rank))
    found = operator.attributes.get("axes", ())
    if not operator.roles and len(operator.inputs) > 1:
        second = operator.inputs[1]
        found = second.data if second is not None and second.data is not None else found
    named = found if isinstance(found, tuple) else (found,)
    return tuple(int(axis) % rank for axis in named) or tuple(range(rank))


#: Kinds that go over all axes behind batch and channels without naming them.
_SPATIAL = ("GlobalAveragePool", "InstanceNormalization", "instance_norm")
