"""What an artifact of reduced precision must keep, and what it was found to keep.

Reduced precision is not a rounding error that a bound could cover: whether an artifact is good
enough is decided in the picture. So the saved file is compared with torch in fp32, each going its
own way (it may choose other patches), and both with the photo that the hole hides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

#: What figures that were consented to may get worse by when they are measured again, elsewhere.
_SLACK_DB, _SLACK_LOSS_DB, _SLACK_SSIM = 1.0, 0.1, 0.005


@dataclass(frozen=True)
class Fidelity:
    """What reduced precision cost on one scene, in the hole.

    Attributes:
        psnr_hole_db: against torch in fp32, each by its own choices.
        loss_db, loss_ssim: PSNR and SSIM against the photo, torch's less the artifact's; None where
            there is no photo.
    """

    psnr_hole_db: float
    loss_db: float | None = None
    loss_ssim: float | None = None


@dataclass(frozen=True)
class Gate:
    """The least an artifact must keep, on every scene.

    Attributes:
        psnr_hole_db: least. loss_db, loss_ssim: most (see :class:`Fidelity`).
    """

    psnr_hole_db: float
    loss_db: float
    loss_ssim: float

    def failures(self, scene: str, found: Fidelity) -> list[str]:
        """The figures of a scene that miss it, one line each; NaN misses too."""
        lines = []
        if not found.psnr_hole_db >= self.psnr_hole_db:
            lines.append(
                f"{scene}: hole PSNR against fp32 {found.psnr_hole_db:.1f} dB, gate "
                f"{self.psnr_hole_db:.1f} dB"
            )
        losses = (("PSNR", found.loss_db, self.loss_db), ("SSIM", found.loss_ssim, self.loss_ssim))
        for name, value, most in losses:
            if value is not None and not value <= most:
                lines.append(f"{scene}: {name} lost against the photo {value:.3f}, gate {most:g}")
        return lines

    def accepting(self, worst: Fidelity) -> Self | None:
        """The gate that lets figures through that miss this one; None where they are no numbers."""
        figures = (worst.psnr_hole_db, worst.loss_db or 0.0, worst.loss_ssim or 0.0)
        if not all(map(math.isfinite, figures)):
            return None
        least, loss, ssim = figures
        return type(self)(
            min(self.psnr_hole_db, least - _SLACK_DB),
            max(self.loss_db, loss + _SLACK_LOSS_DB),
            max(self.loss_ssim, ssim + _SLACK_SSIM),
        )


_INT8 = Gate(psnr_hole_db=32.0, loss_db=0.3, loss_ssim=0.02)
#: By precision; fp32 has the gates of :mod:`rethined_export.parity.report`.
GATES = {
    "fp16": Gate(psnr_hole_db=45.0, loss_db=0.1, loss_ssim=0.005),
    "int8": _INT8,
    "int8-dynamic": _INT8,
    "int8-weights": _INT8,
    "mixed": Gate(psnr_hole_db=38.0, loss_db=0.1, loss_ssim=0.02),
    "palette6": _INT8,
    "palette4": _INT8,
}


def worst_of(found: list[Fidelity]) -> Fidelity:
    """Each figure where it is worst; a figure that is no number anywhere is none here."""

    def most(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.max(known)) if known else None

    return Fidelity(
        float(np.min([one.psnr_hole_db for one in found])),
        most([one.loss_db for one in found]),
        most([one.loss_ssim for one in found]),
    )
