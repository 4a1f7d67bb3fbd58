"""Torch programs: the graph that is exported, run node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from rethined_export.converters.diagnosis import place_of
from rethined_export.converters.types import Array, Program
from rethined_export.lint.graph import Graph, Operator, Value
from rethined_export.tracing.types import Keep, Wanted


class ProgramRecorder:
    """A torch program (see :class:`~rethined_export.tracing.types.Recorder`).

    An operator's attribute ``place`` is where it stands in the source, as
    :func:`~rethined_export.converters.diagnosis.place_of` tells it.
    """

    runtime = "torch"

    def __init__(self, program: Program) -> None:
        with torch.no_grad():
            exported = torch.export.export(program.module, tuple(program.inputs.values()))
            self._module = exported.run_decompositions({}).module(check_guards=False)
        nodes = list(self._module.graph.nodes)
        self.graph = Graph("torch", tuple(_operator(n) for n in nodes if n.op == "call_function"))
        self.takes: Mapping[str, Wanted] = {
            info.name: Wanted(info.shape, info.dtype) for info in program.takes
        }
        self.reads: Mapping[str, str] = {name: name for name in self.takes}
        (results,) = (node.args[0] for node in nodes if node.op == "output")
        results = results if isinstance(results, list | tuple) else (results,)
        self.gives: Mapping[str, str] = {
            name: node.name for name, node in zip(program.outputs, results, strict=True)
        }

    def record(self, inputs: Mapping[str, Array], keep: Keep) -> None:
        """Run it once; views are kept as what they show."""
        given = [torch.as_tensor(inputs[name]) for name in self.takes]
        with torch.no_grad():
            _Interpreter(self._module, keep).run(*given)

    def constants(self) -> Iterator[tuple[str, Array]]:
        """None: what a torch program stores is not looked at."""
        return iter(())


class _Interpreter(Interpreter):
    def __init__(self, module: torch.nn.Module, keep: Keep) -> None:
        super().__init__(module)
        self._keep = keep

    def run_node(self, node: Node) -> Any:
        result = super().run_node(node)
        if node.op in ("call_function", "placeholder") and isinstance(result, Tensor):
            self._keep(node.name, result.numpy())
        return result


def _operator(node: Node) -> Operator:
    read = tuple(
        Value(one.name, constant=one.op == "get_attr", shape=_shape(one))
        for one in node.all_input_nodes
    )
    written = Value(node.name, _dtype(node), _shape(node))
    kind = str(node.target).removesuffix(".default")
    return Operator(kind, node.name, read, (written,), {"place": place_of(node).strip()})


def _shape(node: Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _dtype(node: Node) -> str:
    value = node.meta.get("val")
    return str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else ""
