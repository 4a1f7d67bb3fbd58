"""Bring your own: any torch module that a function in a user's file returns.

The file is the user's own code and is run, in a worker's process; nothing else ever is. A module
that takes ``image`` and ``mask`` and gives an image is judged on photos, in the hole; any other on
random inputs, and on given ones.
"""

import copy
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rethined_export.converters.types import Program, run_program
from rethined_export.errors import UserError
from rethined_export.parity.image import ImageJudge
from rethined_export.parity.report import Judge
from rethined_export.parity.tensors import Inputs, TensorJudge, given_inputs, random_inputs
from rethined_export.photo.calibration import DRAWN, Calibration
from rethined_export.photo.masks import AS_IT_SAYS, MaskRule
from rethined_export.photo.window import Window
from rethined_export.recipes.options import Options, option
from rethined_export.recipes.reference import hash_tensors
from rethined_export.recipes.types import Facts, Recipe, Reference, Source, TorchRunner, scene

_IMAGE, _MASK = "image", "mask"
#: Sets of random inputs that a module is judged on.
_JUDGED = 3


def _place(text: str) -> str:
    """``FILE.py:FUNCTION``, the file by its whole path."""
    file, _, function = text.rpartition(":")
    if not file or not function.isidentifier():
        raise UserError(f"--module {text} is not FILE.py:FUNCTION, such as net.py:build")
    if not Path(file).is_file():
        raise UserError(f"--module {text}: there is no file {file}")
    return f"{Path(file).absolute()}:{function}"


def _input(text: str) -> str:
    """``NAME=1x3x512x512``."""
    name, _, shape = text.partition("=")
    sides = shape.lower().replace("×", "x").split("x")
    if not name.isidentifier() or not all(re.fullmatch(r"[1-9][0-9]{0,8}", side) for side in sides):
        raise UserError(f"--input {text} is not NAME=SHAPE, such as image=1x3x512x512")
    return f"{name}={'x'.join(sides)}"


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise UserError(f"--given {text}: there is no such file")
    return str(Path(text).absolute())


@dataclass(frozen=True)
class ModuleOptions(Options):
    """Where the module is, and what it takes."""

    preset: str = "own"
    module: str = option(
        "", "your own: the function returns a torch module", parse=_place,
        metavar="FILE.py:FUNCTION",
    )  # fmt: skip
    input: tuple[str, ...] = option(
        (), "an input, such as image=1x3x512x512; one for each, in order", parse=_input,
        repeated=True, metavar="NAME=SHAPE",
    )  # fmt: skip
    given: str | None = option(
        None, "inputs by name to compare on, beside random ones", parse=_file, metavar="FILE.npz"
    )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the inputs, in order."""
        named = (text.split("=") for text in self.input)
        return {name: tuple(map(int, shape.split("x"))) for name, shape in named}

    @property
    def inpaints(self) -> bool:
        """It takes an image and a mask of one size, and nothing else."""
        shapes = self.shapes
        image, mask = shapes.get(_IMAGE, ()), shapes.get(_MASK, ())
        return (
            list(shapes) == [_IMAGE, _MASK]
            and image[:2] == (1, 3)
            and mask[:2] == (1, 1)
            and len(image) == 4
            and image[2:] == mask[2:]
        )

    @property
    def window(self) -> Window:
        """Of the image.

        Raises:
            UserError: it takes no image and mask.
        """
        if not self.inpaints:
            raise UserError(
                f"this module takes {', '.join(self.input)}; photos need image=1x3xHxW and "
                "mask=1x1xHxW"
            )
        return Window(*self.shapes[_IMAGE][2:])

    @property
    def size_text(self) -> str:
        """The file's and the function's names, and the size of an inpainter."""
        file, _, function = self.module.rpartition(":")
        name = f"{Path(file).stem}.{function}"
        return f"{name}-{self.window}" if self.inpaints else name

    def check(self) -> None:
        """Both must be given; inputs once each."""
        super().check()
        if not self.module:
            raise UserError("--model module needs --module FILE.py:FUNCTION")
        if not self.input:
            raise UserError("--module needs an --input NAME=SHAPE for each input, in order")
        for text in self.input:
            _input(text)
        if len(self.shapes) < len(self.input):
            raise UserError(f"--input names one twice: {', '.join(self.input)}")

    def embedded(self) -> "ModuleOptions":
        """Without the places of files on this machine."""
        file, _, function = self.module.rpartition(":")
        return replace(self, module=f"{Path(file).name}:{function}", given=None)


class Named(nn.Module):
    """A module whose outputs are a tuple, whatever form they had.

    Attributes:
        names: of the outputs, once it has been called.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(named(self.module(*inputs)).values())


def named(made: Any) -> dict[str, Tensor]:
    """Outputs by name: those of a dictionary, else ``output``, ``output1``, ….

    Raises:
        UserError: one is no tensor.
    """
    if isinstance(made, Mapping):
        outputs = {str(name): value for name, value in made.items()}
    else:
        values = made if isinstance(made, (tuple, list)) else (made,)
        outputs = {f"output{i or ''}": value for i, value in enumerate(values)}
    if strange := [name for name, value in outputs.items() if not isinstance(value, Tensor)]:
        kind = type(outputs[strange[0]]).__name__
        raise UserError(f"the module gives a {kind} as {strange[0]}; it must give tensors")
    return outputs


def load_module(place: str) -> nn.Module:
    """Run a user's file and call its function.

    Raises:
        UserError: the file or the function fails, or gives no module.
    """
    file, _, function = place.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(Path(file).parent))
    try:
        spec.loader.exec_module(module)
        build = getattr(module, function, None)
        if not callable(build):
            raise UserError(f"{file} has no function {function}")
        made = build()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{place} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if not isinstance(made, nn.Module):
        raise UserError(f"{place} returns a {type(made).__name__}, not a torch module")
    return made.eval().requires_grad_(False)


class ModuleRecipe(Recipe[ModuleOptions]):
    """A program as it is: nothing is rewritten, and what does not convert is named."""

    facts = Facts(
        name="module",
        title="your own module",
        paper="-",
        presets=(),
        sizes="what it takes",
        code_licence="yours",
        weights_licence="yours",
        weights_from="--module FILE.py:FUNCTION, which loads its own",
    )
    options = ModuleOptions
    trains = False

    def reference(self, options: ModuleOptions, source: Source | None) -> Reference:
        """What the function returns, moved to nowhere: it must run on the CPU."""
        module = load_module(options.module)
        return Reference(module, Path(options.embedded().module).name, hash_tensors(module))

    def program(self, options: ModuleOptions, model: nn.Module, part: str) -> Program:
        """The module, with inputs of the shapes given.

        Raises:
            UserError: it does not run on them, or takes image and mask and gives no image.
        """
        inputs = scene(options.window) if options.inpaints else random_inputs(options.shapes, 0)
        try:
            with torch.no_grad():
                outputs = named(model(*inputs.values()))
        except UserError:
            raise
        except Exception as error:
            shapes = ", ".join(options.input)
            text = " ".join(str(error).split())[:300]
            raise UserError(
                f"{options.module} does not run on {shapes} on a CPU: "
                f"{type(error).__name__}: {text}"
            ) from error
        names = tuple(outputs)
        images: tuple[str, ...] = ()
        if options.inpaints:
            shape = tuple(outputs[names[0]].shape)
            if shape != tuple(inputs[_IMAGE].shape):
                raise UserError(
                    f"{options.module} gives {list(shape)}, not an image "
                    f"{list(inputs[_IMAGE].shape)}; name its inputs otherwise to compare tensors"
                )
            names = ("output", *names[1:])
            images = (_IMAGE, _MASK, "output")
        with torch.no_grad():
            return run_program(Named(model), inputs, names, images)

    def scenes(
        self,
        options: ModuleOptions,
        image: Path | None,
        mask: Path | None,
        rule: MaskRule = AS_IT_SAYS,
        frame: int = 1,
    ) -> Iterator[Any]:
        """Photos for an inpainter; else random inputs, and the given ones."""
        if options.inpaints:
            yield from super().scenes(options, image, mask, rule, frame)
            return
        if image is not None:
            raise UserError("--image and --mask are for modules that take image and mask")
        for seed in range(_JUDGED):
            yield Inputs(f"random {seed}", random_inputs(options.shapes, seed))
        if options.given is not None:
            yield given_inputs(Path(options.given), options.shapes)

    def calibration(self, options: ModuleOptions, calibration: Calibration) -> Iterator[Any]:
        """Photos for an inpainter; else random inputs, others than it is judged on."""
        if options.inpaints:
            yield from super().calibration(options, calibration)
            return
        if calibration.photos is not None:
            raise UserError("--calibration is for modules that take image and mask")
        for seed in range(_JUDGED, _JUDGED + DRAWN):
            yield Inputs(f"random {seed}", random_inputs(options.shapes, seed))

    def judge(self, options: ModuleOptions, reference: Reference) -> Judge:
        """Pixels in the hole, or every output's values."""
        model = reference.model
        program = self.program(options, model, "whole")
        if not options.inpaints:
            return TensorJudge(TorchRunner(program))

        def plain(image: Tensor, mask: Tensor) -> Tensor:
            return next(iter(named(model(image, mask)).values()))

        def precise(image: Tensor, mask: Tensor) -> Tensor:
            double = copy.deepcopy(model).double()
            return next(iter(named(double(image.double(), mask.double())).values()))

        return ImageJudge(plain, precise, TorchRunner(program), keeps_known=False)


RECIPE = ModuleRecipe()
