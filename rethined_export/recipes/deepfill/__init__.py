"""DeepFill: its options, program and callers, and how its ports' checkpoints are told apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cache, partial

import torch
from torch import nn

from rethined_export.checkpoints import strip
from rethined_export.converters.types import Program, Runner
from rethined_export.errors import UserError
from rethined_export.models.deepfill import (
    PRESETS,
    Deepfill,
    DeepfillInpainter,
    composite,
    fixed_keys,
    native_input,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.deepfill.graph import rewritten
from rethined_export.recipes.deepfill.options import DeepfillOptions
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

_PAINTED = "the same colours in [-1, 1], known pixels painted too"
#: Of files converted from the authors' own, whose code reads photos in that order.
_COLOURS = (
    "whether these weights want RGB or BGR cannot be told from the file; RGB is what they get"
)


class DeepfillRecipe(Recipe[DeepfillOptions]):
    """One program; with ``--io native``, what lies around it is the caller's."""

    facts = Facts(
        name="deepfill",
        title="DeepFill v1, v2",
        paper="CVPR 2018, arXiv:1801.07892; ICCV 2019, arXiv:1806.03589",
        presets=tuple(PRESETS),
        sizes="multiples of 8 from 64 (mmagic's: from 72) to 1024, at most 1024×512 pixels",
        code_licence="mmagic's Apache-2.0, daa's MIT; v2-tf's and v2-nipponjo's: none stated",
        weights_licence="v2-tf, v2-nipponjo: CC BY-NC 4.0 (non-commercial), as the authors' own "
        "they come from; others: none stated",
        weights_from="github.com/nipponjo/deepfillv2-pytorch, github.com/open-mmlab/mmagic, "
        "github.com/daa233/generative-inpainting-pytorch",
    )
    options = DeepfillOptions
    rewrites = (
        "attention's convolutions with kernels made at run time → products of pixels, summed on "
        "diagonals",
        "its fusing step's convolution → sums on diagonals",
        "reflect padding → slices",
    )

    def reference(self, options: DeepfillOptions, source: Source | None) -> Reference:
        """A checkpoint of the generator, or the stand-in."""
        network = Deepfill(PRESETS[options.preset])
        model = DeepfillInpainter(network)
        if source is None:
            seed_weights(network, network.config.gain, fixed_keys(network))
            return untrained_reference(model)
        advise = partial(_advice, options.preset)
        loaded = loaded_reference(model, network, source, advise=advise)
        return replace(loaded, notes=(_COLOURS,)) if options.preset == "v2-tf" else loaded

    def program(self, options: DeepfillOptions, model: nn.Module, part: str) -> Program:
        """The whole, or the network alone."""
        assert isinstance(model, DeepfillInpainter)
        window, example = options.window, scene(options.window)
        try:
            network = rewritten(model.network, *window)
        except ValueError as error:
            raise UserError(f"these weights cannot be exported: {error}") from error
        if options.io == "plain":
            return Program(DeepfillInpainter(network).eval(), example, *plain_io(window))
        bgr = network.config.bgr
        packed = {"input": native_input(**example, bgr=bgr)}
        order = "BGR" if bgr else "RGB"
        meaning = f"{order} in [-1, 1], 0 in the hole; ones; the mask, 1 = hole to fill"
        takes = (image_info("input", 5, window, meaning),)
        return Program(network, packed, takes, (image_info("output", 3, window, _PAINTED),))

    def caller(self, options: DeepfillOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image."""
        whole = programs["whole"]
        if options.io == "plain":
            return whole
        bgr = PRESETS[options.preset].bgr
        return NativeRunner(whole, partial(native_input, bgr=bgr), partial(composite, bgr=bgr))

    def recognises(self, names: frozenset[str]) -> float:
        """By all the names of one of the ports."""
        return float(any(keys_of(preset) <= names for preset in PRESETS))


@cache
def keys_of(preset: str) -> frozenset[str]:
    """Names of a port's tensors."""
    with torch.device("meta"):
        return frozenset(Deepfill(PRESETS[preset]).state_dict())


def _advice(asked: str, names: Collection[str]) -> str:
    """What to ask for instead, where a checkpoint holds all the tensors of another port."""
    for preset in PRESETS:
        keys = keys_of(preset)
        prefix = strip(names, keys)
        if preset != asked and {prefix + key for key in keys} <= set(names):
            return f"; it looks like --preset {preset}"
    return ""


RECIPE = DeepfillRecipe()
