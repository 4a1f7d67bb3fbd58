"""Partial convolutions: options, programs, callers."""

import re
from collections.abc import Collection, Mapping
from functools import partial

from torch import nn

from rethined_export.converters.types import Program, Runner
from rethined_export.errors import UserError
from rethined_export.models.partial_conv import (
    MEAN,
    PRESETS,
    STD,
    Inpainter,
    PartialConvNet,
    seed_stand_in,
)
from rethined_export.recipes.partial_conv.caller import NativeRunner, ReachingRunner, unreached
from rethined_export.recipes.partial_conv.graph import rewritten
from rethined_export.recipes.partial_conv.options import PartialConvOptions
from rethined_export.recipes.reference import loaded_reference, untrained_reference
from rethined_export.recipes.types import (
    Bools,
    Facts,
    Recipe,
    Reference,
    Source,
    image_info,
    plain_io,
    scene,
)

#: Counters of batch norms, and kernels of ones, which need not be in a file.
_OPTIONAL = re.compile(r"\.(num_batches_tracked|mask_conv\.weight)$")
_COLOURS = f"RGB in [0, 1], less {MEAN}, over {STD}"
_KNOWN = "1 = known, 0 = hole to fill"


class PartialConvRecipe(Recipe[PartialConvOptions]):
    """One program; with ``--io native``, colours and compositing are the caller's."""

    facts = Facts(
        name="partial-conv",
        title="Partial convolutions",
        paper="ECCV 2018, arXiv:1804.07723",
        presets=tuple(PRESETS),
        sizes="multiples of 128 (preset 512: of 256) to 2048",
        code_licence="MIT (the port's network), BSD-3-Clause (NVIDIA's layer)",
        weights_licence="none stated",
        weights_from="github.com/naoto0804/pytorch-inpainting-with-partial-conv (v0.0.0)",
    )
    options = PartialConvOptions
    rewrites = (
        "convolution of the mask with ones over all channels → box sums of one channel",
        "filling in place → products with where something is known",
        "batch norms, and the number of a window's taps → weights",
    )

    def reference(self, options: PartialConvOptions, source: Source | None) -> Reference:
        """A checkpoint, or a stand-in."""
        network = PartialConvNet(PRESETS[options.preset])
        if source is not None:
            advise = partial(_advice, options.preset)
            return loaded_reference(
                Inpainter(network), network, source, optional=_OPTIONAL, advise=advise
            )
        seed_stand_in(network)
        return untrained_reference(Inpainter(network))

    def program(self, options: PartialConvOptions, model: nn.Module, part: str) -> Program:
        """The whole, or the network alone."""
        assert isinstance(model, Inpainter)
        assert isinstance(model.network, PartialConvNet)
        window, example = options.window, scene(options.window)
        try:
            network = rewritten(model.network)
        except ValueError as error:
            raise UserError(f"these weights cannot be exported: {error}") from error
        if options.io == "plain":
            return Program(Inpainter(network).eval(), example, *plain_io(window))
        known = 1 - example["mask"]
        takes = (
            image_info("input", 3, window, f"{_COLOURS}; the hole's are not looked at"),
            image_info("known", 1, window, _KNOWN),
        )
        gives = (
            image_info("output", 3, window, f"{_COLOURS}; known pixels painted too"),
            image_info("reached", 1, window, "1 = painted, 0 = no known pixel in reach"),
        )
        return Program(network, {"input": example["image"], "known": known}, takes, gives)

    def caller(self, options: PartialConvOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image; refuses what is out of reach."""
        whole = programs["whole"] if options.io == "plain" else NativeRunner(programs["whole"])
        return ReachingRunner(whole, PRESETS[options.preset])

    def bears(self, options: PartialConvOptions, hole: Bools) -> bool:
        """Whether every pixel of a hole is in reach of a known one."""
        return not unreached(PRESETS[options.preset], hole)

    def recognises(self, names: frozenset[str]) -> float:
        """By its convolutions of the input, whose names no other network has."""
        wanted = ("enc_1.conv.input_conv.weight", "dec_1.conv.input_conv.bias")
        return float(all(name in names for name in wanted))


def _advice(preset: str, names: Collection[str]) -> str:
    """What to ask for instead, where a checkpoint is of another depth or another port."""
    if any(name.endswith("encoder.enc1.conv.weight") for name in names):
        return (
            "; it looks like mmagic's network, whose layers multiply by the window's size and have "
            "other biases; only the PyTorch port's can be read"
        )
    layers = sum(name.endswith(".conv.input_conv.weight") and "enc_" in name for name in names)
    fitting = [name for name, config in PRESETS.items() if config.layers == layers]
    if not fitting or fitting == [preset]:
        return ""
    return f"; it has {layers} layers; use --preset {fitting[0]}"


RECIPE = PartialConvRecipe()
