"""Questions about the method that only photos answer: the shipped network with one thing changed.

Run by ``make bench-method``. Each variation fills the bundled photos at 1024 under thick and thin
holes; texture gained stands against PSNR lost. The table goes to ``docs/method-questions.md``, the
curve to ``docs/method-questions.png``.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from rethined_export.models.rethined import LOW_RESOLUTION, PATCH, Rethined
from rethined_export.models.rethined.attention import attention_map, mask_scores
from rethined_export.models.rethined.blend import blend
from rethined_export.models.rethined.config import TOKENS
from rethined_export.models.rethined.filters import (
    BLUR_SIGMA,
    bicubic_downsample,
    bicubic_upsample,
    fold,
    gaussian_taps,
    high_frequencies,
    unfold,
)
from rethined_export.quality.metrics import Figures, mean, measure
from rethined_export.quality.scenes import STROKES, Case, under_strokes
from rethined_export.recipes.rethined import shipped_network

DOCS = Path("docs")


def _beyond(x: Tensor, base: Tensor, _scale: int) -> Tensor:
    """What the enlarged low-resolution image lacks."""
    return x - base


def _narrow_blur(x: Tensor, _base: Tensor, _scale: int) -> Tensor:
    """What the paper's blur takes away, of σ = 2.01 at any scale."""
    return high_frequencies(x)


def _wide_blur(x: Tensor, _base: Tensor, scale: int) -> Tensor:
    """What a blur of σ = 2.01·s takes away."""
    reach = 3 * scale
    taps = gaussian_taps(2 * reach + 1, BLUR_SIGMA * scale).to(x)
    padded = F.pad(x, [reach] * 4, mode="reflect")
    rows = F.conv2d(padded, taps.reshape(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)
    return x - F.conv2d(rows, taps.reshape(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)


@dataclass(frozen=True)
class Variation:
    """The method with one thing changed.

    Attributes:
        question: what is asked. answer: what this one does.
        keys: k, or None for dense attention.
        compares: what scores are made of.
        band: what is copied at full resolution, of the photo with its hole filled by the enlarged
            low-resolution image, of that image, and of s.
        window: copy patches of twice the side that overlap under a window, not whole ones.
        amount: how much of the copied high frequencies is added, at both resolutions, on top of
            the network's own gain.
        blended: the coarse image's details give way to copied ones from the hole's edge on.
        area: shrink by averaging, as the paper variant does, or by antialiased bicubic.
    """

    question: str
    answer: str
    keys: int | None = 1
    compares: frozenset[str] = frozenset({"projections", "surroundings"})
    band: Callable[[Tensor, Tensor, int], Tensor] = _beyond
    window: bool = False
    amount: float = 1.0
    blended: bool = True
    area: bool = True


_SHIPPED = Variation("shipped", "k = 1, whole patches, y − up(x̂_LR), area")
VARIATIONS = (
    _SHIPPED,
    replace(_SHIPPED, question="keys", answer="k = 4", keys=4),
    replace(_SHIPPED, question="keys", answer="k = 16", keys=16),
    replace(_SHIPPED, question="keys", answer="dense softmax", keys=None),
    replace(
        _SHIPPED,
        question="scores",
        answer="projections alone, as published",
        compares=frozenset({"projections"}),
    ),
    replace(
        _SHIPPED,
        question="scores",
        answer="surroundings alone",
        compares=frozenset({"surroundings"}),
    ),
    replace(_SHIPPED, question="band", answer="blur σ = 2.01, as published", band=_narrow_blur),
    replace(_SHIPPED, question="band", answer="blur σ = 2.01·s", band=_wide_blur),
    replace(_SHIPPED, question="seams", answer="overlapping, sin² window", window=True),
    replace(_SHIPPED, question="edge", answer="not blended, not raised", blended=False),
    replace(_SHIPPED, question="amount", answer="five quarters", amount=1.25),
    replace(_SHIPPED, question="amount", answer="three quarters", amount=0.75),
    replace(_SHIPPED, question="amount", answer="half", amount=0.5),
    replace(_SHIPPED, question="amount", answer="none: enlarged coarse image", amount=0.0),
    replace(_SHIPPED, question="shrinking", answer="bicubic, antialiased", area=False),
)


@torch.no_grad()
def fill(model: Rethined, case: Case, variation: Variation) -> tuple[Tensor, Tensor]:
    """The filled photo, and the same without upscaling by attention: ``[1, 3, S, S]`` each."""
    y, m = case.image, case.mask
    scale = y.shape[-1] // LOW_RESOLUTION
    x_low, m_low, hole = model.downsample(y, m, scale)
    if not variation.area:
        x_low = bicubic_downsample(y * (1 - m), scale) * (1 - m_low)
    coarse, features = model.coarse_model(x_low, m_low)
    composite = m_low * coarse + (1 - m_low) * x_low
    attention = _attention(model, composite, m_low, features, hole, variation)
    high = high_frequencies(composite)
    mixed = _copy(attention, hole, high, PATCH, variation)
    if variation.blended:
        low = composite + blend(m_low) * (model.generator.gain * mixed - high)
    else:
        low = composite + m_low * (mixed - high)
    base = bicubic_upsample(low, scale)
    context = (1 - m) * y + m * base
    copied = _copy(attention, hole, variation.band(context, base, scale), PATCH * scale, variation)
    return torch.where(m > 0, base + copied, y).clamp(0, 1), context.clamp(0, 1)


def _attention(
    model: Rethined,
    composite: Tensor,
    mask: Tensor,
    features: list[Tensor],
    hole: Tensor,
    variation: Variation,
) -> Tensor:
    head, scores = model.generator.multihead_attention, composite.new_zeros(TOKENS, TOKENS)
    if "projections" in variation.compares:
        tokens = model.tokens(composite, features)
        scores += head.scores(tokens, tokens)
    if "surroundings" in variation.compares:
        asking, offering = head.alike(composite, mask)
        scores += asking[0] @ offering[0].T
    return attention_map(mask_scores(scores, hole, "paper"), hole, variation.keys)[0]


def _copy(
    attention: Tensor, hole: Tensor, high: Tensor, patch: int, variation: Variation
) -> Tensor:
    """High frequencies ``[1, 3, S, S]`` put where the attention says."""
    side = high.shape[-1]
    if not variation.window:
        return variation.amount * fold(attention @ unfold(high, patch), patch, side, side)
    ramp = torch.sin(math.pi * (torch.arange(2 * patch) + 0.5) / (2 * patch)) ** 2
    margin = patch // 2
    tokens = F.unfold(F.pad(high, [margin] * 4, mode="reflect"), 2 * patch, stride=patch)[0].T
    mixed = attention @ tokens * torch.outer(ramp, ramp).flatten().repeat(3)
    folded = F.fold(mixed.T[None], (side + patch,) * 2, 2 * patch, stride=patch)
    return variation.amount * folded[:, :, margin:-margin, margin:-margin]


@dataclass(frozen=True)
class Answer:
    """A variation's figures under one kind of hole, averaged over photos.

    Attributes:
        lost: hole PSNR against the same without upscaling by attention, dB.
    """

    figures: Figures
    lost: float


@dataclass(frozen=True)
class Result:
    """A variation's answers, by kind of hole."""

    variation: Variation
    answers: dict[str, Answer]


def ask(model: Rethined, cases: list[Case], variation: Variation) -> Result:
    """Fill every case, and measure."""
    found: dict[str, tuple[list[Figures], list[Figures]]] = {kind: ([], []) for kind in STROKES}
    for case in cases:
        for image, into in zip(fill(model, case, variation), found[case.kind], strict=True):
            into.append(measure(image, case.image, case.mask))
    answers = {}
    for kind, (ours, enlarged) in found.items():
        figures = mean(ours)
        answers[kind] = Answer(figures, figures.psnr_hole - mean(enlarged).psnr_hole)
    return Result(variation, answers)


def markdown(results: list[Result], side: int, curve: str) -> str:
    """The table."""
    lines = [
        "# The method, one thing changed at a time",
        "",
        f"`make bench-method`: the shipped network at {side}², bundled photos, holes of seed 0. "
        "Hole PSNR in dB; in brackets, against the same without upscaling by attention. Texture: "
        "deviation of the high frequencies in the hole over the true one.",
        "",
        "| | question | answer | thick: PSNR | texture | BPE | thin: PSNR | texture | BPE |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, result in enumerate(results, 1):
        cells = [str(number), result.variation.question, result.variation.answer]
        for answer in result.answers.values():
            figures = answer.figures
            cells += [f"{figures.psnr_hole:.2f} ({answer.lost:+.2f})"]
            cells += [f"{figures.texture:.2f}", f"{figures.bpe:.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"![texture against PSNR]({curve})", ""])


def _plot(results: list[Result], side: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for axis, kind in zip(axes, STROKES, strict=True):
        for number, result in enumerate(results, 1):
            figures = result.answers[kind].figures
            at = figures.texture, figures.psnr_hole
            axis.plot(*at, "o", color="C3" if result.variation is _SHIPPED else "C0")
            beside = (4 + 10 * (number % 3), 4)
            axis.annotate(str(number), at, beside, textcoords="offset points", fontsize=8)
        axis.axvline(1, color="grey", linewidth=0.5)
        axis.set(title=f"{kind} holes, {side}²", xlabel="texture (1 is right)", ylabel="hole PSNR")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure every variation and write table, figures and curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hr", type=int, default=1024, choices=(1024, 2048))
    side = parser.parse_args().hr
    model = shipped_network()
    cases = under_strokes(side, 0)
    results = []
    for variation in VARIATIONS:
        print(f"{variation.question}: {variation.answer}", flush=True)
        results.append(ask(model, cases, variation))
    name = "method-questions" if side == 1024 else f"method-questions-{side}"
    (DOCS / f"{name}.md").write_text(markdown(results, side, f"{name}.png"))
    _plot(results, side, DOCS / f"{name}.png")


if __name__ == "__main__":
    main()
