"""Shapes of a RETHINED network: the named presets and everything a checkpoint can change."""

from dataclasses import dataclass, replace
from typing import Any, Literal

Variant = Literal["paper", "published"]
Decoder = Literal["separable", "transposed"]
Start = Literal["zeros", "push-pull"]
Filter = Literal["bicubic", "bilinear"]
Context = Literal["masked", "full"]

VARIANTS: tuple[Variant, ...] = ("paper", "published")

#: Side of the low-resolution image and of a patch, in pixels; fixed by the method.
LOW_RESOLUTION = 512
PATCH = 8
#: Tokens along one side of the low-resolution image, tokens in all, and numbers in one RGB patch.
GRID = LOW_RESOLUTION // PATCH
TOKENS = GRID * GRID
PATCH_SIZE = 3 * PATCH * PATCH

#: Strides of the encoder's stages against the low-resolution image.
STAGE_STRIDES = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Dialect:
    """How code descended from the authors' computes, where no weight tells (``published`` only).

    Attributes:
        score_limit: biased attention scores are clamped to ± this before the softmax, known
            tokens' too, so that those no longer copy themselves exactly; None: no clamp.
        shrink: antialiased filter that takes the photo to low resolution.
        enlarge: filter that takes the low-resolution result to full resolution.
        context: what the upscaler takes high frequencies from: y ⊙ (1 − m), or all of y, with
            whatever lies under the mask.
        composite: known pixels are put back into the result.
    """

    score_limit: float | None = None
    shrink: Filter = "bicubic"
    enlarge: Filter = "bicubic"
    context: Context = "masked"
    composite: bool = False


AUTHORS = Dialect()
#: Named after the public repositories that compute so.
DIALECTS: dict[str, Dialect] = {
    "authors": AUTHORS,
    "mikanquyt": Dialect(50.0, "bilinear", "bilinear", "full", composite=True),
}


@dataclass(frozen=True)
class RethinedConfig:
    """Everything that decides the shapes of the weights and the forward pass.

    Attributes:
        preset: name of the preset this started from.
        variant: ``paper`` follows the paper's equations, ``published`` the authors' code.
        widths: output channels of the encoder's stages 0 to 4.
        blocks: MobileOne blocks (a depthwise and a pointwise layer each) of stages 0 to 4.
        branches: k×k convolutions of a block while training; 1 after re-parameterisation.
        stage_branches: those of stages 0 to 4, where they are not ``branches`` in each (Apple's
            S0: one in stage 0, four elsewhere); empty where they are.
        squeeze_excite: how many blocks at the end of each stage carry squeeze-and-excitation.
        decoder: ``transposed`` is the published one, ``separable`` the mobile preset's light one.
        decoder_widths: output channels of d4, d3, d2, d1 (d0 ends in RGB).
        feature_stage: encoder stage whose features join the patch tokens; None: none do.
        d_k: channels of queries and keys.
        start: what the coarse model is given in the hole. ``zeros``, and it paints the image
            itself; or ``push-pull``, a smooth fill and the mask, and it predicts what to add.
        coherence: a coherence layer follows the token mixing.
        surroundings: scores also compare what is known around a query with what surrounds a key;
            not in the paper.
        blended: copied details set in gradually from the hole's edge, and are raised; without a
            coherence layer only, and not in the paper.
        deployed: the MobileOne blocks are re-parameterised to one convolution each.
        dialect: how a fork of the published code computes.
    """

    preset: str
    variant: Variant
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    branches: int
    squeeze_excite: tuple[int, ...]
    decoder: Decoder
    decoder_widths: tuple[int, ...]
    feature_stage: int | None
    d_k: int
    start: Start = "zeros"
    coherence: bool = True
    surroundings: bool = False
    blended: bool = False
    deployed: bool = False
    stage_branches: tuple[int, ...] = ()
    dialect: Dialect = AUTHORS

    @property
    def token_size(self) -> int:
        """Numbers in one attention token: an RGB patch and the features beside it."""
        beside = 0 if self.feature_stage is None else self.widths[self.feature_stage]
        return PATCH_SIZE + beside

    def branches_of(self, stage: int) -> int:
        """k×k convolutions of each block of an encoder stage."""
        return self.stage_branches[stage] if self.stage_branches else self.branches

    @property
    def coarse_inputs(self) -> int:
        """Channels that the coarse model takes: RGB, and the mask where a fill hides the hole."""
        return 3 if self.start == "zeros" else 4


PRESETS: dict[str, RethinedConfig] = {
    "mobile": RethinedConfig(
        preset="mobile",
        variant="paper",
        widths=(48, 48, 128, 256, 1024),
        blocks=(1, 2, 8, 10, 1),
        branches=4,
        squeeze_excite=(0, 0, 0, 0, 0),
        decoder="separable",
        decoder_widths=(192, 128, 64, 24),
        feature_stage=2,
        d_k=16,
    ),
    "paper": RethinedConfig(
        preset="paper",
        variant="paper",
        widths=(64, 192, 448, 896, 2048),
        blocks=(1, 2, 8, 10, 1),
        branches=1,
        squeeze_excite=(0, 0, 0, 5, 1),
        decoder="transposed",
        decoder_widths=(64, 64, 48, 32),
        feature_stage=3,
        d_k=2048,
    ),
}


#: What the authors' code sets differently; decoder widths are its skips' own, the repair that makes
#: the published shapes fit, and narrow for the mobile preset, to keep it under its parameter limit.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "mobile": {"decoder_widths": (64, 64, 48, 32)},
    "paper": {"decoder_widths": (896, 448, 192, 64), "feature_stage": 2, "d_k": 576},
}


def preset_config(preset: str, variant: Variant, dialect: Dialect = AUTHORS) -> RethinedConfig:
    """The configuration of a preset; the published variant always has the published decoder.

    Raises:
        ValueError: a dialect other than the authors' of the ``paper`` variant.
    """
    config = PRESETS[preset]
    if variant == "published":
        return replace(
            config,
            variant=variant,
            decoder="transposed",
            dialect=dialect,
            **_PUBLISHED[preset],
        )
    if dialect != AUTHORS:
        raise ValueError(f"{dialect} changes the published variant, not variant {variant}")
    return config
