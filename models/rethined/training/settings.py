"""What a training run is: read from TOML, checked, compared on resuming."""

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rethined_export.models.rethined.config import (
    LOW_RESOLUTION,
    PRESETS,
    RethinedConfig,
    Start,
    preset_config,
)

#: Side of the images that crops are cut from; a stage's crop is at most this large.
IMAGE_SIDE = LOW_RESOLUTION


class TrainingError(ValueError):
    """The run cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class Stage:
    """One part of a run, with an optimiser of its own.

    Attributes:
        part: ``coarse`` trains the coarse model, ``attention`` the projections on a frozen one,
            ``whole`` both on what comes out at low resolution.
        side: of the square crops, in pixels.
        batch: images in a step, over all processes.
        steps: of the optimiser.
        rate: learning rate after the warm-up; it then falls to a hundredth along a cosine.
        pixels: weight of the coarse model's error in the hole.
        features: how strongly the painted pixels are pulled by what an image classifier sees
            differently, against the pull of their error (at weight 1).
        critic: the same for the doubt of a critic that learns to tell painted from true patches.
        resemblance: the same for the difference of that critic's features.
        matching: weight of the expected cost of copied patches; not used by ``coarse``.
        minutes: the stage takes no longer, and its rate falls with the time if that runs out
            sooner than the steps: for a machine whose speed is not known. 0: as long as it takes.
    """

    part: Literal["coarse", "attention", "whole"]
    side: int
    batch: int
    steps: int
    rate: float
    pixels: float = 1.0
    features: float = 0.0
    critic: float = 0.0
    resemblance: float = 0.0
    matching: float = 1.0
    minutes: float = 0.0

    @property
    def has_critic(self) -> bool:
        """Whether a critic is trained beside the network."""
        return self.critic > 0 or self.resemblance > 0


@dataclass(frozen=True)
class Photographs:
    """How often some photographs are drawn.

    Attributes:
        files: their names, as a pattern: ``reef-*.jpg``.
        weight: of all of them together; a photograph that no pattern fits has weight 1.
    """

    files: str
    weight: float


@dataclass(frozen=True)
class Settings:
    """A whole run.

    Attributes:
        stages: run one after another.
        preset: widths and depths.
        start: what the coarse model is given in the hole.
        coherence: whether there is a coherence layer.
        surroundings: whether scores compare what surrounds tokens.
        branches: k×k convolutions of a MobileOne block while training.
        seed: of the weights, the images and the masks.
        images: procedural images drawn before they repeat; not used where ``procedural`` is 0 and
            there are photographs.
        procedural: share of crops from procedural images where there are photographs too.
        photos: which photographs are drawn more or less often.
        precision: of the convolutions; the weights and the loss are fp32.
        average: what a step leaves of the running mean of weights that is shipped in place of the
            last ones; 0 ships the last.
    """

    stages: tuple[Stage, ...]
    preset: str = "mobile"
    start: Start = "push-pull"
    coherence: bool = False
    surroundings: bool = True
    branches: int = 1
    seed: int = 0
    images: int = 4000
    procedural: float = 0.0
    photos: tuple[Photographs, ...] = ()
    precision: Literal["fp32", "bf16"] = "fp32"
    average: float = 0.0

    @property
    def config(self) -> RethinedConfig:
        """The model's shapes."""
        return dataclasses.replace(
            preset_config(self.preset, "paper"),
            start=self.start,
            coherence=self.coherence,
            surroundings=self.surroundings,
            blended=not self.coherence,
            branches=self.branches,
        )

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)


_CHOICES = {
    "part": ("coarse", "attention", "whole"),
    "precision": ("fp32", "bf16"),
    "start": ("zeros", "push-pull"),
    "preset": tuple(PRESETS),
}

_MAY_BE_ZERO = frozenset(
    {
        "seed",
        "pixels",
        "features",
        "critic",
        "resemblance",
        "matching",
        "minutes",
        "procedural",
        "average",
    }
)


def load_settings(path: Path) -> Settings:
    """Read settings from TOML: the fields of :class:`Settings`, ``[[photos]]``, ``[[stages]]``.

    Raises:
        TrainingError: unreadable, or a field that is unknown, missing, or of an unusable value.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read settings {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML: {error}") from error
    stages = document.get("stages")
    if not isinstance(stages, list) or not stages:
        raise TrainingError(f"{path} has no [[stages]]; a run needs at least one")
    read = tuple(_stage(path, number, stage) for number, stage in enumerate(stages, 1))
    photos = document.get("photos", [])
    if not isinstance(photos, list) or not all(isinstance(entry, dict) for entry in photos):
        raise TrainingError(f"{path}: photos is no list of tables; write [[photos]]")
    weighed = tuple(_build(Photographs, entry, f"{path}, photos") for entry in photos)
    made: Settings = _build(Settings, document | {"stages": read, "photos": weighed}, str(path))
    for name in ("procedural", "average"):
        if getattr(made, name) >= 1:
            raise TrainingError(f"{path}: {name} = {getattr(made, name)}; use 0 to less than 1")
    if made.coherence and any(stage.part == "whole" for stage in read):
        raise TrainingError(f"{path}: no coherence layer is trained; a whole stage needs it off")
    return made


def _stage(path: Path, number: int, document: dict[str, Any]) -> Stage:
    where = f"{path}, stage {number}"
    stage = _build(Stage, document, where)
    if stage.side % 32 or stage.side & (stage.side - 1) or stage.side > IMAGE_SIDE:
        raise TrainingError(f"{where}: side = {stage.side}; use a power of two, 32 to {IMAGE_SIDE}")
    if stage.part != "coarse" and stage.side != LOW_RESOLUTION:
        raise TrainingError(f"{where}: attention is trained at side = {LOW_RESOLUTION}")
    if stage.part == "attention" and (stage.has_critic or stage.features):
        raise TrainingError(f"{where}: features and critics judge images; use part = whole")
    return stage


def _build(kind: type[Any], document: dict[str, Any], where: str) -> Any:
    """A dataclass of a table whose every entry has the field's type and a usable value."""
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    if unknown := sorted(document.keys() - fields.keys()):
        raise TrainingError(f"{where}: unknown {', '.join(unknown)} (known: {', '.join(fields)})")
    required = {name for name, entry in fields.items() if entry.default is dataclasses.MISSING}
    if missing := sorted(required - document.keys()):
        raise TrainingError(f"{where}: {', '.join(missing)} missing")
    for name, value in document.items():
        _check(fields[name], value, where)
    return kind(**document)


def _check(entry: "dataclasses.Field[Any]", value: Any, where: str) -> None:
    name = entry.name
    if name in ("stages", "photos"):
        return
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise TrainingError(f"{where}: {name} = {value!r}; use {' or '.join(_CHOICES[name])}")
    elif entry.type in (int, float):
        whole = entry.type is int
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        may_be_zero = name in _MAY_BE_ZERO
        if not fits or not math.isfinite(value) or value < 0 or (value == 0 and not may_be_zero):
            kind = "whole number" if whole else "number"
            least = ", or 0" if may_be_zero else ""
            raise TrainingError(f"{where}: {name} = {value!r}; use a positive {kind}{least}")
    elif entry.type is str:
        if not isinstance(value, str):
            raise TrainingError(f"{where}: {name} = {value!r}; use text")
    elif not isinstance(value, bool):
        raise TrainingError(f"{where}: {name} = {value!r}; use true or false")
