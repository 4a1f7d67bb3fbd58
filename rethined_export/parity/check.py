"""Does a saved artifact compute what torch computes? Run it on photos and measure, in the hole.

Three programs meet on every scene: the reference model, the rewritten torch graph, the artifact. An
argmax can flip where two scores tie to rounding, and one flip changes a whole patch. So a flip is
accepted only where the scores it chose between differ by no more than the two runtimes' own score
error, and pixels are compared with torch made to use the artifact's own choice: every hole pixel
counts, and a wrong choice cannot hide behind a flip.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.converters.types import ArtifactError, Runner
from rethined_export.models.rethined import TOKENS, Rethined, reparameterise
from rethined_export.photo.scenes import Scene
from rethined_export.recipes.rethined.dropin import HoleGraph
from rethined_export.recipes.rethined.graph import ExportGraph
from rethined_export.recipes.rethined.graph import Scene as Described
from rethined_export.rewrite.tokens import Strongest

Graph = ExportGraph | HoleGraph
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: Largest pixel difference, rewritten graph against reference: both are torch in fp32.
REWRITE_GATE = 1e-5
#: Largest change of a pixel by re-parameterisation: rounding through some sixty layers.
FUSION_GATE = 1e-5
#: Largest pixel difference, artifact against rewritten graph, in fp32.
PIXEL_GATE = 1e-4
#: Largest score error relative to the largest score: fp32 through some sixty layers.
SCORE_GATE = 1e-4


@dataclass(frozen=True)
class Choice:
    """How the keys two programs chose compare over the hole tokens.

    Attributes:
        flips: choices that differ.
        unexplained: flips whose scores differ by more than twice the score error.
        score_error: largest difference of the scores of equal keys, relative to the largest score.
    """

    flips: int
    unexplained: int
    score_error: float


@dataclass(frozen=True)
class SceneParity:
    """Figures of one scene; pixels are those of the hole.

    Attributes:
        max_abs, mean_abs: artifact against the rewritten graph, image range [0, 1].
        psnr_hole_db: peak 1; 200 when equal.
        known_max_abs: largest change of a known pixel; None where the variant does not keep them.
        rewrite_max_abs: rewritten graph against the reference.
        rewrite_choice, choice: keys chosen; None for dense attention.
        mass_kept: mean attention mass of a hole query on the k keys kept; 1 for dense.
    """

    scene: str
    cover: float
    max_abs: float
    mean_abs: float
    psnr_hole_db: float
    known_max_abs: float | None
    rewrite_max_abs: float
    rewrite_choice: Choice | None
    choice: Choice | None
    mass_kept: float

    def failures(self) -> list[str]:
        """The gates this scene misses, one line each."""
        checks = [
            ("rewritten graph against reference", self.rewrite_max_abs, REWRITE_GATE),
            ("artifact against torch", self.max_abs, PIXEL_GATE),
            ("known pixels changed", self.known_max_abs or 0.0, 0.0),
        ]
        for name, choice in (("rewritten graph", self.rewrite_choice), ("artifact", self.choice)):
            if choice is not None:
                checks.append((f"unexplained flips of the {name}", choice.unexplained, 0))
                checks.append((f"score error of the {name}", choice.score_error, SCORE_GATE))
        return [
            f"{self.scene}: {name} {value:.3g}, gate {gate:.3g}"
            for name, value, gate in checks
            if not value <= gate  # NaN fails too
        ]


@dataclass(frozen=True)
class ParityReport:
    """An artifact's figures over all scenes, and the runtime that gave them."""

    runtime: str
    fusion_max_abs: float
    scenes: tuple[SceneParity, ...]

    @property
    def failures(self) -> list[str]:
        """Every missed gate; a report without scenes proves nothing and fails."""
        if not self.scenes:
            return ["no scene was run"]
        lines = [line for scene in self.scenes for line in scene.failures()]
        if not self.fusion_max_abs <= FUSION_GATE:
            lines.append(f"re-parameterisation changed the image by {self.fusion_max_abs:.3g}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Totals first, worst over the scenes; then every scene."""
        choices = [scene.choice for scene in self.scenes if scene.choice is not None]
        return {
            "passed": not self.failures,
            "runtime": self.runtime,
            "max_abs": max(scene.max_abs for scene in self.scenes),
            "mean_abs": max(scene.mean_abs for scene in self.scenes),
            "psnr_hole_db": min(scene.psnr_hole_db for scene in self.scenes),
            "index_flips": sum(choice.flips for choice in choices),
            "unexplained_flips": sum(choice.unexplained for choice in choices),
            "fusion_max_abs": self.fusion_max_abs,
            "rewrite_max_abs": max(scene.rewrite_max_abs for scene in self.scenes),
            "gates": {"max_abs": PIXEL_GATE, "rewrite_max_abs": REWRITE_GATE},
            "failures": self.failures,
            "scenes": [asdict(scene) for scene in self.scenes],
        }


def check_parity(
    model: Rethined, graph: Graph, runtime: Runner, scenes: Iterable[Scene]
) -> ParityReport:
    """Compare an artifact with torch.

    Args:
        model: the reference as trained; re-parameterisation is measured on the first scene, and
            its result is the reference of all (one convolution a block in place of many).

    Raises:
        ArtifactError: the artifact cannot be run, or its outputs have the wrong names or shapes.
    """
    reference = copy.deepcopy(model)
    reparameterise(reference)
    results: list[SceneParity] = []
    fused = 0.0
    with torch.no_grad():
        for scene in scenes:
            if not results:
                top_k = None if graph.upscale == "dense" else graph.top_k
                fused = _fusion_error(model, reference, scene, top_k)
            results.append(_compare(reference, graph, runtime, scene))
    return ParityReport(runtime.name, fused, tuple(results))


def _fusion_error(model: Rethined, reference: Rethined, scene: Scene, top_k: int | None) -> float:
    """Largest pixel of the image that re-parameterisation changed, keys being equal, [0, 1]."""
    fused = reference(scene.image, scene.mask, top_k=top_k)
    trained = model(scene.image, scene.mask, top_k=top_k, indices=fused.indices)
    return float((trained.output - fused.output).abs().max())


def _compare(reference: Rethined, graph: Graph, runtime: Runner, scene: Scene) -> SceneParity:
    image, mask = scene.image, scene.mask
    hole = (mask.expand_as(image) > 0).numpy()
    produced = _run(graph, runtime, scene)
    filled = produced.pop("output").numpy()
    described = graph.describe(image, mask)
    # An image of 8192² takes 0.8 GB: of each, only the pixels of the hole are kept.
    if graph.upscale == "dense":
        rewritten = expected = _within(hole, graph(image, mask)[0])
        truth = _within(hole, reference(image, mask).output)
        rewrite_choice = choice = None
        mass = 1.0
    else:
        table, asks = described.scores[0, 0], described.hole.flatten() > 0
        scores, indices = Strongest(graph.top_k, TOKENS)(described.scores)
        rewritten = _within(hole, graph.complete(image, mask, described, indices, scores))
        judged = reference(image, mask, top_k=graph.top_k, indices=indices[0].long())
        truth = _within(hole, judged.output)
        own = judged.scores.topk(graph.top_k, dim=1).indices
        rewrite_choice = compare_choice(judged.scores, own, indices[0], scores[0], asks)
        del judged
        chosen, their_scores = produced["indices"][0], produced["scores"][0]
        choice = compare_choice(table, indices[0].long(), chosen, their_scores, asks)
        expected = _within(hole, _complete_with(graph, scene, described, chosen))
        mass = _mass_kept(table[asks], indices[0][asks].long())
    error = np.abs(filled[hole] - expected)
    known = np.abs(filled - image.numpy())[~hole]
    return SceneParity(
        scene=scene.name,
        cover=scene.cover,
        max_abs=error.max().item(),
        mean_abs=error.mean(dtype=np.float64).item(),
        psnr_hole_db=_psnr(error),
        known_max_abs=known.max().item() if graph.paper and known.size else None,
        rewrite_max_abs=np.abs(rewritten - truth).max().item(),
        rewrite_choice=rewrite_choice,
        choice=choice,
        mass_kept=mass,
    )


def _within(hole: Bools, image: Tensor) -> Floats:
    """The values of an image inside the hole, in order, both ``[1, 3, S, S]``."""
    # numpy, since torch selects through a table of 32 bytes a value.
    values: Floats = image.numpy()[hole]
    return values


def _run(graph: Graph, runtime: Runner, scene: Scene) -> dict[str, Tensor]:
    """The artifact's outputs as tensors, checked against what the graph promises."""
    produced = {
        name: torch.from_numpy(np.array(value))
        for name, value in runtime(image=scene.image.numpy(), mask=scene.mask.numpy()).items()
    }
    wanted = {"output": tuple(scene.image.shape)}
    if graph.upscale != "dense":
        wanted |= dict.fromkeys(("indices", "scores"), (1, TOKENS, graph.top_k))
    if left := int(produced.pop("left", torch.zeros(1)).item()):
        raise ArtifactError(
            f"{scene.name}'s hole has {left} tokens more than the artifact fills; export with a "
            "larger --hole-budget, or with --split"
        )
    shapes = {name: tuple(value.shape) for name, value in produced.items()}
    if shapes != wanted:
        raise ArtifactError(f"its outputs are {shapes}, not {wanted}")
    return produced


def compare_choice(
    table: Tensor, own: Tensor, chosen: Tensor, their_scores: Tensor, asks: Tensor
) -> Choice:
    """Judge the keys a program chose by another program's scores.

    If every score of theirs is within e of ours, their best key cannot trail ours by more than 2·e
    on our scores. e is measured: their score of each key they chose against ours of the same key.

    Args:
        table: our biased scores ``[N, N]``.
        own: our keys ``[N, k]``; ``chosen``: theirs; ``their_scores``: of the keys they chose.
        asks: which queries count, ``[N]`` (hole tokens).
    """
    own, chosen, their_scores, table = (
        own[asks],
        chosen[asks].long(),
        their_scores[asks],
        table[asks],
    )
    valid = (chosen >= 0) & (chosen < table.shape[1])
    ours = table.gather(1, own)
    theirs = table.gather(1, chosen.clamp(0, table.shape[1] - 1))
    size = ours.abs().max().item()
    error = (their_scores - theirs).abs().max().item() / size
    flips = chosen != own
    margin = (ours - theirs).abs()
    # With few hole tokens the measured error is a small sample: allow fp32 rounding at least.
    allowed = 2 * size * max(error, torch.finfo(torch.float32).eps * 8)
    unexplained = flips & ~((margin <= allowed) & valid)
    return Choice(int(flips.sum()), int(unexplained.sum()), error)


def _complete_with(graph: Graph, scene: Scene, described: Described, chosen: Tensor) -> Tensor:
    """The rewritten graph's image when it must use the artifact's keys."""
    keys = chosen.long().clamp(0, TOKENS - 1)
    scores = described.scores[0, 0].gather(1, keys)
    return graph.complete(
        scene.image, scene.mask, described, keys[None].to(torch.int32), scores[None]
    )


def _mass_kept(scores: Tensor, indices: Tensor) -> float:
    return float(torch.softmax(scores, dim=1).gather(1, indices).sum(1).mean())


def _psnr(error: Floats) -> float:
    """Peak 1, in dB; 200 stands for equal (an error of 1e-10 everywhere)."""
    mse = np.square(error, dtype=np.float64).mean().item()
    return -10 * math.log10(max(mse, 1e-20)) if mse == mse else float("nan")
