"""The context encoder: its options, programs and callers."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rethined_export.converters.types import Program, Runner
from rethined_export.models.context_encoder import (
    CENTRE,
    PRESETS,
    SIDE,
    STAND_IN_GAIN,
    ContextEncoder,
    Inpainter,
    composite,
    native_input,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.photo.calibration import Calibration
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.photo.window import Window
from rethined_export.recipes.context_encoder.caller import CentreRunner
from rethined_export.recipes.context_encoder.graph import rewritten
from rethined_export.recipes.context_encoder.options import ContextEncoderOptions
from rethined_export.recipes.native import NativeRunner
from rethined_export.recipes.reference import loaded_reference, untrained_reference
from rethined_export.recipes.types import (
    Facts,
    Recipe,
    Reference,
    Source,
    image_info,
    plain_io,
    scene,
)

_FILLED = "RGB in [-1, 1], the hole filled with (117, 104, 123) of 255"
_PAINTED = "RGB in (-1, 1), the centre alone"


class ContextEncoderRecipe(Recipe[ContextEncoderOptions]):
    """One program; with ``--io native``, crop and paste are the caller's."""

    facts = Facts(
        name="context-encoder",
        title="Context encoder",
        paper="CVPR 2016, arXiv:1604.07379",
        presets=tuple(PRESETS),
        sizes="128 (a hole in the middle 64)",
        code_licence="MIT (the PyTorch port); the original: not-for-profit use only",
        weights_licence="none stated",
        weights_from="linked from github.com/BoyuanJiang/context_encoder_pytorch",
    )
    options = ContextEncoderOptions
    rewrites = (
        "batch norms → convolutions",
        "transposed convolution of one pixel → product with its kernel",
    )

    def reference(self, options: ContextEncoderOptions, source: Source | None) -> Reference:
        """A checkpoint, or a stand-in."""
        with torch.device("meta"):  # 71 million numbers take longer to draw than to read
            network = ContextEncoder(PRESETS[options.preset])
        network = network.to_empty(device="cpu")
        if source is not None:
            return loaded_reference(Inpainter(network), network, source, advise=_advice)
        seed_weights(network, STAND_IN_GAIN)
        return untrained_reference(Inpainter(network))

    def program(self, options: ContextEncoderOptions, model: nn.Module, part: str) -> Program:
        """The whole, or the network alone."""
        assert isinstance(model, Inpainter)
        assert isinstance(model.network, ContextEncoder)
        window, example = options.window, scene(options.window)
        network = rewritten(model.network)
        if options.io == "plain":
            return Program(Inpainter(network).eval(), example, *plain_io(window))
        return Program(
            network,
            {"input": native_input(**example)},
            (image_info("input", 3, window, _FILLED),),
            (image_info("output", 3, Window.square(CENTRE), _PAINTED),),
        )

    def caller(self, options: ContextEncoderOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image; refuses a hole outside the centre."""
        whole = programs["whole"]
        if options.io == "native":
            whole = NativeRunner(whole, native_input, composite)
        return CentreRunner(whole)

    def scenes(
        self,
        options: ContextEncoderOptions,
        image: Path | None,
        mask: Path | None,
        rule: MaskRule = AS_IT_SAYS,
        frame: int = 1,
    ) -> Iterator[Any]:
        """The bundled photos with the middle of their masks, the first with all of the centre."""
        found = super().scenes(options, image, mask, rule, frame)
        return found if image is not None else _centred(found)

    def calibration(
        self, options: ContextEncoderOptions, calibration: Calibration
    ) -> Iterator[Any]:
        """The same of others."""
        return _centred(super().calibration(options, calibration))

    def recognises(self, names: frozenset[str]) -> float:
        """By the number of its layers: other networks call theirs ``main`` too."""
        wanted = ("main.3.running_mean", "main.15.running_mean", "main.29.weight")
        return float(all(name in names for name in wanted) and "main.30.weight" not in names)


def _centred(scenes: Iterable[Any]) -> Iterator[Any]:
    """Scenes with the middle of their masks, the first with all of the centre."""
    centre = F.pad(torch.ones(1, 1, CENTRE, CENTRE), [(SIDE - CENTRE) // 2] * 4)
    for number, made in enumerate(scenes):
        hole = made.mask * centre
        yield dataclasses.replace(made, mask=hole if number and hole.any() else centre)


def _advice(names: Collection[str]) -> str:
    """What a checkpoint of the original is."""
    if not any(name.endswith("main.0.bias") for name in names):
        return ""
    return (
        "; its convolutions have biases, as the original's in Lua have; only the PyTorch port's "
        "netG_*.pth can be read"
    )


RECIPE = ContextEncoderRecipe()
