"""HiFill's generator: a coarse network at half size, and a refining one with attention.

"Contextual Residual Aggregation for Ultra High-Resolution Image Inpainting", arXiv 2005.09704.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rethined_export.models.deepfill.layers import same_pad
from rethined_export.models.hifill.attention import ContextualAttention
from rethined_export.models.hifill.config import HiFillConfig
from rethined_export.models.hifill.enlarge import enlarged
from rethined_export.models.seeded import seeded

#: Channels of the input: three colours, and the mask.
INPUTS = 4
#: Of the coarse network's layers in the middle.
DILATIONS = (1, 1, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 8, 8)
#: Of the refining one's before attention.
REFINING_DILATIONS = (1, 2, 4, 8, 16)
#: Of the kernels, where weights that follow from the tensors' names stand in for trained ones.
_COARSE_GAIN, _REFINING_GAIN = 2.3, 1.5


class Layer(NamedTuple):
    """A gated convolution: the sigmoid of the gate times the ELU of the feature.

    Attributes:
        name: with ``c_``, of the coarse network: one gate, of the feature's own kernel, for all
            channels; with ``re_``: one for each, of a 1×1 kernel.
        enlarge: double the sides first.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    enlarge: bool = False

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes: the feature's kernel and bias, the gate's kernel and bias."""
        scope = f"generator/{self.name}"
        if self.enlarge:
            scope += f"/{self.name}_conv"
        if self.name.startswith("c_"):
            names, gates = ("_feat/w", "_feat/biases", "_gate/w", "_gate/biases"), 1
            kernel = self.kernel
        else:
            names, gates = ("/w", "/biases", "/pw", "/ds_biases"), self.outputs
            kernel = 1
        shapes = (
            (self.outputs, self.inputs, self.kernel, self.kernel),
            (self.outputs,),
            (gates, self.inputs, kernel, kernel),
            (gates,),
        )
        return {scope + name: shape for name, shape in zip(names, shapes, strict=True)}


class HiFill(nn.Module):
    """The generator; a state dict's keys are the published checkpoint's names of variables.

    Kernels are as torch has them, ``[out, in, k, k]``, where TensorFlow has ``[k, k, in, out]``.
    """

    def __init__(self, config: HiFillConfig) -> None:
        super().__init__()
        self.config, self.attention = config, ContextualAttention()
        self.coarse_layers = _coarse(config.width)
        self.layers = {layer.name: layer for layer in _refining(config.width)}
        for layer in (*self.coarse_layers, *self.layers.values()):
            for name, shape in layer.tensors.items():
                self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Paint, and say from where.

        Args:
            x: ``[B, 4, 512, 512]``: BGR in [−1, 1], 0 in the hole; the mask, 1 = hole, 0 = known.

        Returns:
            BGR ``[B, 3, 512, 512]`` in [−1, 1], known pixels painted too; and what each of the 1024
            cells of 16×16 pixels takes of each, ``[B, 1024, 1024]``, row by row, those that are
            painted along the rows.

        Raises:
            ValueError: another size.
        """
        side = self.config.side
        if x.shape[1:] != (INPUTS, side, side):
            raise ValueError(f"input is {list(x.shape)}; HiFill takes [B, 4, {side}, {side}] only")
        hole = x[:, 3:]
        coarse = enlarged(self.coarse(x), 2)
        return self.refined(torch.cat([x[:, :3] + coarse * hole, hole], dim=1))

    def coarse(self, x: Tensor) -> Tensor:
        """Every second pixel of the input → BGR ``[B, 3, 256, 256]`` in [−1, 1]."""
        x = x[:, :, ::2, ::2]
        for layer in self.coarse_layers:
            x = self.run(layer, x)
        return x.clamp(-1.0, 1.0)

    def refined(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`forward`, the hole filled by the coarse network."""
        first = self._through(x, "re_en_down_256", "re_en_conv_256")
        second = self._through(first, "re_en_down_128", "re_en_conv_128")
        deep = self._through(second, "re_en_down_64", "re_en_conv_64")
        deep = self._through(deep, *(f"re_dil_d{dilation}" for dilation in REFINING_DILATIONS))
        weights, mixed, second, first = self.attention(deep, x[:, 3:], second, first)
        mixed = self._through(mixed, "re_att_64_att1")
        deep = self._through(torch.cat([deep, mixed], dim=1), "re_att_64_att3")
        for size, copied in ((128, second), (256, first)):
            deep = self._through(deep, f"re_de_up__{size}", f"re_de_conv_{size}")
            copied = self._through(copied, f"re_de_att_{size}_1", f"re_de_att_{size}_2")
            deep = torch.cat([copied, deep], dim=1)
        return self._through(deep, "re_de_toRGB__256").clamp(-1.0, 1.0), weights

    def _through(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = self.run(self.layers[name], x)
        return x

    def run(self, layer: Layer, x: Tensor) -> Tensor:
        """One layer, padded as TensorFlow's ``SAME``."""
        if layer.enlarge:
            x = enlarged(x, 2)
        kernel, bias, gate_kernel, gate_bias = map(self.get_parameter, layer.tensors)
        feature = _convolved(x, kernel, bias, layer)
        gate = _convolved(x, gate_kernel, gate_bias, layer)
        return torch.sigmoid(gate) * F.elu(feature)


def _convolved(x: Tensor, kernel: Tensor, bias: Tensor, layer: Layer) -> Tensor:
    side = kernel.shape[2]
    if layer.stride == 1:
        reach = side // 2 * layer.dilation
        return F.conv2d(x, kernel, bias, padding=reach, dilation=layer.dilation)
    return F.conv2d(same_pad(x, side, layer.stride), kernel, bias, layer.stride)


def _coarse(width: int) -> list[Layer]:
    wide = 2 * width
    return [
        Layer("c_en_down_128", INPUTS, width, kernel=5, stride=2),
        Layer("c_en_conv_128", width, width),
        Layer("c_en_down_64", width, wide, stride=2),
        *(Layer(f"c_en_conv{n}_64", wide, wide) for n in (1, 2, 3)),
        *(Layer(f"c_dil_d{n}", wide, wide, dilation=d) for n, d in enumerate(DILATIONS, 1)),
        *(Layer(f"c_de_conv{n}_64", wide, wide) for n in (1, 2, 3)),
        Layer("c_de_up_128", wide, width, enlarge=True),
        Layer("c_de_conv_128", width, width),
        Layer("c_de_toRGB", width, 3, enlarge=True),
    ]


def _refining(width: int) -> list[Layer]:
    wide, widest = 2 * width, 4 * width
    return [
        Layer("re_en_down_256", INPUTS, width, stride=2),
        Layer("re_en_conv_256", width, width),
        Layer("re_en_down_128", width, wide, stride=2),
        Layer("re_en_conv_128", wide, wide),
        Layer("re_en_down_64", wide, widest, stride=2),
        Layer("re_en_conv_64", widest, widest),
        *(Layer(f"re_dil_d{d}", widest, widest, dilation=d) for d in REFINING_DILATIONS),
        Layer("re_att_64_att1", widest, widest),
        Layer("re_att_64_att3", 2 * widest, widest),
        Layer("re_de_up__128", widest, wide, enlarge=True),
        Layer("re_de_conv_128", wide, wide),
        Layer("re_de_att_128_1", wide, wide),
        Layer("re_de_att_128_2", wide, wide, dilation=2),
        Layer("re_de_up__256", 2 * wide, width, enlarge=True),
        Layer("re_de_conv_256", width, width),
        Layer("re_de_att_256_1", width, width),
        Layer("re_de_att_256_2", width, width, dilation=2),
        Layer("re_de_toRGB__256", 2 * width, 3, enlarge=True),
    ]


def seed_stand_in(model: HiFill) -> None:
    """Fill all tensors in place, each from its own name, as ``models.seeded`` does."""
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            gain = _COARSE_GAIN if key.startswith("generator/c_") else _REFINING_GAIN
            tensor.copy_(seeded(key, tuple(tensor.shape), gain))
