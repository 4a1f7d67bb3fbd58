"""What a comparison of an artifact with torch finds, and the gates it must hold."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rethined_export.converters.types import Runner

Floats = npt.NDArray[np.floating[Any]]
#: Largest pixel difference, rewritten graph against reference: both are torch in fp32.
REWRITE_GATE = 1e-5
#: Largest pixel difference, artifact against rewritten graph, in fp32.
PIXEL_GATE = 1e-4
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
    """

    scene: str
    cover: float
    max_abs: float
    mean_abs: float
    psnr_hole_db: float
    known_max_abs: float | None
    rewrite_max_abs: float
    noise: float | None

    def checks(self) -> list[tuple[str, float, float]]:
        """Every gate: its name, the figure and the most it may be."""
        floor = NOISE_FACTOR * (self.noise or 0.0)
        return [
            ("rewritten graph against reference", self.rewrite_max_abs, max(REWRITE_GATE, floor)),
            ("artifact against torch", self.max_abs, max(PIXEL_GATE, floor)),
            ("known pixels changed", self.known_max_abs or 0.0, 0.0),
        ]

    def failures(self) -> list[str]:
        """The gates this scene misses, one line each."""
        return [
            f"{self.scene}: {name} {value:.3g}, gate {gate:.3g}"
            for name, value, gate in self.checks()
            if not value <= gate  # NaN fails too
        ]

    def columns(self) -> dict[str, str]:
        """What a table shows of this model beside the figures that all have."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """By name, with what a table shows."""
        return asdict(self) | {"columns": self.columns()}


class Judge(ABC):
    """Compares what an artifact makes of a scene with what torch makes of it."""

    @abstractmethod
    def compare(self, runtime: Runner, scene: Any) -> SceneParity:
        """Run an artifact, as a function of the whole, on one scene.

        Raises:
            ArtifactError: it cannot be run, or its outputs have the wrong names or shapes.
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
    """

    runtime: str
    scenes: tuple[SceneParity, ...]
    totals: Mapping[str, Any]
    columns: Mapping[str, str]
    missed: tuple[str, ...] = ()

    @property
    def failures(self) -> list[str]:
        """Every missed gate; a report without scenes proves nothing and fails."""
        if not self.scenes:
            return ["no scene was run"]
        return [*(line for scene in self.scenes for line in scene.failures()), *self.missed]

    def to_dict(self) -> dict[str, Any]:
        """Totals first, worst over the scenes; then every scene."""
        scenes = self.scenes
        return {
            "passed": not self.failures,
            "runtime": self.runtime,
            "max_abs": max(scene.max_abs for scene in scenes),
            "mean_abs": max(scene.mean_abs for scene in scenes),
            "psnr_hole_db": min(scene.psnr_hole_db for scene in scenes),
            "index_flips": None,
            **self.totals,
            "rewrite_max_abs": max(scene.rewrite_max_abs for scene in scenes),
            "gates": {"max_abs": PIXEL_GATE, "rewrite_max_abs": REWRITE_GATE},
            "failures": self.failures,
            "columns": dict(self.columns),
            "scenes": [scene.to_dict() for scene in scenes],
        }


def check_parity(judge: Judge, runner: Runner, runtime: str, scenes: Iterable[Any]) -> ParityReport:
    """Compare an artifact with torch on every scene.

    Args:
        runner: the artifact as a function of the whole. runtime: what runs it.

    Raises:
        ArtifactError: it cannot be run, or its outputs have the wrong names or shapes.
    """
    found = tuple(judge.compare(runner, scene) for scene in scenes)
    return ParityReport(
        runtime, found, judge.totals(found), judge.columns(found), tuple(judge.failures())
    )


def psnr(error: Floats) -> float:
    """Of differences at peak 1, in dB; 200 stands for equal (an error of 1e-10 everywhere)."""
    mse = np.square(error, dtype=np.float64).mean().item()
    return -10 * math.log10(max(mse, 1e-20)) if mse == mse else float("nan")
