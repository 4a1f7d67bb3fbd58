"""RETHINED: its options, programs, caller and judge."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from rethined_export.checkpoints import CheckpointError
from rethined_export.converters.types import Program, Runner
from rethined_export.errors import UserError
from rethined_export.models.rethined import (
    GRID,
    LOW_RESOLUTION,
    NETWORKS,
    PRESETS,
    Inpainter,
    Network,
    Rethined,
    preset_config,
    untrained,
)
from rethined_export.models.rethined.copying import untrained_copy
from rethined_export.models.weights import shipped
from rethined_export.photo.squares import FillPhoto
from rethined_export.recipes.reference import untrained_reference
from rethined_export.recipes.rethined import device, native, programs
from rethined_export.recipes.rethined.judge import RethinedJudge
from rethined_export.recipes.rethined.options import RethinedOptions
from rethined_export.recipes.rethined.pair import Pair, PairRunner
from rethined_export.recipes.rethined.weights import load_checkpoint
from rethined_export.recipes.types import (
    UNTRAINED,
    Apart,
    Bools,
    Facts,
    Pixels,
    Recipe,
    Reference,
    Source,
)


class RethinedRecipe(Recipe[RethinedOptions]):
    """Whole artifacts, or a :mod:`.pair`."""

    facts = Facts(
        name="rethined",
        title="RETHINED",
        paper="WACV 2025, arXiv:2503.14757",
        presets=tuple(PRESETS),
        sizes="512, 1024, 2048, 4096, 8192 (squares)",
        code_licence="none stated",
        weights_licence="Apache-2.0 (ours)",
        weights_from="the authors publish none; forks' users train their own",
        ships="preset mobile",
    )
    options = RethinedOptions
    rewrites = (
        "attention upscaling: matrix product → gather of whole patches",
        "unfold and fold → reshapes of rank 4",
        "bicubic → depthwise convolution and pixel shuffle",
    )
    stands_in = True

    def shipped(self, options: RethinedOptions) -> Path | None:
        """The mobile preset's, of the paper's variant."""
        variant = _network(options)
        return None if variant == "copy" else shipped(options.preset, variant)

    def reference(self, options: RethinedOptions, source: Source | None) -> Reference:
        """A checkpoint, or a stand-in."""
        variant = _network(options)
        if source is None:
            return untrained_reference(_stand_in(options, variant))
        try:
            loaded = load_checkpoint(
                source.path, options.preset, variant, options.forked, source.key
            )
        except CheckpointError as error:
            raise UserError(str(error)) from error
        return Reference(
            loaded.model, source.path.name, loaded.sha256, loaded.derived, loaded.notes
        )

    def parts(self, options: RethinedOptions) -> tuple[str, ...]:
        """A pair's patch program is made where asked for; at 512 there is nothing for it to do."""
        if not options.split:
            return ("whole",)
        third = options.patch_program and options.hr > LOW_RESOLUTION
        return ("low", "choose", "patch") if third else ("low", "choose")

    def program(self, options: RethinedOptions, model: nn.Module, part: str) -> Program:
        """The module that a part is."""
        assert isinstance(model, Inpainter)
        if part == "whole":
            return programs.whole(options, model)
        if part == "patch":
            return programs.patch(options)
        assert isinstance(model, Rethined)
        return (programs.low if part == "low" else programs.choose)(options, model)

    def caller(self, options: RethinedOptions, runners: Mapping[str, Runner]) -> Runner:
        """A pair as a function from image and mask to image."""
        if not options.split:
            return runners["whole"]
        return PairRunner(_pair(options, runners))

    def fills_photos(self, options: RethinedOptions) -> bool:
        """A pair does."""
        return options.split

    def photo_caller(
        self, options: RethinedOptions, runners: Mapping[str, Runner], threads: int
    ) -> FillPhoto | None:
        """A pair fills photos where they lie."""
        if not self.fills_photos(options):
            return None
        pair = _pair(options, runners)

        def fill(photo: Pixels, hole: Bools, top: int, left: int) -> Pixels:
            pair.fill(native.Square(photo, hole, pair.scale, top, left), threads)
            return photo

        return fill

    def taken_apart(
        self, options: RethinedOptions, runners: Mapping[str, Runner], photo: Pixels, hole: Bools
    ) -> Apart:
        """A pair's; a patch program is not timed, since librethined does its work."""
        return device.taken_apart(_pair(options, runners), photo, hole)

    def judge(self, options: RethinedOptions, reference: Reference) -> RethinedJudge:
        """Keys and flips, beside the image; any share of attention will do for no weights."""
        model = reference.model
        assert isinstance(model, Inpainter)
        least = 0.0 if reference.weights == UNTRAINED else options.least_mass / 100
        return RethinedJudge(model, programs.whole_graph(options, model), least)

    def bears(self, options: RethinedOptions, hole: Bools) -> bool:
        """Within the budget of a whole artifact; a pair fills any."""
        return options.split or count_tokens(hole) <= options.places

    def recognises(self, names: frozenset[str]) -> float:
        """By the coarse model's and the attention's names."""
        networks = (
            ("coarse_model.model.", "generator.multihead_attention.w_qs.weight"),
            ("coarse_model.stage0.down.", "inpainter.multihead_attention.w_qs.weight"),
        )
        return float(
            any(
                all(any(name.startswith(part) for name in names) for part in wanted)
                for wanted in networks
            )
        )


def _network(options: RethinedOptions) -> Network:
    found = [name for name in NETWORKS if name == options.variant]
    return found[0]


def _stand_in(options: RethinedOptions, variant: Network) -> Inpainter:
    """Untrained weights of a variant."""
    if variant == "copy":
        return untrained_copy()
    return untrained(preset_config(options.preset, variant, options.forked))


def _pair(options: RethinedOptions, runners: Mapping[str, Runner]) -> Pair:
    return Pair(
        runners["low"],
        runners["choose"],
        runners.get("patch"),
        options.hr // LOW_RESOLUTION,
        options.places,
        options.ranks,
    )


def count_tokens(hole: Bools) -> int:
    """Tokens of the grid that hold any pixel of a hole ``[S, S]``."""
    size = len(hole) // GRID
    return int(np.count_nonzero(hole.reshape(GRID, size, GRID, size).any(axis=(1, 3))))


def shipped_network() -> Rethined:
    """The network that commands use where nothing else is asked for."""
    weights = shipped("mobile", "paper")
    assert weights is not None
    model = load_checkpoint(weights, "mobile", "paper").model
    assert isinstance(model, Rethined)
    return model


RECIPE = RethinedRecipe()
