"""DFNet: its options, programs and callers."""

from collections.abc import Mapping

from torch import nn

from rethined_export.converters.types import Program, Runner
from rethined_export.models.dfnet import (
    PRESETS,
    STAND_IN_GAIN,
    DfNet,
    DfNetInpainter,
    native_input,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.recipes.dfnet.caller import NativeRunner
from rethined_export.recipes.dfnet.graph import Painter, PlainPainter
from rethined_export.recipes.dfnet.options import DfNetOptions
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

PACKED = "BGR in [0, 1], 0 in the hole, and 1 = known, 0 = hole"
PAINTED = "BGR in (0, 1), known pixels painted too"


class DfNetRecipe(Recipe[DfNetOptions]):
    """One program; with ``--io native``, what lies around it is the caller's."""

    facts = Facts(
        name="dfnet",
        title="DFNet",
        paper="ACM MM 2019, arXiv:1904.08060",
        presets=tuple(PRESETS),
        sizes="multiples of 256 to 2048",
        code_licence="CC BY-NC 4.0 (non-commercial)",
        weights_licence="no statement of their own beside the code's CC BY-NC 4.0 (non-commercial)",
        weights_from="github.com/hughplay/DFNet (model_places2.pth, model_celeba.pth)",
    )
    options = DfNetOptions
    rewrites = (
        "fusion at the five smaller scales, which nothing reads → left out",
        "BGR → RGB by the order of the first and last weights",
        "batch norms folded",
    )

    def reference(self, options: DfNetOptions, source: Source | None) -> Reference:
        """A checkpoint, or a stand-in."""
        network = DfNet()
        if source is not None:
            return loaded_reference(DfNetInpainter(network), network, source)
        seed_weights(network, STAND_IN_GAIN)
        return untrained_reference(DfNetInpainter(network))

    def program(self, options: DfNetOptions, model: nn.Module, part: str) -> Program:
        """The whole, or the network alone."""
        assert isinstance(model, DfNetInpainter)
        window, example = options.window, scene(options.window)
        if options.io == "plain":
            return Program(PlainPainter(model.network).eval(), example, *plain_io(window))
        return Program(
            Painter(model.network, rgb=False),
            {"input": native_input(**example)},
            (image_info("input", 4, window, PACKED),),
            (image_info("output", 3, window, PAINTED),),
        )

    def caller(self, options: DfNetOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image."""
        return programs["whole"] if options.io == "plain" else NativeRunner(programs["whole"])

    def recognises(self, names: frozenset[str]) -> float:
        """By its deepest encoder and its first fusion block."""
        wanted = ("en_7.encode.0.conv.1.weight", "fuse_0.blend.blend.0.conv.weight")
        return float(all(name in names for name in wanted))


RECIPE = DfNetRecipe()
