"""The two-stage system: its options, programs, callers and its authors' way around the hole."""

from collections.abc import Mapping

import torch
from torch import nn

from rethined_export.converters.types import Program, Runner
from rethined_export.models.dfnet import STAND_IN_GAIN
from rethined_export.models.seeded import seed_weights
from rethined_export.models.twostage import (
    LOW,
    PRESETS,
    TwoStageInpainter,
    TwoStageNetworks,
    coarse_input,
    refine_input,
)
from rethined_export.photo.window import Window
from rethined_export.recipes.dfnet import PACKED, PAINTED
from rethined_export.recipes.dfnet.graph import Painter
from rethined_export.recipes.reference import untrained_reference
from rethined_export.recipes.twostage import pipeline
from rethined_export.recipes.twostage.caller import PairRunner
from rethined_export.recipes.twostage.graph import WholeGraph, refining
from rethined_export.recipes.twostage.options import TwoStageOptions
from rethined_export.recipes.twostage.weights import loaded
from rethined_export.recipes.types import (
    FILLED,
    Facts,
    Pipeline,
    Recipe,
    Reference,
    Source,
    image_info,
    plain_io,
    scene,
)

_STACKED = "mask, RGB filled by stage one, and four shifted copies of it with their masks"


class TwoStageRecipe(Recipe[TwoStageOptions]):
    """Both stages in one program; with ``--io native``, a pair of their networks."""

    facts = Facts(
        name="two-stage",
        title="Deep Two-Stage High-Resolution Image Inpainting",
        paper="Programming and Computer Software 47(3), 2021, arXiv:2104.13464",
        presets=tuple(PRESETS),
        sizes="multiples of 256 to 2048, as a pair to 4096",
        code_licence="CC BY-NC 4.0 (non-commercial)",
        weights_licence="no statement of their own beside the code's CC BY-NC 4.0 (non-commercial)",
        weights_from="github.com/a-mos/High_Resolution_Image_Inpainting (model_places2.pth and "
        "refinement.pth: give --checkpoint twice)",
    )
    options = TwoStageOptions
    rewrites = (
        "nearest neighbours in the letterbox → slices, or products with matrices of zeros and ones",
        "DFNet's fusion at the five smaller scales, which nothing reads → left out",
        "convolutions over doubled and joined maps, the largest two → transposed ones and sums",
        "BGR → RGB by the order of the first and last weights; batch norms folded",
    )
    checkpoints = 2

    def reference(self, options: TwoStageOptions, source: Source | None) -> Reference:
        """Two checkpoints, one that holds both networks, or a stand-in."""
        networks = TwoStageNetworks()
        if source is not None:
            return loaded(networks, source)
        seed_weights(networks.coarse, STAND_IN_GAIN)
        seed_weights(networks.refine, STAND_IN_GAIN)
        return untrained_reference(TwoStageInpainter(networks))

    def parts(self, options: TwoStageOptions) -> tuple[str, ...]:
        """One, or one of each network."""
        return ("whole",) if options.io == "plain" else ("coarse", "refine")

    def program(self, options: TwoStageOptions, model: nn.Module, part: str) -> Program:
        """The whole, or one of the networks."""
        assert isinstance(model, TwoStageInpainter)
        networks, window, low = model.networks, options.window, Window.square(LOW)
        example = scene(window)
        if part == "whole":
            return Program(WholeGraph(networks, window).eval(), example, *plain_io(window))
        if part == "coarse":
            return Program(
                Painter(networks.coarse, rgb=False),
                {"input": coarse_input(**example)},
                (image_info("input", 4, low, PACKED),),
                (image_info("output", 3, low, PAINTED),),
            )
        stacked = refine_input(torch.rand_like(example["image"]), example["mask"])
        return Program(
            refining(networks.refine),
            {"input": stacked},
            (image_info("input", 20, window, _STACKED),),
            (image_info("output", 3, window, FILLED),),
        )

    def caller(self, options: TwoStageOptions, programs: Mapping[str, Runner]) -> Runner:
        """From image and mask to image."""
        if options.io == "plain":
            return programs["whole"]
        return PairRunner(programs["coarse"], programs["refine"])

    def pipelines(self) -> Mapping[str, Pipeline]:
        """The photo at its own size, on floats, or on 8 bits as its authors have it."""
        return {"two-stage": pipeline.fill_padded, "two-stage-original": pipeline.fill_original}

    def recognises(self, names: frozenset[str]) -> float:
        """By the refinement's deepest encoder and its last layer, alone or beside DFNet's."""
        wanted = ("en8.encode.0.conv.1.weight", "last_conv.0.conv.weight")
        return float(any(all(p + name in names for name in wanted) for p in ("", "refine.")))


RECIPE = TwoStageRecipe()
