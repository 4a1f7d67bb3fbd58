"""The judge of most models: the image, inside the hole.

Three programs meet on every scene: the reference model, the rewritten torch graph, the artifact.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.converters.types import Array, ArtifactError, Runner
from rethined_export.parity.gates import Fidelity
from rethined_export.parity.report import REWRITE_GATE, Judge, SceneParity, psnr
from rethined_export.parity.similarity import similarity
from rethined_export.photo.scenes import Scene

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: image ``[1, 3, H, W]`` and mask ``[1, 1, H, W]`` → image.
Network = Callable[[Tensor, Tensor], Tensor]


class ImageJudge(Judge):
    """Pixels in the hole; known ones must come back as they went in.

    Args:
        reference: the network as its paper has it. precise: the same in float64.
        rewritten: the torch programs that were exported, as a function of the whole.
        keeps_known: the network gives known pixels back untouched.
    """

    def __init__(
        self, reference: Network, precise: Network, rewritten: Runner, *, keeps_known: bool = True
    ) -> None:
        self._reference, self._precise, self._rewritten = reference, precise, rewritten
        self._keeps_known = keeps_known
        self._expected: tuple[Scene, Floats] | None = None

    def compare(self, runtime: Runner, scene: Scene) -> SceneParity:
        """Run the three on one scene."""
        hole = (scene.mask.expand_as(scene.image) > 0).numpy()
        made = image_of(runtime, scene)
        rewritten = image_of(self._rewritten, scene)
        self._expected = (scene, rewritten)
        with torch.no_grad():
            truth = self._reference(scene.image, scene.mask).numpy()
        apart = float(np.abs(rewritten - truth)[hole].max())
        error = np.abs(made - rewritten)[hole]
        known = np.abs(made - scene.image.numpy())[~hole]
        return SceneParity(
            scene=scene.name,
            cover=scene.cover,
            max_abs=error.max().item(),
            mean_abs=error.mean(dtype=np.float64).item(),
            psnr_hole_db=psnr(error),
            known_max_abs=known.max().item() if self._keeps_known and known.size else None,
            rewrite_max_abs=apart,
            noise=None if apart <= REWRITE_GATE else self._noise(scene, truth, hole),
        )

    def fidelity(self, outputs: Mapping[str, Array], scene: Scene) -> Fidelity:
        """By the image, and the photo that the hole hides."""
        seen, expected = self._expected or (None, np.empty(0, np.float32))
        if seen is not scene:
            expected = image_of(self._rewritten, scene)
        photo = scene.image.numpy()
        hole = (scene.mask.expand_as(scene.image) > 0).numpy()
        return image_fidelity(np.array(outputs["output"], np.float32), expected, photo, hole)

    def _noise(self, scene: Scene, truth: Floats, hole: Bools) -> float:
        """How far the reference in fp32 is from itself in fp64."""
        with torch.no_grad():
            exact = self._precise(scene.image, scene.mask).numpy()
        return float(np.abs(truth - exact)[hole].max())


def image_of(runtime: Runner, scene: Scene) -> Floats:
    """The artifact's image, checked to be one.

    Raises:
        ArtifactError: there is no ``output``, or it has another shape.
    """
    outputs: dict[str, Array] = runtime(image=scene.image.numpy(), mask=scene.mask.numpy())
    made = outputs.get("output")
    wanted = tuple(scene.image.shape)
    if made is None or made.shape != wanted:
        shapes = {name: tuple(value.shape) for name, value in outputs.items()}
        raise ArtifactError(f"its outputs are {shapes}, not {{'output': {wanted}}}")
    return np.array(made, np.float32)


def image_fidelity(made: Floats, expected: Floats, photo: Floats, hole: Bools) -> Fidelity:
    """Compare an artifact's image with torch's, and both with the photo.

    Args:
        made, expected, photo: RGB ``[1, 3, H, W]``. hole: ``[1, 3, H, W]``.
    """
    return Fidelity(
        psnr_hole_db=psnr((made - expected)[hole]),
        loss_db=psnr((expected - photo)[hole]) - psnr((made - photo)[hole]),
        loss_ssim=similarity(expected, photo, hole) - similarity(made, photo, hole),
    )
