"""Parallel multi-resolution fusion: its options, programs and judge."""

from collections.abc import Mapping

from torch import nn

from rethined_export.converters.types import Program, Runner
from rethined_export.errors import UserError
from rethined_export.models.pmrf import (
    PRESETS,
    Inpainter,
    Pmrf,
    composite,
    native_input,
    seed_stand_in,
)
from rethined_export.recipes.native import NativeRunner
from rethined_export.recipes.pmrf.graph import Native, Plain, rewritten
from rethined_export.recipes.pmrf.judge import PmrfJudge
from rethined_export.recipes.pmrf.options import PmrfOptions
from rethined_export.recipes.reference import untrained_reference
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

_PACKED = "RGB in [-1, 1], 0 in the hole; and 1 = known, 0 = hole to fill"
_PAINTED = "RGB in (-1, 1), known pixels painted too"
_UPDATES = (
    "for each of four levels from the lowest, enlarged, after how many updates of the mask a place "
    "was known"
)


class PmrfRecipe(Recipe[PmrfOptions]):
    """One program: the inpainter, or its bare network. There are no weights to load."""

    facts = Facts(
        name="pmrf",
        title="Parallel Multi-Resolution Fusion",
        paper="ICCV 2021",
        presets=tuple(PRESETS),
        sizes="multiples of 8 from 32 to 512",
        code_licence="none published",
        weights_licence="none published",
        weights_from="nowhere: always untrained",
    )
    options = PmrfOptions
    stands_in = True
    rewrites = (
        "gradients of maps and masks, and maps halved and enlarged → products with matrices",
        "filling what is left in a loop → as many rings as there can be",
        "3×3 patches that attention compares → slices",
        "instance norms → means of rows, then of columns",
    )

    def reference(self, options: PmrfOptions, source: Source | None) -> Reference:
        """The stand-in.

        Raises:
            UserError: a checkpoint was given.
        """
        if source is not None:
            raise UserError(
                f"{source.path.name}: pmrf takes no checkpoint; its authors published neither code "
                "nor weights, and where their slides are silent this network rests on assumptions, "
                "so no file can be known to fit; leave --checkpoint out for untrained weights"
            )
        network = Pmrf(PRESETS[options.preset])
        seed_stand_in(network)
        return untrained_reference(Inpainter(network))

    def program(self, options: PmrfOptions, model: nn.Module, part: str) -> Program:
        """The whole, or the network alone."""
        window, example = options.window, scene(options.window)
        updates = image_info("updates", 4, window, _UPDATES)
        network = rewritten(_network(model), *window)
        if options.io == "plain":
            takes, gives = plain_io(window)
            return Program(Plain(network).eval(), example, takes, (*gives, updates))
        return Program(
            Native(network).eval(),
            {"input": native_input(**example)},
            (image_info("input", 4, window, _PACKED),),
            (image_info("output", 3, window, _PAINTED), updates),
        )

    def caller(self, options: PmrfOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image."""
        whole = programs["whole"]
        return whole if options.io == "plain" else NativeRunner(whole, native_input, composite)

    def judge(self, options: PmrfOptions, reference: Reference) -> PmrfJudge:
        """The image, and the decisions of which places are painted when."""
        network = _network(reference.model)
        model = reference.model
        assert isinstance(model, Inpainter)
        plain = Plain(rewritten(network, *options.window)).eval()
        return PmrfJudge(model, network.config, plain)

    def takes_integers(self, options: PmrfOptions) -> bool:
        """Its updates are counted, not images."""
        return False

    def bears(self, options: PmrfOptions, hole: Bools) -> bool:
        """Whether there is a known pixel to paint from."""
        return not hole.all()

    def recognises(self, names: frozenset[str]) -> float:
        """By the first layers of its lowest and its highest level."""
        wanted = (f"stages.0.levels.{level}.0.first.partial.conv.weight" for level in (0, 3))
        return float(all(name in names for name in wanted))


def _network(model: nn.Module) -> Pmrf:
    assert isinstance(model, Inpainter)
    assert isinstance(model.network, Pmrf)
    return model.network


RECIPE = PmrfRecipe()
