"""HiFill: its options, programs, callers and two published ways around the hole."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import nn

from rethined_export.converters.types import Program, Runner, TensorInfo
from rethined_export.models.hifill import (
    PRESETS,
    HiFill,
    HiFillInpainter,
    native_input,
    reduced,
    seed_stand_in,
)
from rethined_export.photo.window import Window
from rethined_export.recipes.hifill import pipeline
from rethined_export.recipes.hifill.caller import NativeRunner, fill_photo
from rethined_export.recipes.hifill.graph import WholeGraph, rewritten
from rethined_export.recipes.hifill.options import HiFillOptions
from rethined_export.recipes.hifill.weights import loaded
from rethined_export.recipes.reference import untrained_reference
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

_NATIVE_INPUT = "BGR in [-1, 1], 0 in the hole; the mask, 1 = hole to fill"
_NATIVE_OUTPUT = "BGR in [-1, 1], known pixels painted too"
_ATTENTION = "what each cell of 16×16 pixels takes of each, row by row, the painted along the rows"


class HiFillRecipe(Recipe[HiFillOptions]):
    """One program with all around the network in it; with ``--io native``, the network alone."""

    facts = Facts(
        name="hifill",
        title="HiFill (Contextual Residual Aggregation)",
        paper="CVPR 2020, arXiv:2005.09704",
        presets=tuple(PRESETS),
        sizes="squares, multiples of 512 to 4096",
        code_licence="MIT (the author's), BSD-3-Clause (Huawei's sample)",
        weights_licence="those of the code they lie beside; trained on Places2 (images for "
        "non-commercial research)",
        weights_from="github.com/duxingren14/Hifill-tensorflow (model_logs/places2, a TensorFlow "
        "checkpoint: docs/models/hifill.md says how to save it as safetensors)",
    )
    options = HiFillOptions
    rewrites = (
        "attention's convolution with kernels made at run time → products of pixels, summed on "
        "diagonals",
        "overlapping patches of three maps → weights summed on diagonals, then pixels mixed",
        "residuals' patches → one product, as RETHINED's",
        "TensorFlow 1's bilinear enlargement → one of more pixels, corners on corners",
    )

    def reference(self, options: HiFillOptions, source: Source | None) -> Reference:
        """A checkpoint of the generator, or the stand-in."""
        network = HiFill(PRESETS[options.preset])
        if source is not None:
            return loaded(network, source)
        seed_stand_in(network)
        return untrained_reference(HiFillInpainter(network, network.config))

    def program(self, options: HiFillOptions, model: nn.Module, part: str) -> Program:
        """The whole, or the network alone."""
        assert isinstance(model, HiFillInpainter)
        assert isinstance(model.network, HiFill)
        window, example, config = options.window, scene(options.window), model.config
        if options.io == "plain":
            return Program(WholeGraph(model.network).eval(), example, *plain_io(window))
        small = reduced(example["image"], example["mask"], by=config.scale(*window))
        side, count = Window.square(config.side), config.grid**2
        attention = TensorInfo("attention", (1, count, count), "BQK", "float32", _ATTENTION)
        return Program(
            rewritten(model.network),
            {"input": native_input(*small)},
            (image_info("input", 4, side, _NATIVE_INPUT),),
            (image_info("output", 3, side, _NATIVE_OUTPUT), attention),
        )

    def caller(self, options: HiFillOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image."""
        whole = programs["whole"]
        return whole if options.io == "plain" else NativeRunner(whole, PRESETS[options.preset])

    def pipelines(self) -> Mapping[str, Pipeline]:
        """The author's and the Atlas board's, to the letter."""
        return {
            "hifill-original": partial(fill_photo, pipeline.authors),
            "hifill-atlas": partial(fill_photo, pipeline.atlas),
        }

    def recognises(self, names: frozenset[str]) -> float:
        """By the first gate of the coarse network, and the last one of the refining one."""
        wanted = (
            "generator/c_en_down_128_gate/w",
            "generator/re_de_toRGB__256/re_de_toRGB__256_conv/pw",
        )
        return float(all(name in names for name in wanted))


RECIPE = HiFillRecipe()
