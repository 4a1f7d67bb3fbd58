"""The judge of modules that are no inpainters: every value of every output."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rethined_export.converters.types import Array, ArtifactError, Runner
from rethined_export.errors import UserError
from rethined_export.parity.gates import Fidelity
from rethined_export.parity.report import Judge, SceneParity, psnr

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Inputs:
    """One set of inputs by name."""

    name: str
    tensors: dict[str, Tensor]

    @property
    def inputs(self) -> dict[str, Array]:
        """As a runner takes them."""
        return {name: tensor.numpy() for name, tensor in self.tensors.items()}


def random_inputs(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """Uniform values in [0, 1), float32, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def given_inputs(file: Path, shapes: Shapes) -> Inputs:
    """Inputs from an ``.npz`` file.

    Raises:
        UserError: unreadable, or an array is missing or of another shape.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: np.array(stored[name], np.float32) for name in shapes}
    except KeyError as error:
        raise UserError(f"--given {file}: {error.args[0]}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"--given {file} is not an .npz file of arrays: {error}") from error
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise UserError(f"--given {file}: {name} is {arrays[name].shape}, not {shape}")
    return Inputs(file.stem, {name: torch.from_numpy(value) for name, value in arrays.items()})


class TensorJudge(Judge):
    """Largest difference of any output, relative to its largest magnitude where that is over 1.

    Args:
        module: the torch program that was exported.
    """

    def __init__(self, module: Runner) -> None:
        self._module = module

    def compare(self, runtime: Runner, scene: Inputs) -> SceneParity:
        """Run both on one set of inputs."""
        error = self._error(runtime(**scene.inputs), scene)
        return SceneParity(
            scene=scene.name,
            cover=1.0,
            max_abs=float(error.max()),
            mean_abs=float(error.mean()),
            psnr_hole_db=psnr(error),
            known_max_abs=None,
            rewrite_max_abs=0.0,  # nothing is rewritten
            noise=None,
        )

    def fidelity(self, outputs: Mapping[str, Array], scene: Inputs) -> Fidelity:
        """By all values: there is no photo."""
        return Fidelity(psnr(self._error(outputs, scene)))

    def _error(self, made: Mapping[str, Array], scene: Inputs) -> npt.NDArray[np.float64]:
        """Differences of all values from torch's."""
        truth = self._module(**scene.inputs)
        shapes = {name: value.shape for name, value in made.items()}
        wanted = {name: value.shape for name, value in truth.items()}
        if shapes != wanted:
            raise ArtifactError(f"its outputs are {shapes}, not {wanted}")
        errors = []
        for name, expected in truth.items():
            exact = expected.astype(np.float64)
            size = max(1.0, float(np.abs(exact).max(initial=0)))
            errors.append(np.abs(made[name].astype(np.float64) - exact).ravel() / size)
        return np.concatenate(errors)
