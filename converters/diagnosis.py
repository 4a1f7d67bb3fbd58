"""Why a program does not convert: the operators in it that a target is known to refuse."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from rethined_export.converters.types import Program

#: Where torch's own modules lie.
_TORCH = str(Path(torch.__file__).parent)
#: Lines that a message names at most.
_MOST = 3


@dataclass(frozen=True)
class Pitfall:
    """One operator that some targets refuse, or get wrong.

    Attributes:
        operator: name in a graph of ``torch.export``, without its overload.
        does: what becomes of it. instead: what to use. when: only then; empty: always.
    """

    operator: str
    targets: tuple[str, ...]
    does: str
    instead: str
    when: str = ""


def pitfalls() -> list[Pitfall]:
    """All that are known (``pitfalls.toml``)."""
    text = (resources.files("rethined_export.converters") / "pitfalls.toml").read_text()
    entries = tomllib.loads(text)["pitfall"]
    return [Pitfall(**{**entry, "targets": tuple(entry["targets"])}) for entry in entries]


def diagnose(program: Program, target: str) -> str:
    """Operators of a program that a target is known to refuse, and where they stand; or empty.

    A program that ``torch.export`` itself refuses has no operators to look at.
    """
    try:
        exported = torch.export.export(program.module, tuple(program.inputs.values()))
    except Exception:
        return ""
    known = [pitfall for pitfall in pitfalls() if target in pitfall.targets]
    found: list[str] = []
    for node in exported.graph.nodes:
        for pitfall in known:
            if _is(node, pitfall):
                line = f"{pitfall.operator} {pitfall.does} by {target}{place_of(node)}; use "
                found.append(line + pitfall.instead)
    unique = list(dict.fromkeys(found))
    rest = f" (and {len(unique) - _MOST} more)" if len(unique) > _MOST else ""
    return " | ".join(unique[:_MOST]) + rest


def _is(node: Any, pitfall: Pitfall) -> bool:
    if node.op != "call_function":
        return False
    name = str(node.target).split(".")
    if ".".join(name[:2]) != pitfall.operator:
        return False
    return not pitfall.when or _CONDITIONS[pitfall.when](node)


def _shrinks(node: Any) -> bool:
    before, after = node.args[0].meta["val"].shape, node.meta["val"].shape
    return bool(after[-1] < before[-1])


def _pads_its_output(node: Any) -> bool:
    # input, weight, bias, stride, padding, output_padding
    given = node.args[5] if len(node.args) > 5 else 0
    return bool(torch.as_tensor(given).any())


def _computes_its_kernel(node: Any) -> bool:
    return bool(node.args[1].op != "placeholder")


def _selects_by_a_mask(node: Any) -> bool:
    places = [place for place in node.args[1] if place is not None]
    return any(place.meta["val"].dtype == torch.bool for place in places)


def _of_a_convolution(node: Any) -> bool:
    return bool(node.args[0].op == "call_function" and "conv" in str(node.args[0].target))


_CONDITIONS: dict[str, Callable[[Any], bool]] = {
    "shrinks": _shrinks,
    "pads its output": _pads_its_output,
    "computes its kernel": _computes_its_kernel,
    "selects by a mask": _selects_by_a_mask,
    "a convolution": _of_a_convolution,
}


def place_of(node: Any) -> str:
    """Where a node comes from, in the user's code and not in torch's: ``at file, line (text)``.

    Empty where torch does not say; else it begins with a space.
    """
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    frames = [i for i, line in enumerate(lines) if line.startswith("File ")]
    own = [i for i in frames if _TORCH not in lines[i]]
    if not frames:
        return ""
    last = (own or frames)[-1]
    file, line, *_ = lines[last].split(", ")
    code = f" ({lines[last + 1]})" if last + 1 < len(lines) else ""
    return f" at {Path(file.removeprefix('File ').strip(chr(34))).name}, {line}{code}"
