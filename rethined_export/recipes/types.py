"""What a recipe is: all that the pipeline needs to know of one model.

Checkpoint → reference → programs → (converter) → runners → caller → image. The pipeline, the
commands and the harness know models by this class alone.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rethined_export.converters.types import Array, Program, Runner, TensorInfo
from rethined_export.errors import UserError
from rethined_export.parity.image import ImageJudge
from rethined_export.parity.report import Judge
from rethined_export.photo.calibration import Calibration
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.photo.scenes import default_scenes, user_scene
from rethined_export.photo.squares import FillPhoto
from rethined_export.photo.window import Window
from rethined_export.recipes.options import Options

O = TypeVar("O", bound=Options)  # noqa: E741
Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[Any]

RGB, HOLE = "RGB in [0, 1]", "1 = hole to fill, 0 = known"
FILLED = "RGB, about [0, 1], known pixels as they came; clip before rounding to 8 bits"


@dataclass(frozen=True)
class Facts:
    """What ``--list-models`` tells.

    Attributes:
        presets: named networks. sizes: pixels an artifact may take.
        code_licence: of the original code (ours is written from facts).
        weights_licence, weights_from: of public weights, and where people get them.
        ships: whether weights come with this package.
    """

    name: str
    title: str
    paper: str
    presets: tuple[str, ...]
    sizes: str
    code_licence: str
    weights_licence: str
    weights_from: str
    ships: str = "no"


#: Name of weights that nobody trained.
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Reference:
    """A network in eval mode and where its weights came from.

    Attributes:
        model: float32.
        weights: the file's name, or ``untrained``.
        sha256: of the file's bytes, or of the untrained tensors.
        derived: what was read off the checkpoint because it differs from the preset.
        notes: what cannot be told from the file, for the user and the manifest.
    """

    model: nn.Module
    weights: str
    sha256: str
    derived: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Checkpoints as the user names them.

    Attributes:
        path: the file. key: the place in it, or None to find it.
        others: more files, where a model's networks lie in one each.
    """

    path: Path
    key: str | None = None
    others: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.path, *self.others)


@dataclass(frozen=True)
class Running:
    """A model's programs, ready to run: by part, and as one function from image and mask."""

    options: Options
    programs: Mapping[str, Runner]
    runner: Runner


@dataclass(frozen=True)
class PartRun:
    """What one program was given in a fill's first run of it, what it gave, and how often it ran.

    Arrays are as a :class:`Runner` has them.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    runs: int


@dataclass(frozen=True)
class Apart:
    """A fill in parts that a device can run one by one.

    Attributes:
        parts: of each program, by name.
        timers: by the device's machine (as ``uname -m`` says), a static program that does the rest,
            prints the milliseconds before and after the programs, a line a run, and leaves
            ``filled.raw``.
        files: what it reads, by name, in its folder.
        settings: its first arguments; threads, warm-up runs and runs follow.
        filled: the photo, filled here.
        page: what a browser's page runs beside the programs, and what it has to know.
    """

    parts: Mapping[str, PartRun]
    timers: Mapping[str, Path]
    files: Mapping[str, Pixels]
    settings: tuple[str, ...]
    filled: Pixels
    page: Path
    page_settings: Mapping[str, int]


#: What runs, photo ``[H, W, 3]`` and hole ``[H, W]`` → photo, filled.
Pipeline = Callable[[Running, Pixels, Bools], Pixels]


class Recipe(ABC, Generic[O]):
    """One model. Subclasses say how; what all have in common is here.

    Attributes:
        facts: what a user should know.
        options: class of its options.
        rewrites: what the programs replace by what, for the manifest.
        stands_in: where no weights are shipped, untrained ones are made without being asked for.
        trains: it has weights that can be trained or missing.
        checkpoints: as many files its weights may come in.
    """

    facts: ClassVar[Facts]
    options: type[O]
    rewrites: ClassVar[tuple[str, ...]] = ()
    stands_in: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    checkpoints: ClassVar[int] = 1

    @abstractmethod
    def reference(self, options: O, source: Source | None) -> Reference:
        """The network; from no source, the seeded stand-in.

        Its model is called with image ``[1, 3, H, W]`` and mask ``[1, 1, H, W]`` unless the recipe
        brings a judge and programs that call it otherwise.

        Raises:
            UserError: the checkpoint cannot be used; the message says why.
        """

    @abstractmethod
    def program(self, options: O, model: nn.Module, part: str) -> Program:
        """The torch module that is exported, with inputs to trace it by, and what they are."""

    def shipped(self, options: O) -> Path | None:
        """The weights that come with this package for these options."""
        return None

    def parts(self, options: O) -> tuple[str, ...]:
        """Names of the programs, in the order in which a caller runs them."""
        return ("whole",)

    def caller(self, options: O, programs: Mapping[str, Runner]) -> Runner:
        """The programs by part as one function from ``image`` and ``mask`` to ``output``."""
        return programs["whole"]

    def runs(self, options: O) -> int:
        """How often a fill runs the network."""
        return 1

    def fills_photos(self, options: O) -> bool:
        """Whether its caller fills photos in place, at their own resolution."""
        return False

    def photo_caller(
        self, options: O, programs: Mapping[str, Runner], threads: int
    ) -> FillPhoto | None:
        """A function that fills a photo in place at its own resolution, where there is one.

        Args:
            threads: for what is done beside the programs.
        """
        return None

    def taken_apart(
        self, options: O, programs: Mapping[str, Runner], photo: Pixels, hole: Bools
    ) -> Apart:
        """A fill of a square photo ``[S, S, 3]`` in parts, where several programs make it.

        Raises:
            UserError: this model's fills cannot be taken apart.
        """
        raise UserError(f"fills by {self.facts.title} cannot be timed in parts")

    def pipelines(self) -> Mapping[str, Pipeline]:
        """Ways around the hole other than ours, by the name that ``--pipeline`` takes."""
        return {}

    def judge(self, options: O, reference: Reference) -> Judge:
        """What compares a caller over artifacts with the reference."""
        model = reference.model
        programs = {
            part: TorchRunner(self.program(options, model, part)) for part in self.parts(options)
        }

        def plain(image: Tensor, mask: Tensor) -> Tensor:
            output: Tensor = model(image, mask)
            return output

        def precise(image: Tensor, mask: Tensor) -> Tensor:
            output: Tensor = copy.deepcopy(model).double()(image.double(), mask.double())
            return output

        return ImageJudge(plain, precise, self.caller(options, programs))

    def scenes(
        self,
        options: O,
        image: Path | None,
        mask: Path | None,
        rule: MaskRule = AS_IT_SAYS,
        frame: int = 1,
    ) -> Iterator[Any]:
        """What the judge compares on: the bundled photos, or the user's.

        Args:
            rule: how to read the user's mask. frame: which picture of its file the photo is.

        Raises:
            UserError: the user's cannot be used.
        """
        if image is not None and mask is not None:
            return iter([user_scene(image, mask, options.window, rule, frame)])
        return default_scenes(options.window, partial(self.bears, options))

    def calibration(self, options: O, calibration: Calibration) -> Iterator[Any]:
        """Scenes to measure activations on.

        Raises:
            UserError: the user's cannot be used.
        """
        return calibration.scenes(options.window, partial(self.bears, options))

    def takes_integers(self, options: O) -> bool:
        """Whether its caller can be told to give images in 8 bits: one program, nothing around."""
        return self.parts(options) == ("whole",) and options.io == "plain" and options.inpaints

    def bears(self, options: O, hole: Bools) -> bool:
        """Whether an artifact can fill a hole ``[H, W]`` whole."""
        return True

    def recognises(self, names: frozenset[str]) -> float:
        """How likely tensors of these names are this model's, 0 to 1."""
        return 0.0


class TorchRunner:
    """A module called as an artifact is: arrays by name in, arrays by name out."""

    name = "torch"

    def __init__(self, program: Program) -> None:
        self._module, self._outputs = program.module, program.outputs
        self.takes = frozenset(program.inputs)

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        with torch.no_grad():
            made = self._module(*(torch.from_numpy(np.asarray(x)) for x in inputs.values()))
        tensors = made if isinstance(made, tuple) else (made,)
        return {name: x.numpy() for name, x in zip(self._outputs, tensors, strict=True)}


def scene(window: Window) -> dict[str, Tensor]:
    """An image of noise, and a mask over its upper half's left part, to trace by."""
    height, width = window
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, height, width)
    mask[:, :, : height // 2, : max(width // 8, 1)] = 1
    return {"image": image, "mask": mask}


def image_info(name: str, channels: int, window: Window, meaning: str) -> TensorInfo:
    """Facts of an image tensor, float32."""
    return TensorInfo(name, (1, channels, *window), "NCHW", "float32", meaning)


def plain_io(window: Window) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """Inputs and outputs that every model has in common: image and mask to image."""
    takes = (image_info("image", 3, window, RGB), image_info("mask", 1, window, HOLE))
    return takes, (image_info("output", 3, window, FILLED),)
