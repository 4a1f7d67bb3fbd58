"""What the command lines share: parsing, messages, exit codes."""

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from rethined_export.errors import UserError
from rethined_export.jobs import JobError

INTERRUPTED = 130

out = Console(highlight=False, soft_wrap=True)
#: Errors, notes and progress; with ``--json`` everything but the document itself.
err = Console(stderr=True, highlight=False, soft_wrap=True)


def parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose help ends in examples."""
    return argparse.ArgumentParser(
        prog=name,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def run(command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """Run a command; every failure is one line on standard error and its exit code."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return command(arguments)
    except KeyboardInterrupt:
        err.print("interrupted; nothing half-written was left", style="yellow")
        return INTERRUPTED
    except (UserError, JobError) as error:
        fail(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader has gone; keep the interpreter from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("RETHINED_DEBUG"):
            raise
        fail(f"unexpected {type(error).__name__}: {error} (RETHINED_DEBUG=1 shows where)")
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def fail(message: str) -> None:
    """One line of error."""
    err.print("error: ", style="bold red", end="")
    err.print(" ".join(message.split()), markup=False)


def choose(option: str, value: str, known: Iterable[str]) -> str:
    """Check a name against the known ones and suggest the nearest.

    Raises:
        UserError: unknown.
    """
    names = list(known)
    if value in names:
        return value
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"{option} {value} is unknown; {hint}(available: {', '.join(names)})")


OnStage = Callable[[str, str], None]


@contextmanager
def stages(console: Console) -> Iterator[OnStage]:
    """Show which stage each target is in: a live line on a terminal, plain lines in a pipe."""
    if console.is_terminal:
        with console.status("starting") as status:
            yield lambda target, text: status.update(f"[bold]{target}[/bold] {text}")
    else:
        yield lambda target, text: console.print(f"{target}: {text}", markup=False)
