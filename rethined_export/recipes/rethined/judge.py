"""RETHINED's judge: an argmax can flip where two scores tie to rounding, and one flip changes a
whole patch.

So a flip is accepted only where the scores it chose between differ by no more than the two
runtimes' own score error, and pixels are compared with torch made to use the artifact's own choice:
every hole pixel counts, and a wrong choice cannot hide behind a flip.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.converters.types import Array, ArtifactError, Runner
from rethined_export.models.rethined import TOKENS, Inpainter, reparameterise
from rethined_export.parity.gates import Fidelity
from rethined_export.parity.image import image_fidelity
from rethined_export.parity.report import REWRITE_GATE, Judge, SceneParity, psnr
from rethined_export.photo.scenes import Scene
from rethined_export.rewrite.tokens import Strongest

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: Largest change of a pixel by re-parameterisation: rounding through some sixty layers.
FUSION_GATE = 1e-5
#: Largest score error relative to the largest score: fp32 through some sixty layers.
SCORE_GATE = 1e-4


class Graph(Protocol):
    """A rewritten graph that says what it knows before it chooses, and goes on from any choice.

    Attributes:
        upscale: ``dense`` where it mixes all keys, and has nothing to choose.
        top_k: keys chosen for each token.
        keeps_known: known pixels come back as they came.
    """

    @property
    def upscale(self) -> str: ...

    @property
    def top_k(self) -> int: ...

    @property
    def keeps_known(self) -> bool: ...

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """The image first."""

    def describe(self, image: Tensor, mask: Tensor) -> Any:
        """Everything up to the scores: has ``scores`` ``[1, 1, N, N]`` and ``hole``."""

    def complete(
        self, image: Tensor, mask: Tensor, scene: Any, indices: Tensor, scores: Tensor
    ) -> Tensor:
        """The image, once keys are chosen."""

    def mass_kept(self, scene: Any, indices: Tensor) -> float:
        """Share of the attention of hole tokens on the keys chosen."""


@dataclass(frozen=True)
class Choice:
    """How the keys two programs chose compare over the hole tokens.

    Attributes:
        flips: choices that differ.
        unexplained: flips whose scores differ by more than twice the score error.
        score_error: largest difference of the scores of equal keys, relative to the largest score.
        asked: choices made.
    """

    flips: int
    unexplained: int
    score_error: float
    asked: int


@dataclass(frozen=True)
class Expected:
    """What torch makes of one scene, whatever an artifact makes of it.

    Attributes:
        hole: where pixels count, ``[1, 3, S, S]``.
        rewritten: the rewritten graph's values there, in order.
        described: what that graph knew before it chose; keys: what it chose, ``[N, k]``; choice:
            these beside the reference's. None where it is dense.
        mass_kept: share of hole tokens' attention on those keys.
        apart: largest difference of rewritten graph and reference.
        noise: the reference's own in float32; measured where the two are far apart, else None.
    """

    hole: Bools
    rewritten: Floats
    described: Any
    keys: Tensor | None
    choice: Choice | None
    mass_kept: float
    apart: float
    noise: float | None


@dataclass(frozen=True)
class RethinedParity(SceneParity):
    """Figures of one scene, with the keys chosen.

    Attributes:
        rewrite_choice, choice: of the rewritten graph and of the artifact; None where it is dense.
        mass_kept: mean attention mass of a hole query on the k keys kept; 1 for dense.
        least_mass: the least it may be; 0 where any is accepted.
    """

    rewrite_choice: Choice | None
    choice: Choice | None
    mass_kept: float
    least_mass: float

    def checks(self) -> list[tuple[str, float, float]]:
        """Those of the image, and of the keys."""
        return super().checks() + _choice_checks("rewritten graph", self.rewrite_choice)

    def exact_checks(self) -> list[tuple[str, float, float]]:
        """Those of the image, and of the keys; other precisions may choose as they like."""
        return super().exact_checks() + _choice_checks("artifact", self.choice)

    def failures(self) -> list[str]:
        """Also where the keys kept are too few to stand for the network's attention."""
        lines = super().failures()
        if not self.mass_kept >= self.least_mass:
            lines.append(
                f"{self.scene}: the keys kept hold {self.mass_kept:.1%} of the attention, least "
                f"{self.least_mass:.0%}, so this is another network than the one trained; use "
                "--upscale dense or a larger --top-k, or consent with --least-mass 0%"
            )
        return lines

    def columns(self) -> dict[str, str]:
        """Flips, and the share of attention kept."""
        flips = "-"
        if self.choice is not None:
            flips = _said(self.choice.flips, self.choice.unexplained, self.choice.asked)
        return {"flips": flips, "mass kept": f"{self.mass_kept:.2f}"}


def _choice_checks(name: str, choice: Choice | None) -> list[tuple[str, float, float]]:
    """Gates of the keys a program chose, if it chose any."""
    if choice is None:
        return []
    return [
        (f"unexplained flips of the {name}", choice.unexplained, 0),
        (f"score error of the {name}", choice.score_error, SCORE_GATE),
    ]


def _said(flips: int, unexplained: int, asked: int) -> str:
    """Flips as a table shows them."""
    return f"{flips} of {asked} ({unexplained} unexplained)"


class RethinedJudge(Judge):
    """Compares artifacts of one graph with the reference model.

    Args:
        model: the reference as trained; re-parameterisation is measured on the first scene, and its
            result is the reference of all (one convolution a block in place of many).
        graph: what was exported; of a pair, the whole it belongs to.
        least_mass: share of attention that the keys kept must hold; 0 accepts any.
    """

    def __init__(self, model: Inpainter, graph: Graph, least_mass: float = 0.0) -> None:
        self._model, self._graph, self._least_mass = model, graph, least_mass
        self._reference = copy.deepcopy(model)
        reparameterise(self._reference)
        self._fused: float | None = None

    def compare(self, runtime: Runner, scene: Scene) -> RethinedParity:
        """Run artifact, rewritten graph and reference on one scene."""
        with torch.no_grad():
            if self._fused is None:
                self._fused = self._fusion_error(scene)
            return self._compare(runtime, scene)

    def fidelity(self, outputs: Mapping[str, Array], scene: Scene) -> Fidelity:
        """By the image that each makes of the patches it chose itself."""
        made = np.array(outputs["output"], np.float32)
        with torch.no_grad():
            expected = self._filled(scene).numpy()
        hole = (scene.mask.expand_as(scene.image) > 0).numpy()
        return image_fidelity(made, expected, scene.image.numpy(), hole)

    def totals(self, scenes: Iterable[RethinedParity]) -> Mapping[str, Any]:
        """Flips over all scenes, the least attention kept, and what re-parameterisation changed."""
        found = list(scenes)
        choices = [scene.choice for scene in found if scene.choice is not None]
        return {
            "index_flips": sum(choice.flips for choice in choices),
            "unexplained_flips": sum(choice.unexplained for choice in choices),
            "choices": sum(choice.asked for choice in choices),
            "mass_kept": min((scene.mass_kept for scene in found), default=None),
            "fusion_max_abs": self._fused,
        }

    def columns(self, scenes: Iterable[RethinedParity]) -> Mapping[str, str]:
        """Flips, and the least share of attention kept."""
        totals = self.totals(scenes)
        flips = _said(totals["index_flips"], totals["unexplained_flips"], totals["choices"])
        return {"flips": flips, "attention kept": f"{totals['mass_kept']:.1%}"}

    def failures(self) -> list[str]:
        """Re-parameterisation that changed the image."""
        if self._fused is None or self._fused <= FUSION_GATE:
            return []
        return [f"re-parameterisation changed the image by {self._fused:.3g}"]

    def _fusion_error(self, scene: Scene) -> float:
        """Largest pixel of the image that re-parameterisation changed, keys being equal, [0, 1]."""
        top_k = None if self._graph.upscale == "dense" else self._graph.top_k
        fused = self._reference(scene.image, scene.mask, top_k=top_k)
        trained = self._model(scene.image, scene.mask, top_k=top_k, indices=fused.indices)
        return float((trained.output - fused.output).abs().max())

    def _compare(self, runtime: Runner, scene: Scene) -> RethinedParity:
        graph, image = self._graph, scene.image
        produced = _run(graph, runtime, scene)
        filled = produced.pop("output").numpy()
        ours = self._expect(scene)
        expected, choice = ours.rewritten, None
        if ours.keys is not None:
            chosen, their_scores = produced["indices"][0], produced["scores"][0]
            table, asks = ours.described.scores[0, 0], ours.described.hole.flatten() > 0
            choice = compare_choice(table, ours.keys, chosen, their_scores, asks)
            completed = _complete_with(graph, scene, ours.described, chosen)
            expected = _within(ours.hole, completed)
        error = np.abs(filled[ours.hole] - expected)
        known = np.abs(filled - image.numpy())[~ours.hole]
        return RethinedParity(
            scene=scene.name,
            cover=scene.cover,
            max_abs=error.max().item(),
            mean_abs=error.mean(dtype=np.float64).item(),
            psnr_hole_db=psnr(error),
            known_max_abs=known.max().item() if graph.keeps_known and known.size else None,
            rewrite_max_abs=ours.apart,
            noise=ours.noise,
            rewrite_choice=ours.choice,
            choice=choice,
            mass_kept=ours.mass_kept,
            least_mass=self._least_mass,
        )

    def _expect(self, scene: Scene) -> Expected:
        """Run rewritten graph and reference on one scene."""
        graph, image, mask = self._graph, scene.image, scene.mask
        hole = (mask.expand_as(image) > 0).numpy()
        # An image of 8192² takes 0.8 GB: of each, only the pixels of the hole are kept.
        if graph.upscale == "dense":
            described, keys, choice, mass = None, None, None, 1.0
            rewritten = _within(hole, graph(image, mask)[0])
            truth = _within(hole, self._reference(image, mask).output)
        else:
            described = graph.describe(image, mask)
            scores, indices = Strongest(graph.top_k, TOKENS)(described.scores)
            rewritten = _within(hole, graph.complete(image, mask, described, indices, scores))
            keys = indices[0].long()
            judged = self._reference(image, mask, top_k=graph.top_k, indices=keys)
            truth = _within(hole, judged.output)
            own = judged.scores.topk(graph.top_k, dim=1).indices
            asks = described.hole.flatten() > 0
            choice = compare_choice(judged.scores, own, indices[0], scores[0], asks)
            mass = graph.mass_kept(described, indices)
        apart = np.abs(rewritten - truth).max().item()
        noise = None if apart <= REWRITE_GATE else self._noise(scene, keys, truth, hole)
        return Expected(hole, rewritten, described, keys, choice, mass, apart, noise)

    def _filled(self, scene: Scene) -> Tensor:
        """The rewritten graph's image, of any hole: the program itself may have a budget."""
        graph, image, mask = self._graph, scene.image, scene.mask
        if graph.upscale == "dense":
            return graph(image, mask)[0]
        described = graph.describe(image, mask)
        scores, indices = Strongest(graph.top_k, TOKENS)(described.scores)
        return graph.complete(image, mask, described, indices, scores)

    def _noise(self, scene: Scene, keys: Tensor | None, truth: Floats, hole: Bools) -> float:
        """How far the reference's image is from the same in float64, keys being equal."""
        precise = copy.deepcopy(self._reference).double()
        top_k = None if keys is None else self._graph.top_k
        exact = precise(scene.image.double(), scene.mask.double(), top_k=top_k, indices=keys)
        return float(np.abs(truth - exact.output.numpy()[hole]).max())


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
    return Choice(int(flips.sum()), int(unexplained.sum()), error, chosen.numel())


def _complete_with(graph: Graph, scene: Scene, described: Any, chosen: Tensor) -> Tensor:
    """The rewritten graph's image when it must use the artifact's keys."""
    keys = chosen.long().clamp(0, TOKENS - 1)
    scores = described.scores[0, 0].gather(1, keys)
    return graph.complete(
        scene.image, scene.mask, described, keys[None].to(torch.int32), scores[None]
    )
