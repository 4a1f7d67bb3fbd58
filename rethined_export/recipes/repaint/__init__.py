"""RePaint: its options, its one step, and the schedule that calls it."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rethined_export.converters.types import Program, Runner
from rethined_export.models.repaint import (
    PRESETS,
    STAND_IN_GAIN,
    RepaintInpainter,
    RepaintUNet,
)
from rethined_export.models.seeded import seed_weights
from rethined_export.parity.report import Judge
from rethined_export.photo.calibration import Calibration
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.recipes.reference import loaded_reference, untrained_reference
from rethined_export.recipes.repaint.caller import NetworkRunner, ScheduleRunner
from rethined_export.recipes.repaint.graph import network_program, step_program
from rethined_export.recipes.repaint.judge import StepJudge, step_scenes
from rethined_export.recipes.repaint.options import RepaintOptions
from rethined_export.recipes.types import Facts, Recipe, Reference, Source, TorchRunner


class RepaintRecipe(Recipe[RepaintOptions]):
    """One step as a program, or with ``--io native`` its network; the schedule is the caller's."""

    facts = Facts(
        name="repaint",
        title="RePaint",
        paper="CVPR 2022, arXiv:2201.09865",
        presets=tuple(PRESETS),
        sizes="256 (tiny: 32)",
        code_licence="CC BY-NC-SA 4.0, academic use (RePaint); MIT (its network, by OpenAI)",
        weights_licence="none stated (CelebA-HQ, Places2)",
        weights_from="download.sh of github.com/andreas128/RePaint (celeba256_250000.pt, "
        "places256_300000.pt)",
    )
    options = RepaintOptions
    rewrites = (
        "tables and waves of the time → one table, whose row is chosen by a product",
        "norms over groups of channels → with weights divided by deviations",
    )

    def reference(self, options: RepaintOptions, source: Source | None) -> Reference:
        """A checkpoint, or a stand-in."""
        with torch.device("meta"):  # half a billion numbers take longer to draw than to read
            network = RepaintUNet(PRESETS[options.preset])
        network = network.to_empty(device="cpu")
        model = RepaintInpainter(network, options.schedule)
        if source is not None:
            advise = partial(_advice, options.preset)
            return loaded_reference(model, network, source, advise=advise)
        seed_weights(network, STAND_IN_GAIN)
        return untrained_reference(model)

    def program(self, options: RepaintOptions, model: nn.Module, part: str) -> Program:
        """A step, or the network alone."""
        assert isinstance(model, RepaintInpainter)
        if options.io == "native":
            return network_program(model, options.window)
        return step_program(model, options.window)

    def caller(self, options: RepaintOptions, programs: Mapping[str, Runner]) -> Runner:
        """The schedule."""
        step = programs["whole"]
        if options.io == "native":
            step = NetworkRunner(step, options.schedule)
        return ScheduleRunner(step, options.schedule)

    def runs(self, options: RepaintOptions) -> int:
        """By the schedule."""
        return options.schedule.runs

    def takes_integers(self, options: RepaintOptions) -> bool:
        """Noise in 8 bits would be none."""
        return False

    def judge(self, options: RepaintOptions, reference: Reference) -> Judge:
        """By single steps."""
        model = reference.model
        assert isinstance(model, RepaintInpainter)
        program = TorchRunner(self.program(options, model, "whole"))
        return StepJudge(model.step, self.caller(options, {"whole": program}))

    def scenes(
        self,
        options: RepaintOptions,
        image: Path | None,
        mask: Path | None,
        rule: MaskRule = AS_IT_SAYS,
        frame: int = 1,
    ) -> Iterator[Any]:
        """The bundled photos, or the user's, in steps of different levels."""
        return step_scenes(super().scenes(options, image, mask, rule, frame), options.schedule)

    def calibration(self, options: RepaintOptions, calibration: Calibration) -> Iterator[Any]:
        """The same of others."""
        return step_scenes(super().calibration(options, calibration), options.schedule)

    def recognises(self, names: frozenset[str]) -> float:
        """By a network that is told the time, and its attention in the middle."""
        wanted = ("time_embed.0.weight", "middle_block.1.qkv.weight", "out.2.weight")
        return float(all(name in names for name in wanted))


def _advice(preset: str, names: Collection[str]) -> str:
    """What another diffusion network's checkpoint is, or another preset's."""
    if any(name.endswith("label_emb.weight") for name in names):
        return (
            "; it is of a network that is told a class, as ImageNet's 256x256_diffusion.pt; only "
            "ones without can be read, as celeba256_250000.pt and places256_300000.pt"
        )
    for other, config in PRESETS.items():
        with torch.device("meta"):
            keys = RepaintUNet(config).state_dict().keys()
        if other != preset and set(names) == set(keys):
            return f"; it has the names of --preset {other}"
    return ""


RECIPE = RepaintRecipe()
