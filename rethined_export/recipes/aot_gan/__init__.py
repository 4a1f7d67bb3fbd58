"""AOT-GAN: its options and programs."""

from collections.abc import Collection, Mapping

from torch import nn

from rethined_export.converters.types import Program, Runner
from rethined_export.models.aot_gan import (
    PRESETS,
    STAND_IN_GAIN,
    AotGan,
    AotGanInpainter,
    composite,
    native_input,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.aot_gan.graph import rewritten
from rethined_export.recipes.aot_gan.options import AotGanOptions
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

_PACKED = "RGB in [-1, 1], 1 in the hole, and the mask, 1 = hole to fill"
_PAINTED = "RGB in (-1, 1), known pixels painted too"


class AotGanRecipe(Recipe[AotGanOptions]):
    """One program: the inpainter, or its bare generator."""

    facts = Facts(
        name="aot-gan",
        title="AOT-GAN",
        paper="TVCG 2022, arXiv:2104.01431",
        presets=tuple(PRESETS),
        sizes="multiples of 4 from 36 to 1024",
        code_licence="Apache-2.0",
        weights_licence="none stated; trained on Places2 or on CelebA-HQ (non-commercial images)",
        weights_from="linked from the README of github.com/researchmm/AOT-GAN-for-Inpainting",
    )
    options = AotGanOptions
    rewrites = (
        "reflect padding → slices, once a block",
        "sample deviation → squares scaled before they are summed, rows before columns",
        "gate's scale and mixing → one product each",
    )

    def reference(self, options: AotGanOptions, source: Source | None) -> Reference:
        """A checkpoint, or a stand-in."""
        generator = AotGan(PRESETS[options.preset])
        if source is not None:
            return loaded_reference(AotGanInpainter(generator), generator, source, advise=_advice)
        seed_weights(generator, STAND_IN_GAIN)
        return untrained_reference(AotGanInpainter(generator))

    def program(self, options: AotGanOptions, model: nn.Module, part: str) -> Program:
        """The whole, or the generator alone."""
        assert isinstance(model, AotGanInpainter)
        assert isinstance(model.generator, AotGan)
        window, example = options.window, scene(options.window)
        generator = rewritten(model.generator)
        if options.io == "plain":
            return Program(AotGanInpainter(generator).eval(), example, *plain_io(window))
        return Program(
            generator,
            {"input": native_input(**example)},
            (image_info("input", 4, window, _PACKED),),
            (image_info("output", 3, window, _PAINTED),),
        )

    def caller(self, options: AotGanOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image."""
        whole = programs["whole"]
        return whole if options.io == "plain" else NativeRunner(whole, native_input, composite)

    def recognises(self, names: frozenset[str]) -> float:
        """By the branches and gates of its blocks."""
        wanted = ("middle.0.block00.1.weight", "middle.7.gate.1.weight", "decoder.4.weight")
        return float(all(name in names for name in wanted))


def _advice(names: Collection[str]) -> str:
    """What a checkpoint of the other public code is."""
    if not any("dilation_neck.model.0.blocks.0" in name for name in names):
        return ""
    return (
        "; it looks like mmagic's AOT-GAN, which names its tensors otherwise; only the authors' "
        "G0000000.pt can be read"
    )


RECIPE = AotGanRecipe()
