"""Questions about the method that only training answers: short runs that differ in one thing.

Run by ``make bench-training``. Coarse models learn from scratch at 128 px, attention on top of the
shipped coarse model; every run of a table sees the same batches. All are too short to be good: read
them against each other. The tables go to ``docs/training-questions.md``.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from rethined_export.models.rethined import Rethined
from rethined_export.models.rethined.config import Start
from rethined_export.models.rethined.initialise import untrained
from rethined_export.models.rethined.training.images import Images, procedural_pool
from rethined_export.models.rethined.training.objective import Descent
from rethined_export.models.rethined.training.samples import Samples, collate
from rethined_export.models.rethined.training.settings import Settings, Stage
from rethined_export.models.rethined.training.start import new_model
from rethined_export.quality.attention import mass_kept
from rethined_export.quality.methods import Method, classical, network
from rethined_export.quality.metrics import Figures, mean, measure
from rethined_export.quality.questions import DOCS
from rethined_export.quality.scenes import STROKES, Case, under_strokes
from rethined_export.recipes.rethined import shipped_network

TABLE = DOCS / "training-questions.md"
_COARSE = Stage("coarse", side=128, batch=16, steps=600, rate=2e-3)
_ATTENTION = Stage("attention", side=512, batch=2, steps=200, rate=1e-3)
_IMAGES, _SEED = 1000, 0


@dataclass(frozen=True)
class CoarseRun:
    """A coarse model.

    Attributes:
        start: what it is given in the hole. sees_mask: whether it is told where the hole is.
    """

    answer: str
    start: Start = "push-pull"
    sees_mask: bool = True


@dataclass(frozen=True)
class AttentionRun:
    """Attention on the shipped coarse model.

    Attributes:
        changes: to the shipped configuration. A coherence layer, which no loss here trains, is set
            near the identity.
    """

    answer: str
    changes: dict[str, Any] = field(default_factory=dict)


COARSE_RUNS = (
    CoarseRun("push–pull fill and mask (shipped)"),
    CoarseRun("push–pull fill, mask hidden", sees_mask=False),
    CoarseRun("zeros, as published", start="zeros"),
)
ATTENTION_RUNS = (
    AttentionRun("stage 2 (stride 8), d_k = 16 (shipped)"),
    AttentionRun("features of stage 1 (stride 4)", {"feature_stage": 1}),
    AttentionRun("features of stage 3 (stride 16)", {"feature_stage": 3}),
    AttentionRun("d_k = 4", {"d_k": 4}),
    AttentionRun("d_k = 64", {"d_k": 64}),
    AttentionRun("coherence layer, near identity", {"coherence": True, "blended": False}),
)


def fit(model: Rethined, stage: Stage, images: Images) -> None:
    """Train a part of a model, in place; it ends in eval mode."""
    samples = Subset(Samples(images, stage.side, _SEED), range(stage.steps * stage.batch))
    loader = DataLoader(samples, stage.batch, num_workers=1, collate_fn=collate)
    descent = Descent(model, stage, bf16=True)
    for number, batch in enumerate(loader, 1):
        descent.step(number, batch.to(torch.device("cpu")))
    model.eval().requires_grad_(False)


def coarse_model(run: CoarseRun, images: Images) -> Rethined:
    """A model whose coarse part was trained for a run."""
    model = new_model(Settings((_COARSE,), start=run.start, seed=_SEED))
    if not run.sees_mask:
        model.coarse_model.model.register_forward_pre_hook(_hide_mask)
    fit(model, _COARSE, images)
    return model


def _hide_mask(_encoder: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """The encoder's fourth channel, everywhere known."""
    (x,) = inputs
    return (torch.cat([x[:, :3], torch.zeros_like(x[:, 3:])], dim=1),)


def whole_model(run: AttentionRun, shipped: Rethined, images: Images) -> Rethined:
    """The shipped coarse model under attention trained for a run."""
    config = dataclasses.replace(shipped.config, **run.changes)
    torch.manual_seed(_SEED)
    model = Rethined(config)
    model.coarse_model = shipped.coarse_model
    if config.coherence:
        plain = dataclasses.replace(config, deployed=False)
        model.generator.final_conv = untrained(plain).generator.final_conv
    fit(model, _ATTENTION, images)
    return model


def means(method: Method, cases: list[Case], kind: str) -> Figures:
    """A method's figures, averaged over the cases of one kind of hole."""
    chosen = [case for case in cases if case.kind == kind]
    filled = zip(chosen, method.fill(chosen).images, strict=True)
    return mean([measure(image, case.image, case.mask) for case, image in filled])


def coarse_row(run: CoarseRun, model: Rethined, cases: list[Case]) -> str:
    """A line of the first table."""
    methods = {method.name: method for method in (*classical(), *network(model))}
    cells = [run.answer]
    for kind in STROKES:
        painted = means(methods["coarse model only"], cases, kind)
        gain = painted.psnr_hole - means(methods["push–pull fill"], cases, kind).psnr_hole
        cells += [f"{painted.psnr_hole:.2f} ({gain:+.2f})", f"{painted.bpe:.4f}"]
    return _line(cells)


def attention_row(run: AttentionRun, model: Rethined, low: list[Case], cases: list[Case]) -> str:
    """A line of the second table; attention itself is judged at ``low``, 512²."""
    (method,) = (method for method in network(model) if method.name == "k = 1")
    cells = [run.answer]
    for kind in STROKES:
        found = means(method, cases, kind)
        cells += [f"{found.psnr_hole:.2f}", f"{found.texture:.2f}", f"{found.bpe:.4f}"]
    return _line([*cells, f"{mass_kept(model, low)[1]:.0%}"])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_ABOUT = f"""\
# The method, trained one way and another

`make bench-training`: short runs on procedural images, judged on the bundled photos, holes of seed
0. All are far shorter than the training of the shipped weights: read the lines of a table against
each other. Hole PSNR in dB.

## What the coarse model is given

{_COARSE.steps} steps of {_COARSE.batch} crops of {_COARSE.side} px, from scratch; at 512². In
brackets: against the plain push–pull fill.

| given | thick: PSNR | BPE | thin: PSNR | BPE |
|---|---|---|---|---|"""
_ABOUT_ATTENTION = f"""
## What attention compares

{_ATTENTION.steps} steps of {_ATTENTION.batch} images on the shipped coarse model; k = 1 at
1024². The last column is the share of the attention that one key keeps.

| | thick: PSNR | texture | BPE | thin: PSNR | texture | BPE | kept |
|---|---|---|---|---|---|---|---|"""


def lines() -> Iterator[str]:
    """Both tables, each line as soon as it is known."""
    images = procedural_pool(Path("build/questions"), _SEED, _IMAGES, 2, lambda _: None)
    low, large = (under_strokes(side, _SEED) for side in (512, 1024))
    shipped = shipped_network()
    yield _ABOUT
    for coarse in COARSE_RUNS:
        yield coarse_row(coarse, coarse_model(coarse, images), low)
    yield _ABOUT_ATTENTION
    for run in ATTENTION_RUNS:
        yield attention_row(run, whole_model(run, shipped, images), low, large)


def main() -> None:
    """Train and judge every run, and write the tables."""
    made: list[str] = []
    for line in lines():
        print(line, flush=True)
        made.append(line)
    TABLE.write_text("\n".join([*made, ""]))


if __name__ == "__main__":
    main()
