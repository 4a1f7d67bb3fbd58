"""DeepFill: a coarse network, then one of two branches, one of which copies patches.

"Generative Image Inpainting with Contextual Attention", arXiv 1801.07892 (v1), and "Free-Form Image
Inpainting with Gated Convolution", arXiv 1806.03589 (v2).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rethined_export.models.deepfill.attention import ContextualAttention
from rethined_export.models.deepfill.config import DeepfillConfig
from rethined_export.models.deepfill.layers import Activation, Layer, Shape
from rethined_export.models.deepfill.names import names_of

#: Channels of the input: the image, ones, the mask.
INPUTS = 5


class Deepfill(nn.Module):
    """The generator; a state dict's keys are those of the port's checkpoints."""

    def __init__(self, config: DeepfillConfig) -> None:
        super().__init__()
        self.config, self.names = config, names_of(config)
        width, names = config.width, self.names
        seen = INPUTS if config.second_sees_mask else 3
        self._add(names.coarse, INPUTS, [*_coarse(width), *_painting(width)])
        self._add(names.surroundings, seen, [*_shrinking(width, slim=True), *_dilated(width)])
        self._add(names.matching, seen, _shrinking(width, slim=False), end=config.relu)
        self._place(names.attention, ContextualAttention(config.attention, names.fuse_kernel))
        self._add(names.matched, 4 * width, [Shape(4 * width)] * 2)
        painter = [Shape(4 * config.painter_width)] * 2
        self._add(names.painter, 8 * width, [*painter, *_painting(config.painter_width)])

    def _add(
        self, names: Sequence[str], inputs: int, shapes: Sequence[Shape], end: bool = False
    ) -> None:
        """Layers one after the other.

        Args:
            end: the last one has a ReLU.
        """
        config = self.config
        for name, shape in zip(names, shapes, strict=True):
            activation: Activation = "relu" if end and name == names[-1] else "elu"
            gated = config.gated
            if shape.outputs == 3:
                activation, gated = "none", config.gated_output
            self._place(name, Layer(inputs, shape, config.padding, activation, gated))
            inputs = shape.outputs

    def _place(self, name: str, module: nn.Module) -> None:
        """Register a module under a dotted name."""
        parent: nn.Module = self
        *path, last = name.split(".")
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, module)

    def forward(self, x: Tensor) -> Tensor:
        """Paint.

        Args:
            x: ``[B, 5, H, W]``: colours in [−1, 1], in the network's own order, 0 in the hole;
                ones; the mask, 1 = hole.

        Returns:
            Colours in [−1, 1], ``[B, 3, H, W]``; known pixels are painted too.

        Raises:
            ValueError: a side that is too small, or no multiple of 8.
        """
        return self.stages(x)[1]

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the coarse stage painted, and what the second made of it; as :meth:`forward`."""
        self.config.check_size(x.shape[2], x.shape[3])
        names, mask = self.names, x[:, 4:5]
        coarse = self._bounded(self._run(names.coarse, x))
        x = torch.cat([coarse * mask + x[:, :3] * (1 - mask), x[:, 3:]], dim=1)
        if not self.config.second_sees_mask:
            x = x[:, :3]
        surroundings = self._run(names.surroundings, x)
        matching = self._run(names.matching, x)
        matched = self.get_submodule(names.attention)(matching, mask)
        both = torch.cat([surroundings, self._run(names.matched, matched)], dim=1)
        return coarse, self._bounded(self._run(names.painter, both))

    @property
    def attention(self) -> ContextualAttention:
        """The contextual attention of the second stage."""
        attention = self.get_submodule(self.names.attention)
        assert isinstance(attention, ContextualAttention)
        return attention

    def _run(self, names: Sequence[str], x: Tensor) -> Tensor:
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def _bounded(self, x: Tensor) -> Tensor:
        return torch.tanh(x) if self.config.gated else x.clamp(-1.0, 1.0)


def _shrinking(width: int, slim: bool) -> list[Shape]:
    """To a quarter of the sides; ``slim``: few channels until then."""
    second = 2 * width if slim else 4 * width
    return [
        Shape(width, kernel=5),
        Shape(width, stride=2),
        Shape(2 * width),
        Shape(second, stride=2),
        Shape(4 * width),
        Shape(4 * width),
    ]


def _dilated(width: int) -> list[Shape]:
    return [Shape(4 * width, dilation=dilation) for dilation in (2, 4, 8, 16)]


def _coarse(width: int) -> list[Shape]:
    """The first stage up to where it paints: twice the channels from the second layer on."""
    first, _, _, *others = _shrinking(width, slim=False)
    wide = [Shape(2 * width, stride=2), Shape(2 * width)]
    return [first, *wide, *others, *_dilated(width), *[Shape(4 * width)] * 2]


def _painting(width: int) -> list[Shape]:
    """From a quarter of the sides to the image."""
    return [
        Shape(2 * width, enlarge=True),
        Shape(2 * width),
        Shape(width, enlarge=True),
        Shape(width // 2),
        Shape(3),
    ]


def fixed_keys(model: Deepfill) -> frozenset[str]:
    """Keys of the state dict that hold the attention's own constant, the same in every file."""
    names = model.names
    return frozenset({f"{names.attention}.{names.fuse_kernel}"} if names.fuse_kernel else ())
