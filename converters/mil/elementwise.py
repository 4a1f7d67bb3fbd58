"""Operators that treat each element alone, with NumPy's broadcasting."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.converters.mil.registry import Call, Operator, operator
from rethined_export.converters.types import ArtifactError


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    """``(x) -> same shape``."""
    return lambda call: function(call.tensor("x"))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """``(x, y) -> broadcast shape``."""
    return lambda call: function(call.tensor("x"), call.tensor("y"))


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "abs": torch.abs,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "relu": torch.relu,
    "relu6": lambda x: torch.clamp(x, 0, 6),
    "round": torch.round,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": F.silu,
    "sin": torch.sin,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros(())),
    "softsign": F.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tanh": torch.tanh,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "floor_div": torch.floor_divide,
    "mod": torch.remainder,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}
for _kind, _one in _UNARY.items():
    operator(_kind)(_unary(_one))
for _kind, _two in _BINARY.items():
    operator(_kind)(_binary(_two))


@operator("real_div")
def real_div(call: Call) -> Tensor:
    """``(x, y) -> broadcast shape``; Core ML does not say how integers are rounded."""
    x, y = call.tensor("x"), call.tensor("y")
    if not x.is_floating_point():
        call.unsupported("division of integers")
    return x / y


@operator("clip")
def clip(call: Call) -> Tensor:
    """``(x, alpha, beta)``: limited to [alpha, beta]."""
    return torch.clamp(call.tensor("x"), call.tensor("alpha"), call.tensor("beta"))


@operator("threshold")
def threshold(call: Call) -> Tensor:
    """``(x, alpha)``: max(x, alpha)."""
    return torch.maximum(call.tensor("x"), call.tensor("alpha"))


@operator("rsqrt")
def rsqrt(call: Call) -> Tensor:
    """``(x, epsilon)``: 1 / sqrt(x + epsilon)."""
    return torch.rsqrt(call.tensor("x") + call.tensor("epsilon"))


@operator("inverse")
def inverse(call: Call) -> Tensor:
    """``(x, epsilon)``: 1 / (x + epsilon)."""
    return 1 / (call.tensor("x") + call.tensor("epsilon"))


@operator("log")
def log(call: Call) -> Tensor:
    """``(x, epsilon)``: log(x + epsilon)."""
    return torch.log(call.tensor("x") + call.tensor("epsilon"))


@operator("gelu")
def gelu(call: Call) -> Tensor:
    """``(x, mode)``: EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION."""
    x, mode = call.tensor("x"), call.text("mode")
    if mode == "EXACT":
        return F.gelu(x)
    if mode == "TANH_APPROXIMATION":
        return F.gelu(x, approximate="tanh")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return call.unsupported(f"mode {mode}")


@operator("leaky_relu")
def leaky_relu(call: Call) -> Tensor:
    """``(x, alpha)``: x, or alpha·x where x < 0."""
    return F.leaky_relu(call.tensor("x"), call.number("alpha"))


@operator("elu")
def elu(call: Call) -> Tensor:
    """``(x, alpha)``: x, or alpha·(e^x - 1) where x < 0."""
    return F.elu(call.tensor("x"), call.number("alpha"))


@operator("prelu")
def prelu(call: Call) -> Tensor:
    """``(x [n, C, ...], alpha [C])``: x, or alpha·x where x < 0."""
    return F.prelu(call.tensor("x"), call.tensor("alpha"))


@operator("linear_activation")
def linear_activation(call: Call) -> Tensor:
    """``(x, alpha, beta)``: alpha·x + beta."""
    return call.tensor("x") * call.tensor("alpha") + call.tensor("beta")


@operator("sigmoid_hard")
def sigmoid_hard(call: Call) -> Tensor:
    """``(x, alpha, beta)``: alpha·x + beta limited to [0, 1]."""
    return torch.clamp(linear_activation(call), 0, 1)


@operator("cast")
def cast(call: Call) -> Tensor:
    """``(x, dtype)``: a new type; the interpreter rounds to fp16 and checks integer ranges."""
    x, dtype = call.tensor("x"), call.text("dtype")
    if dtype in ("fp16", "fp32"):
        return x.to(torch.float32)
    if dtype == "bool":
        return x != 0
    # What NaN and values beyond the integer type become differs between processors.
    if x.is_floating_point() and x.numel() and not x.abs().max() < 2**32:
        raise ArtifactError(f"cast ({call.name}): values that {dtype} cannot hold")
    return x.to(torch.int64)


@operator("select")
def select(call: Call) -> Tensor:
    """``(cond, a, b)``: a where cond, else b, broadcast."""
    return torch.where(call.tensor("cond"), call.tensor("a"), call.tensor("b"))


@operator("softmax")
def softmax(call: Call) -> Tensor:
    """``(x, axis) -> same shape``."""
    return torch.softmax(call.tensor("x"), call.integer("axis"))
