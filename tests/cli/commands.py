"""Helpers for tests of the command lines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

Main = Callable[[list[str]], int]
#: The least work a real export can do.
CHEAP = ["--target", "onnx", "--hr", "512", "--no-verify"]
_PATIENCE_S = 120


def refusal(main: Main, arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error with which a command refuses its input, exit code 2."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def save_image(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def photo(path: Path, height: int = 64, width: int = 64) -> Path:
    random = np.random.default_rng(0)
    return save_image(path, random.integers(0, 256, (height, width, 3), np.uint8))


def mask(path: Path, height: int = 64, width: int = 64, value: int = 255) -> Path:
    """A hole in the middle of a black mask."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = value
    return save_image(path, pixels)


def edit_manifest(artifact: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = Path(f"{artifact}.json")
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def start(command: str, *arguments: object, python: str = "", **options: Any) -> subprocess.Popen:
    """A command in a session of its own, as under a terminal; ``python`` runs before it."""
    code = f"{python}\nfrom rethined_export.cli.{command} import main\nraise SystemExit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Read standard error up to a line that holds a text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came")


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    assert found, "no worker is running"
    return found


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all processes end soon."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            return True
        time.sleep(0.1)
    return False


def send(process: subprocess.Popen, number: signal.Signals) -> None:
    os.kill(process.pid, number)


def limit_file_size(limit: int) -> str:
    """Python that makes files over a size fail to be written, as a full disk does."""
    return (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    )
