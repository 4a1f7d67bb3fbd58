"""A loss and its gradients: kernels launched one by one, or recorded once and replayed.

Forward and backward pass are 2000 small kernels. An H100 ran them in 21 ms and waited for their
launch for another 42; a recording is launched whole.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

#: Passes before recording, in which libraries choose and load what they will run.
_BEFORE = 3


class Differentiated:
    """A loss whose gradients are put where an optimiser looks for them.

    Args:
        run: of tensors, each always of one shape, to the loss and whatever else it gives.
        parameters: what gradients are wanted of.
        recorded: replay the kernels of the first call. That asks for a GPU, and for a ``run`` that
            neither waits for a value nor does anything but launch kernels.
    """

    def __init__(
        self,
        run: Callable[..., tuple[Tensor, ...]],
        parameters: Iterable[nn.Parameter],
        recorded: bool,
    ) -> None:
        self._run, self._parameters, self._recorded = run, list(parameters), recorded
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, ...] = ()
        self._gradients: list[Tensor | None] = []

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What ``run`` gives; a recording's outputs are overwritten by the next call."""
        if not self._recorded:
            return self._eager(inputs)
        if self._graph is None:
            self._graph = self._record(inputs)
        torch._foreach_copy_(list(self._inputs), list(inputs))
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._outputs

    def _eager(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for parameter in self._parameters:
            parameter.grad = None
        outputs = self._run(*inputs)
        outputs[0].backward()  # type: ignore[no-untyped-call]
        return tuple(output.detach() for output in outputs)

    def _record(self, inputs: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_BEFORE):
                self._eager(self._inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Only this thread's mistakes count: others may look after memory meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._outputs = self._eager(self._inputs)
        self._gradients = [parameter.grad for parameter in self._parameters]
        return graph
