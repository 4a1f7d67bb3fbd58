"""What a comparison of an artifact with torch finds, and the gates it must hold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rethined_export.converters.types import Array, Runner
from rethined_export.parity.gates import Fidelity, Gate, worst_of

Floats = npt.NDArray[np.floating[Any]]
#: Largest pixel difference, rewritten graph against reference: both are torch in fp32.
REWRITE_GATE = 1e-5
#: Largest pixel difference, artifact against rewritten graph, in fp32.
PIXEL_GATE = 1e-4
#: Reduced precision may change a known pixel by less than half a level of 8 bits.
KNOWN_GATE = 0.5 / 255
#: Two programs that each lie within the reference's own fp32 noise of the exact result may lie
#: twice that apart (triangle inequality).
NOISE_FACTOR = 2.0


@dataclass(frozen=True)
class SceneParity:
    """Figures of one scene; pixels are those of the hole.

    Attributes:
        cover: share of the image in the hole.
        max_abs, mean_abs: artifact against the rewritten graph, image range [0, 1].
        psnr_hole_db: peak 1; 200 when equal.
        known_max_abs: largest change of a known pixel; None where the network does not keep them.
        rewrite_max_abs: rewritten graph against the reference.
        noise: largest difference of the reference's image in fp32 from the same in fp64; None
            where it was not needed.
        fidelity: what reduced precision cost; None in fp32.
    """

    scene: str
    cover: float
    max_abs: float
    mean_abs: float
    psnr_hole_db: float
    known_max_abs: float | None
    rewrite_max_abs: float
    noise: float | None
    fidelity: Fidelity | None = field(default=None, kw_only=True)

    def checks(self) -> list[tuple[str, float, float]]:
        """Every gate of torch with itself: its name, the figure and the most it may be."""
        return [
            ("rewritten graph against reference", self.rewrite_max_abs, self._within(REWRITE_GATE))
        ]

    def exact_checks(self) -> list[tuple[str, float, float]]:
        """Every gate of an artifact in fp32."""
        return [
            ("artifact against torch", self.max_abs, self._within(PIXEL_GATE)),
            ("known pixels changed", self.known_max_abs or 0.0, 0.0),
        ]

    def reduced_checks(self) -> list[tuple[str, float, float]]:
        """Every gate of an artifact of reduced precision but those that depend on which."""
        return [("known pixels changed", self.known_max_abs or 0.0, KNOWN_GATE)]

    def _within(self, gate: float) -> float:
        """A gate, or what the reference's own noise excuses."""
        return max(gate, NOISE_FACTOR * (self.noise or 0.0))

    def failures(self) -> list[str]:
        """The gates this scene misses, one line each; those of a precision are not among them."""
        own = self.exact_checks() if self.fidelity is None else self.reduced_checks()
        return [
            f"{self.scene}: {name} {value:.3g}, gate {gate:.3g}"
            for name, value, gate in [*self.checks(), *own]
            if not value <= gate  # NaN fails too
        ]

    @property
    def shown_psnr_db(self) -> float:
        """Of the hole: the figure that the verdict goes by."""
        return self.psnr_hole_db if self.fidelity is None else self.fidelity.psnr_hole_db

    def columns(self) -> dict[str, str]:
        """What a table shows of this model beside the figures that all have."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """By name, with what a table shows."""
        columns = {**self.columns(), **_cost(self.fidelity)}
        return asdict(self) | {"columns": columns, "shown_psnr_db": self.shown_psnr_db}


def _cost(found: Fidelity | None) -> dict[str, str]:
    """What a table shows of reduced precision."""
    if found is None or found.loss_db is None or found.loss_ssim is None:
        return {}
    return {"lost to the photo": f"{found.loss_db:+.2f} dB, {found.loss_ssim:+.4f} SSIM"}


class Judge(ABC):
    """Compares what an artifact makes of a scene with what torch makes of it."""

    @abstractmethod
    def compare(self, runtime: Runner, scene: Any) -> SceneParity:
        """Run an artifact, as a function of the whole, on one scene.

        Raises:
            ArtifactError: it cannot be run, or its outputs have the wrong names or shapes.
        """

    @abstractmethod
    def fidelity(self, outputs: Mapping[str, Array], scene: Any) -> Fidelity:
        """What reduced precision costs: an artifact's outputs and torch's, each by its own choices.

        Args:
            outputs: of an artifact that :meth:`compare` has just run on the scene.
        """

    def totals(self, scenes: Iterable[Any]) -> Mapping[str, Any]:
        """Figures over all scenes that are this model's own; ``index_flips`` among them."""
        return {}

    def columns(self, scenes: Iterable[Any]) -> Mapping[str, str]:
        """What a table of artifacts shows beside the figures that all have, over all scenes."""
        return {}

    def failures(self) -> list[str]:
        """Gates missed that belong to no scene."""
        return []


@dataclass(frozen=True)
class ParityReport:
    """An artifact's figures over all scenes, and the runtime that gave them.

    Attributes:
        totals, columns: of the model's own judge. missed: gates that belong to no scene.
        gate: of a reduced precision.
    """

    runtime: str
    scenes: tuple[SceneParity, ...]
    totals: Mapping[str, Any]
    columns: Mapping[str, str]
    missed: tuple[str, ...] = ()
    gate: Gate | None = None

    @property
    def failures(self) -> list[str]:
        """Every missed gate; a report without scenes proves nothing and fails."""
        return [*self.broken, *self.lossy]

    @property
    def broken(self) -> list[str]:
        """Missed gates that nobody can consent to."""
        if not self.scenes:
            return ["no scene was run"]
        return [*(line for scene in self.scenes for line in scene.failures()), *self.missed]

    @property
    def lossy(self) -> list[str]:
        """Missed gates of the precision: the artifact is what it says, and costs too much."""
        if self.gate is None:
            return []
        found = [(scene.scene, scene.fidelity) for scene in self.scenes]
        return [line for name, one in found if one for line in self.gate.failures(name, one)]

    @property
    def _worst(self) -> Fidelity | None:
        costs = [scene.fidelity for scene in self.scenes if scene.fidelity is not None]
        return worst_of(costs) if costs else None

    def _quality(self) -> dict[str, Any]:
        """What reduced precision cost at worst, its gate, and what consent would lower that to."""
        worst = self._worst
        if self.gate is None or worst is None:
            return {"quality": None}
        accepting = None if self.broken else self.gate.accepting(worst)
        return {
            "quality": {
                **asdict(worst),
                "gate": asdict(self.gate),
                "accepting": accepting and asdict(accepting),
            }
        }

    def to_dict(self) -> dict[str, Any]:
        """Totals first, worst over the scenes; then every scene."""
        scenes = self.scenes
        return {
            "passed": not self.failures,
            "runtime": self.runtime,
            "max_abs": max(scene.max_abs for scene in scenes),
            "mean_abs": max(scene.mean_abs for scene in scenes),
            "psnr_hole_db": min(scene.shown_psnr_db for scene in scenes),
            "index_flips": None,
            **self.totals,
            "rewrite_max_abs": max(scene.rewrite_max_abs for scene in scenes),
            "gates": {"max_abs": PIXEL_GATE, "rewrite_max_abs": REWRITE_GATE},
            **self._quality(),
            "failures": self.failures,
            "columns": {**self.columns, **_cost(self._worst)},
            "scenes": [scene.to_dict() for scene in scenes],
        }


def check_parity(
    judge: Judge, runner: Runner, runtime: str, scenes: Iterable[Any], gate: Gate | None = None
) -> ParityReport:
    """Compare an artifact with torch on every scene.

    Args:
        runner: the artifact as a function of the whole. runtime: what runs it.
        gate: of its precision; None: fp32.

    Raises:
        ArtifactError: it cannot be run, or its outputs have the wrong names or shapes.
    """
    found = []
    for scene in scenes:
        recorded = _Recorded(runner)
        parity = judge.compare(recorded, scene)
        if gate is not None:
            parity = replace(parity, fidelity=judge.fidelity(recorded.outputs, scene))
        found.append(parity)
    return ParityReport(
        runtime,
        tuple(found),
        judge.totals(found),
        judge.columns(found),
        tuple(judge.failures()),
        gate,
    )


class _Recorded:
    """A runner that keeps what it last gave, so that nothing is run twice."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.name, self.takes = runner.name, runner.takes
        self.outputs: dict[str, Array] = {}

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        self.outputs = self._runner(**inputs)
        return self.outputs


def psnr(error: Floats) -> float:
    """Of differences at peak 1, in dB; 200 stands for equal (an error of 1e-10 everywhere)."""
    mse = np.square(error, dtype=np.float64).mean().item()
    return -10 * math.log10(max(mse, 1e-20)) if mse == mse else float("nan")
