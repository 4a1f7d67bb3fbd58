"""How one step of RePaint is compared: a whole fill of thousands would take hours."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.converters.types import Array, ArtifactError, Runner
from rethined_export.models.repaint import INPUTS, RepaintStep, Schedule, Stepped, mixed, noises
from rethined_export.parity.gates import Fidelity
from rethined_export.parity.report import REWRITE_GATE, Judge, SceneParity, psnr
from rethined_export.photo.scenes import Scene

_OUTPUTS = ("output", "guess")
#: Levels that steps are taken from, of the highest: scenes have them in turn. The guess tells most
#: of the network where it is not clamped and neither image nor noise is nearly all; at the ends are
#: the formulas that no other level has.
_LEVELS = (0.3, 1.0, 0.0, 0.4)


@dataclass(frozen=True)
class StepScene(Scene):
    """A photo, noised, and the noise of one step.

    Attributes:
        x, known_noise, noise: ``[1, 3, H, W]``. t: ``[1]``, the level.
    """

    x: Tensor
    t: Tensor
    known_noise: Tensor
    noise: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """As a step takes them, in order."""
        return self.x, self.t, self.image, self.mask, self.known_noise, self.noise

    @property
    def inputs(self) -> dict[str, npt.NDArray[np.float32]]:
        """By name."""
        return {name: x.numpy() for name, x in zip(INPUTS, self.tensors, strict=True)}


def step_scenes(scenes: Iterable[Scene], schedule: Schedule) -> Iterator[StepScene]:
    """Photos as scenes of one step each, at different levels, the same noise every time."""
    table = torch.from_numpy(schedule.table())
    for number, scene in enumerate(scenes):
        draw = noises(scene.image, seed=number)
        level = round(_LEVELS[number % len(_LEVELS)] * (schedule.steps - 1))
        row = table[level][None, :, None, None]
        x = mixed(scene.image, row, scene.image, torch.zeros_like(scene.mask), draw())
        t = torch.tensor([float(level)])
        yield StepScene(
            f"{scene.name}, step {level}", scene.image, scene.mask, x, t, draw(), draw()
        )


class StepJudge(Judge):
    """The level below and the guess of the clean image, all pixels of them.

    The guess is the network's word times what a step divides the image's share by, up to 157: a
    difference counts by that less.

    Args:
        reference: as the paper has it. rewritten: the torch program that was exported, as a step.
    """

    def __init__(self, reference: RepaintStep, rewritten: Runner) -> None:
        self._reference, self._rewritten = reference, rewritten

    def compare(self, runtime: Runner, scene: StepScene) -> SceneParity:
        """Run the three on one step."""
        made = runtime(**scene.inputs)
        rewritten = self._rewritten(**scene.inputs)
        with torch.no_grad():
            truth = self._reference(*scene.tensors)
        plain = _named(truth)
        error = self._apart(made, rewritten, scene)
        apart = float(self._apart(rewritten, plain, scene).max())
        return SceneParity(
            scene=scene.name,
            cover=scene.cover,
            max_abs=float(error.max()),
            mean_abs=float(error.mean()),
            psnr_hole_db=psnr(error),
            known_max_abs=None,  # noise lies on them until the walk is over
            rewrite_max_abs=apart,
            noise=None if apart <= REWRITE_GATE else self._noise(plain, scene),
        )

    def fidelity(self, outputs: Mapping[str, Array], scene: StepScene) -> Fidelity:
        """By both outputs: one step shows no photo."""
        return Fidelity(psnr(self._apart(outputs, self._rewritten(**scene.inputs), scene)))

    def _noise(self, plain: Mapping[str, Array], scene: StepScene) -> float:
        """How far the reference in fp32 is from itself in fp64."""
        double = copy.deepcopy(self._reference).double()
        with torch.no_grad():
            exact = _named(double(*(x.double() for x in scene.tensors)))
        return float(self._apart(plain, exact, scene).max())

    def _apart(
        self, made: Mapping[str, Array], truth: Mapping[str, Array], scene: StepScene
    ) -> npt.NDArray[np.float64]:
        """Differences of all values, those of the guess by its factor less.

        Raises:
            ArtifactError: an output is missing, or has another shape.
        """
        found = {name: value.shape for name, value in made.items()}
        wanted = dict.fromkeys(_OUTPUTS, tuple(scene.image.shape))
        if found != wanted:
            raise ArtifactError(f"its outputs are {found}, not {wanted}")
        factor = max(1.0, float(self._reference.table[int(scene.t), 3]))
        apart = [
            np.abs(np.subtract(made[name], truth[name], dtype=np.float64)).ravel() / scale
            for name, scale in zip(_OUTPUTS, (1.0, factor), strict=True)
        ]
        return np.concatenate(apart)


def _named(made: Stepped) -> dict[str, Array]:
    """A step's outputs as a program names them."""
    return dict(zip(_OUTPUTS, (x.numpy() for x in made), strict=True))
