"""A model's options, written once: command line, file name, manifest and messages follow from them.

Each recipe has a frozen dataclass of them, a subclass of :class:`Options` whose fields are made by
:func:`option`. Values are what JSON can hold, so that a manifest can.
"""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Self

from rethined_export.errors import UserError
from rethined_export.names import choose
from rethined_export.photo.window import Window

_SETTING = "setting"


@dataclass(frozen=True)
class Setting:
    """How one option is read and explained.

    Attributes:
        help: one line for ``--help``.
        parse: from the command line's text; raises UserError.
        flag: it takes no value. repeated: it may be given more than once.
        metavar: what stands for the value in ``--help``.
    """

    help: str
    parse: Callable[[str], Any]
    flag: bool = False
    repeated: bool = False
    metavar: str = "NAME"


def option(
    default: Any,
    help: str,
    *,
    choices: Collection[str] | None = None,
    parse: Callable[[str], Any] | None = None,
    repeated: bool = False,
    metavar: str = "NAME",
) -> Any:
    """A field of an options class; ``default`` decides its type, and False makes a flag.

    Args:
        choices: names it may have; others are refused with the nearest.
        parse: makes the value of the command line's text; default: the text itself.
    """
    setting = Setting(help, parse or str, default is False, repeated, metavar)
    known = None if choices is None else tuple(choices)
    return dataclasses.field(default=default, metadata={_SETTING: setting, "choices": known})


def io_option(native: str, plain: str = "image and mask in, filled image out") -> Any:
    """The field ``io``: the one convention of all artifacts, or the network's own interface.

    Args:
        native, plain: what an artifact of each takes and gives, in words.
    """
    said = f"plain: {plain}; native: {native} (default plain)"
    return option("plain", said, choices=("plain", "native"))


@dataclass(frozen=True)
class Options:
    """What can be chosen of a model; ``preset`` is the one option that all have."""

    preset: str

    @property
    def window(self) -> Window:
        """The pixels an artifact of these options takes."""
        raise NotImplementedError

    @property
    def inpaints(self) -> bool:
        """It fills photos: it takes an image and a mask."""
        return True

    @property
    def middle(self) -> int | None:
        """Side of the square in the window's middle that holes should lie in; None: anywhere."""
        return None

    def sized(self, window: Window) -> Self:
        """The same for another window.

        Raises:
            UserError: these options do not come in that size.
        """
        if window != self.window:
            raise UserError(f"this model works at {self.window}, not {window}")
        return self

    @property
    def preset_text(self) -> str:
        """The preset as the file name has it; empty where there is no choice."""
        return self.preset

    @property
    def size_text(self) -> str:
        """The window as the file name has it."""
        return str(self.window)

    @property
    def io(self) -> str:
        """``plain``: image and mask to image; ``native``: the network's own inputs and output."""
        return "plain"

    def check(self) -> None:
        """Refuse what the values cannot be together.

        Raises:
            UserError: one is unknown, or they contradict each other.
        """
        for field in dataclasses.fields(self):
            known = field.metadata.get("choices")
            value = getattr(self, field.name)
            if known is not None and value is not None:
                choose(flag(field.name), str(value), known)

    def family(self, model: str) -> str:
        """First part of the file name."""
        return model

    def form(self, part: str) -> str:
        """Last part of the file name before the precision; empty where the size says it all."""
        parts = ([] if part == "whole" else [part]) + ([] if self.io == "plain" else [self.io])
        return "-".join(parts)

    def embedded(self) -> Self:
        """As an artifact carries them: without places on this machine."""
        return self

    @classmethod
    def add_to(cls, parser: ArgumentParser) -> None:
        """Add every option to a parser; one that is not given stays None there."""
        for field in _chosen(cls):
            setting: Setting = field.metadata[_SETTING]
            how: dict[str, Any] = {"default": None, "help": setting.help}
            if setting.flag:
                how |= {"action": "store_true"}
            else:
                how |= {"metavar": setting.metavar}
                how |= {"action": "append"} if setting.repeated else {}
            parser.add_argument(flag(field.name), **how)

    @classmethod
    def read(cls, given: Namespace) -> Self:
        """The options of a command line, checked.

        Raises:
            UserError: one is wrong.
        """
        values: dict[str, Any] = {}
        for field in _chosen(cls):
            value, setting = getattr(given, field.name), field.metadata[_SETTING]
            if value is None:
                continue
            if setting.repeated:
                value = tuple(setting.parse(each) for each in value)
            elif not setting.flag:
                value = setting.parse(value)
            values[field.name] = value
        made = cls(**values)
        made.check()
        return made


def _chosen(kind: type[Options]) -> list[dataclasses.Field[Any]]:
    """Fields that the command line sets."""
    return [field for field in dataclasses.fields(kind) if _SETTING in field.metadata]


def flag(field: str) -> str:
    """``hole_budget`` → ``--hole-budget``."""
    return "--" + field.replace("_", "-")


def whole_number(option: str, least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers in a range."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise UserError(f"{option} {text} is not a whole number") from None
        if not least <= value <= most:
            raise UserError(f"{option} {value} must be from {least} to {most}")
        return value

    return parse


def size(multiple: int, least: int, most: int) -> Callable[[str], str]:
    """A parser of ``WIDTHxHEIGHT``, or one number for a square, in pixels.

    The value is ``WIDTHxHEIGHT`` (see :func:`window_of`).
    """

    def parse(text: str) -> str:
        sides = text.lower().replace("×", "x").split("x")
        try:
            numbers = [int(side) for side in sides]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2):
            raise UserError(f"--size {text} is not a size; write WIDTHxHEIGHT, such as 768x512")
        for number in numbers:
            near = min(max(round(number / multiple) * multiple, least), most)
            if not least <= number <= most:
                raise UserError(f"--size {text}: sides go from {least} to {most}, not {number}")
            if number % multiple:
                raise UserError(
                    f"--size {text}: {number} is not a multiple of {multiple}; nearest is {near}"
                )
        return f"{numbers[0]}x{numbers[-1]}"

    return parse


@dataclass(frozen=True)
class SizedOptions(Options):
    """Options of a model whose size is one of them, ``size``."""

    @property
    def size(self) -> str:
        """``WIDTHxHEIGHT``; a field of the same name takes its place."""
        raise NotImplementedError

    @property
    def window(self) -> Window:
        """The pixels an artifact takes."""
        return window_of(self.size)

    def check(self) -> None:
        """Also sizes that the model cannot take, by what reads them."""
        super().check()
        field = next(field for field in dataclasses.fields(self) if field.name == "size")
        if self.size:  # else the preset's
            field.metadata[_SETTING].parse(self.size)

    def sized(self, window: Window) -> Self:
        """The same for another window."""
        change: dict[str, Any] = {"size": f"{window.width}x{window.height}"}  # a subclass's field
        made = dataclasses.replace(self, **change)
        made.check()
        return made


def window_of(size: str) -> Window:
    """``768x512`` → 512 high, 768 wide."""
    width, height = map(int, size.split("x"))
    return Window(height, width)
