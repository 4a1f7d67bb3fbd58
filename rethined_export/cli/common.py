"""What the command lines share: parsing, messages, exit codes."""

import argparse
import codecs
import io
import json
import math
import os
import platform
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from rethined_export import cli
from rethined_export.errors import UnavailableError, UserError
from rethined_export.jobs.parent import JobError, OnStage

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _UnwrittenError(OSError):
    """Standard output takes no more."""


@contextmanager
def _to_output() -> Iterator[None]:
    """Tell a full standard output from any other trouble.

    Raises:
        _UnwrittenError: it is full. BrokenPipeError: its reader has gone.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _UnwrittenError(*error.args) from error


class _Results(Console):
    """A console for what was asked for."""

    def __exit__(self, *raised: Any) -> None:
        """Where what was printed is written."""
        with _to_output():
            super().__exit__(*raised)


class _Notes(Console):
    """A console whose text may be lost: nobody's work ends because a note cannot be written."""

    def __exit__(self, *raised: Any) -> None:
        """Where what was printed is written."""
        try:
            super().__exit__(*raised)
        except BrokenPipeError:  # the reader has gone, and the work with it
            raise
        except OSError:
            _silence(sys.stderr)


#: As both print it: no markup, no emoji names, no wrapping.
_AS_IT_IS: dict[str, Any] = {
    "highlight": False, "soft_wrap": True, "markup": False, "emoji": False,
}  # fmt: skip
out = _Results(**_AS_IT_IS)
#: Errors, notes and progress; with ``--json`` everything but the document itself.
err = _Notes(stderr=True, **_AS_IT_IS)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help lists the options)")

    def print_help(self, _file: object = None) -> None:
        """As results are printed, so that a full output is noticed; argparse ignores one."""
        print_text(self.format_help().rstrip("\n"))


#: What the versions of decide how an artifact turns out or runs.
_PACKAGES = (
    "torch", "onnx", "onnxruntime", "onnxscript", "onnxsim", "litert-torch", "ai-edge-litert",
    "coremltools", "tensorflow", "pillow", "opencv-python-headless",
)  # fmt: skip


class _Version(argparse.Action):
    """Prints versions without importing anything, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_given: object) -> NoReturn:
        told = [
            f"{parser.prog} {_version('rethined-export')}",
            f"python {platform.python_version()}",
        ]
        print_text("\n".join([*told, *(f"{name} {_version(name)}" for name in _PACKAGES)]))
        parser.exit()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose help ends in examples."""
    made = _Parser(
        prog=name,
        description=textwrap.fill(description, 88),
        epilog=f"examples:\n{examples}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    made.add_argument(
        "--version", action=_Version, nargs=0, help="this program's version and the converters'"
    )
    return made


def run(command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """Run a command; every failure is one line on standard error and its exit code.

    With ``--json`` a command that fails before it has results still prints a document.
    """
    _open_streams()
    _spell_in_any_encoding()
    try:
        try:
            return _run(command, arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        fail(f"cannot write to standard output: {error.strerror or error}")
    return 1


def _open_streams() -> None:
    """Let nothing that is opened later pass for a standard stream that the caller closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def _silence(stream: TextIO | None) -> None:
    """Keep the interpreter from complaining at exit about what it could not write."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]


#: What terminals of another encoding show instead.
_SPELT = {"Δ": "diff", "×": "x", "–": "-", "—": "-", "…": "...", "≤": "<=", "≥": ">=", "²": "^2"}


def _spell_in_any_encoding() -> None:
    """What a terminal's encoding lacks is spelt out; it must not end a command that went well."""
    codecs.register_error("rethined", _spelt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="rethined")


def _spelt(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_SPELT.get(c, ascii(c)[1:-1]) for c in lacking), error.end


def _run(command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """Run a command with signals as interruptions, and report how it failed."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries; what concerns the user is said here
            _check_folder()
            return command(arguments)
    except KeyboardInterrupt:
        message, code = "interrupted; nothing half-written was left", INTERRUPTED
    except (UserError, JobError) as error:
        message, code = str(error), error.exit_code
    except (BrokenPipeError, _UnwrittenError):
        raise
    except Exception as error:
        if os.environ.get("RETHINED_DEBUG"):
            raise
        text = f"unexpected {type(error).__name__}: {error} (RETHINED_DEBUG=1 shows where)"
        message, code = text, 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    fail(message)
    if "--json" in (sys.argv[1:] if arguments is None else arguments):
        print_json({"artifacts": [], "failure": message, "exit_code": code})
    return code


def _check_folder() -> None:
    """Libraries ask for the working directory, and fail in words of their own.

    Raises:
        UserError: it has been deleted.
    """
    if cli.started_nowhere:
        raise UserError("the working directory has been deleted; change to another")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End the command once; a second signal must not cut the cleaning up short."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def plain(text: str) -> str:
    """Text on one line, with what a terminal could take for a command made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(console: Console, text: str) -> None:
    """Print one line."""
    console.print(plain(text))


def fail(message: str) -> None:
    """One line of error."""
    line = " ".join(message.splitlines())
    err.print(Text.assemble(("error: ", "bold red"), plain(line)))


def print_json(document: dict[str, Any]) -> None:
    """Print a document to standard output; JSON has no NaN or infinity, so those become null."""
    print_text(json.dumps(_finite(document), indent=2, allow_nan=False))


def print_text(text: str) -> None:
    """Print lines to standard output as they are."""
    with _to_output():
        print(text, flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need, never cut nor wrapped."""
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        )
        out.print("  ".join(cells).rstrip())


#: Letters of an operator's name that are shown at most.
_NAME = 40


def shortened(name: str) -> str:
    """The end of an operator's name, which tells most: TFLite's list all modules it lies in."""
    last = name.rstrip(";").rsplit("/", 1)[-1]
    return last if len(last) <= _NAME else f"…{last[-_NAME:]}"


@contextmanager
def noting_failure(entry: dict[str, Any]) -> Iterator[None]:
    """What fails with one artifact is set down in its entry; the others have their turn."""
    from rethined_export.converters import MissingConverterError
    from rethined_export.converters.types import ArtifactError

    try:
        yield
    except (UserError, JobError) as error:
        entry |= {"failure": str(error), "exit_code": error.exit_code}
    except ArtifactError as error:
        entry |= {"failure": str(error), "exit_code": UserError.exit_code}
    except MissingConverterError as error:
        entry |= {"failure": str(error), "exit_code": UnavailableError.exit_code}


def tell_entries(
    entries: list[dict[str, Any]], as_json: bool, show: Callable[[dict[str, Any]], None]
) -> int:
    """Print what was found of each artifact, then what failed; the worst exit code.

    Args:
        entries: with ``path``, ``failure`` and ``exit_code``.
    """
    if as_json:
        print_json({"artifacts": entries})
    else:
        for entry in entries:
            show(entry)
    for entry in entries:
        if failure := entry["failure"]:
            fail(failure if entry["path"] in failure else f"{entry['path']}: {failure}")
    return max(int(entry["exit_code"]) for entry in entries)


def check_threads(threads: int, cores: int) -> None:
    """Refuse more threads than a machine bears.

    Raises:
        UserError: over four for each core.
    """
    most = 4 * cores
    if threads > most:
        raise UserError(f"--threads {threads} is too many for {cores} cores; use {most} or fewer")


def write_reports(*reports: tuple[Path | None, Callable[[], None]]) -> list[UserError]:
    """Write the reports asked for; one that fails costs neither the others nor the table."""
    failures = []
    for path, write in reports:
        try:
            if path is not None:
                write()
        except UserError as error:
            failures.append(error)
    return failures


@contextmanager
def stages(console: Console) -> Iterator[OnStage]:
    """Show which stage each target is in: a live line on a terminal, plain lines in a pipe."""
    if console.is_terminal:
        with console.status("starting") as status:
            yield lambda target, text: status.update(
                Text.assemble((plain(target), "bold"), " ", plain(text))
            )
    else:
        yield lambda target, text: say(console, f"{target}: {text}")
