"""The judge of a network that decides, place by place, what counts as known from here on.

A place is painted if its priority reaches a share of the largest. Two runtimes that differ by a
rounding may decide differently where one lies at that share, and every later number follows from
it. So an artifact tells when each place was known (its output ``updates``), torch decides as it
did, and each decision that torch would have taken otherwise must have been within rounding.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rethined_export.converters.types import Array, ArtifactError, Runner
from rethined_export.models.pmrf import DELTA, LEVELS, Inpainter, PmrfConfig, mask_update
from rethined_export.parity.gates import Fidelity
from rethined_export.parity.image import ImageJudge, image_fidelity
from rethined_export.parity.report import Judge, SceneParity
from rethined_export.photo.scenes import Scene
from rethined_export.recipes.pmrf.graph import Plain

#: How near to the deciding share of the largest priority rounding may decide: relative to the
#: largest, and of priorities in maps whose values are about 1.
NEAR, NEAR_NOTHING = 1e-4, 1e-5


@dataclass(frozen=True)
class PmrfParity(SceneParity):
    """Figures of one scene, with the decisions taken.

    Attributes:
        flips: that torch would have taken otherwise. unexplained: of those, not within rounding.
        decided: places that were unknown, over all updates.
    """

    flips: int
    unexplained: int
    decided: int

    def exact_checks(self) -> list[tuple[str, float, float]]:
        """Those of the image, and of the decisions; other precisions may decide as they like."""
        return [*super().exact_checks(), ("unexplained flips of the mask", self.unexplained, 0)]

    def columns(self) -> dict[str, str]:
        """Flips."""
        return {"flips": _said(self.flips, self.decided, self.unexplained)}


class PmrfJudge(Judge):
    """Compares artifacts with the reference model, both deciding as the artifact did.

    Args:
        model: the reference. rewritten: what was exported.
    """

    def __init__(self, model: Inpainter, config: PmrfConfig, rewritten: Plain) -> None:
        self._model, self._config, self._rewritten = model, config, rewritten

    def compare(self, runtime: Runner, scene: Scene) -> PmrfParity:
        """Run artifact, rewritten graph and reference on one scene."""
        outputs = runtime(image=scene.image.numpy(), mask=scene.mask.numpy())
        updates = _updates_of(outputs, scene)
        followed = Followed(self._config, updates)

        def plain(image: Tensor, mask: Tensor) -> Tensor:
            made: Tensor = self._model(image, mask, Followed(self._config, updates))
            return made

        def precise(image: Tensor, mask: Tensor) -> Tensor:
            rule = Followed(self._config, updates.double())
            made: Tensor = copy.deepcopy(self._model).double()(image.double(), mask.double(), rule)
            return made

        judge = ImageJudge(plain, precise, _Following(self._rewritten, followed))
        found = judge.compare(_Made(runtime.name, outputs), scene)
        return PmrfParity(
            **vars(found),
            flips=followed.flips,
            unexplained=followed.unexplained,
            decided=followed.decided,
        )

    def fidelity(self, outputs: Mapping[str, Array], scene: Scene) -> Fidelity:
        """By the image, each deciding for itself."""
        with torch.no_grad():
            expected, _ = self._rewritten(scene.image, scene.mask)
        hole = (scene.mask.expand_as(scene.image) > 0).numpy()
        made = np.array(outputs["output"], np.float32)
        return image_fidelity(made, expected.numpy(), scene.image.numpy(), hole)

    def totals(self, scenes: Iterable[PmrfParity]) -> Mapping[str, Any]:
        """Flips over all scenes."""
        found = list(scenes)
        return {
            "index_flips": sum(scene.flips for scene in found),
            "unexplained_flips": sum(scene.unexplained for scene in found),
            "choices": sum(scene.decided for scene in found),
        }

    def columns(self, scenes: Iterable[PmrfParity]) -> Mapping[str, str]:
        """Flips."""
        totals = self.totals(scenes)
        told = (totals["index_flips"], totals["choices"], totals["unexplained_flips"])
        return {"flips": _said(*told)}


def _said(flips: int, decided: int, unexplained: int) -> str:
    """Flips as a table shows them."""
    return f"{flips} of {decided} ({unexplained} unexplained)"


class Followed:
    """A rule that decides as an artifact did, and counts where the slides' would not have.

    Args:
        updates: ``[1, 4, H, W]``, by level from the lowest, how often a place was known.
    """

    def __init__(self, config: PmrfConfig, updates: Tensor) -> None:
        self.flips = self.unexplained = self.decided = 0
        self._masks = iter(_masks(config, updates))

    def __call__(self, known: Tensor, count: Tensor, priority: Tensor) -> Tensor:
        given, own = next(self._masks), mask_update(known, count, priority)
        largest = (priority * (1 - known)).max()
        near = (priority - DELTA * largest).abs() <= NEAR * largest + NEAR_NOTHING
        # What was known stays so, and what has no known neighbour is not painted.
        near = near & (known == 0) & (count > 0)
        flips = given != own
        self.flips += int(flips.sum())
        self.unexplained += int((flips & ~near).sum())
        self.decided += int((known == 0).sum())
        return given


def _masks(config: PmrfConfig, updates: Tensor) -> Iterator[Tensor]:
    """What was known after each update, in the order in which the network makes them."""
    each = config.updates // config.masked_stages
    for stage in range(config.masked_stages):
        for level in range(LEVELS):
            side = 2 ** config.shrinkings(level)
            known_for = updates[:, level : level + 1, ::side, ::side]
            for update in range(stage * each, (stage + 1) * each):
                yield (known_for >= config.updates - update).to(updates.dtype)


def _updates_of(outputs: Mapping[str, Array], scene: Scene) -> Tensor:
    """What an artifact tells of its decisions.

    Raises:
        ArtifactError: nothing, or something of another shape.
    """
    found = outputs.get("updates")
    wanted = (1, LEVELS, *scene.image.shape[2:])
    if found is None or found.shape != wanted:
        shapes = {name: tuple(value.shape) for name, value in outputs.items()}
        raise ArtifactError(f"its outputs are {shapes}, not 'updates' of {wanted}")
    return torch.from_numpy(np.array(found, np.float32)).round()


class _Made:
    """A runner of what was run already."""

    takes = frozenset({"image", "mask"})

    def __init__(self, name: str, outputs: Mapping[str, Array]) -> None:
        self.name, self._outputs = name, dict(outputs)

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        return self._outputs


class _Following:
    """The rewritten graph as a runner, deciding by a rule."""

    name = "torch"
    takes = frozenset({"image", "mask"})

    def __init__(self, rewritten: Plain, rule: Followed) -> None:
        self._rewritten, self._rule = rewritten, rule

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        image, mask = (torch.from_numpy(np.asarray(inputs[name])) for name in ("image", "mask"))
        with torch.no_grad():
            output, _ = self._rewritten(image, mask, self._rule)
        return {"output": output.numpy()}
