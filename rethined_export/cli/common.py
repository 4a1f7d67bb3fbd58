"""What the command lines share: parsing, messages, exit codes."""

import argparse
import difflib
import json
import math
import os
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from rethined_export.errors import UserError
from rethined_export.jobs.parent import JobError, OnStage

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _console(*, stderr: bool) -> Console:
    """A console that prints text as it is: no markup, no emoji names, no wrapping."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


out = _console(stderr=False)
#: Errors, notes and progress; with ``--json`` everything but the document itself.
err = _console(stderr=True)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({self.prog} --help lists the options)")


def parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose help ends in examples."""
    return _Parser(
        prog=name,
        description=textwrap.fill(description, 88),
        epilog=f"examples:\n{examples}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )


def run(command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """Run a command; every failure is one line on standard error and its exit code.

    With ``--json`` a command that fails before it has results still prints a document.
    """
    try:
        try:
            return _run(command, arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """Run a command with signals as interruptions, and report how it failed."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries; what concerns the user is said here
            return command(arguments)
    except KeyboardInterrupt:
        message, code = "interrupted; nothing half-written was left", INTERRUPTED
    except (UserError, JobError) as error:
        message, code = str(error), error.exit_code
    except BrokenPipeError:
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
    print(json.dumps(_finite(document), indent=2, allow_nan=False), flush=True)


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


def choose(option: str, value: str, known: Iterable[str]) -> str:
    """Check a name against the known ones and suggest the nearest.

    Raises:
        UserError: unknown.
    """
    names = list(known)
    if value in names:
        return value
    near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"{option} {value} is unknown; {hint}(available: {', '.join(names)})")


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
