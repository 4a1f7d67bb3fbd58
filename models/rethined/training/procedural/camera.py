"""What light and a camera do to a scene: shading, contrast, blur, sensor noise."""

import cv2
import numpy as np

from rethined_export.models.rethined.training.procedural.noise import Floats, field, ramp


def light(random: np.random.Generator, canvas: Floats) -> None:
    """Uneven light: a slope and soft shadows, in place."""
    side = len(canvas)
    slope = random.normal(0, 0.5) * ramp(random, side, side)
    soft = random.uniform(0, 0.15) * field(random, side, 2.5)
    canvas *= np.exp(slope + soft)[:, :, None]


def shoot(random: np.random.Generator, canvas: Floats) -> Floats:
    """The photograph of a scene: contrast, defocus, noise; in [0, 1]."""
    photo = np.clip(canvas, 0, 1) ** random.uniform(0.7, 1.5)
    if random.random() < 0.7:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), random.uniform(0.4, 2.0)))
    if random.random() < 0.5:
        noise = random.standard_normal(photo.shape, np.float32)
        photo = photo + random.exponential(0.01) * noise
    return np.clip(photo, 0, 1).astype(np.float32)
