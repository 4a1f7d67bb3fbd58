"""MI-GAN: its options, programs, caller, and its own way around the hole in a photo."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import nn

from rethined_export.converters.types import Program, Runner
from rethined_export.errors import UserError
from rethined_export.models.migan import (
    PRESETS,
    STAND_IN_GAIN,
    MiGan,
    MiGanInpainter,
    fixed_keys,
    native_input,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.migan import pipeline
from rethined_export.recipes.migan.caller import NativeRunner, fill_photo
from rethined_export.recipes.migan.graph import rewritten
from rethined_export.recipes.migan.options import MiGanOptions
from rethined_export.recipes.reference import loaded_reference, untrained_reference
from rethined_export.recipes.types import (
    Facts,
    Pipeline,
    Recipe,
    Reference,
    Source,
    image_info,
    plain_io,
    scene,
)

_NATIVE_INPUT = "known - 0.5 (1 = known), then RGB in [-1, 1] with 0 in the hole"
_NATIVE_OUTPUT = "RGB, about [-1, 1] but unbounded, known pixels painted too"


class MiGanRecipe(Recipe[MiGanOptions]):
    """One program: the inpainter, or its bare generator."""

    facts = Facts(
        name="migan",
        title="MI-GAN",
        paper="ICCV 2023",
        presets=tuple(PRESETS),
        sizes="256, 512 (squares)",
        code_licence="MIT",
        weights_licence="none stated; trained on Places2 or on FFHQ (non-commercial images)",
        weights_from="linked from the README of github.com/Picsart-AI-Research/MI-GAN",
    )
    options = MiGanOptions
    rewrites = (
        "zero insertion and 4×4 filter → nearest neighbours and 3×3 depthwise convolution",
        "gain of activations → weights",
        "noise times its strength → one constant",
    )

    def reference(self, options: MiGanOptions, source: Source | None) -> Reference:
        """A checkpoint of the bare generator, or the stand-in."""
        generator = MiGan(PRESETS[options.preset])
        model = MiGanInpainter(generator)
        if source is not None:
            return loaded_reference(model, generator, source)
        seed_weights(generator, STAND_IN_GAIN[options.preset], fixed_keys(generator))
        return untrained_reference(model)

    def program(self, options: MiGanOptions, model: nn.Module, part: str) -> Program:
        """The inpainter, or its generator alone."""
        assert isinstance(model, MiGanInpainter)
        try:
            inpainter = rewritten(model.generator)
        except ValueError as error:
            raise UserError(f"these weights cannot be exported: {error}") from error
        inputs = scene(options.window)
        if options.io == "plain":
            return Program(inpainter, inputs, *plain_io(options.window))
        return Program(
            inpainter.generator,
            {"input": native_input(**inputs)},
            (image_info("input", 4, options.window, _NATIVE_INPUT),),
            (image_info("output", 3, options.window, _NATIVE_OUTPUT),),
        )

    def caller(self, options: MiGanOptions, programs: Mapping[str, Runner]) -> Runner:
        """A bare generator gets its input made, and its output set into the image."""
        whole = programs["whole"]
        return whole if options.io == "plain" else NativeRunner(whole)

    def pipelines(self) -> Mapping[str, Pipeline]:
        """The published one, with known pixels kept or to the letter."""
        return {
            "migan": partial(fill_photo, pipeline.OURS),
            "migan-original": partial(fill_photo, pipeline.ORIGINAL),
        }

    def recognises(self, names: frozenset[str]) -> float:
        """By noise and separable convolutions in both halves."""
        wanted = ("encoder.b4.conv1.conv2.weight", "synthesis.b8.conv1.noise_const")
        return float(all(name in names for name in wanted))


RECIPE = MiGanRecipe()
