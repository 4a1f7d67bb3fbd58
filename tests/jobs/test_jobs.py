"""Workers that crash, hang, grow, talk nonsense or are left alone."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from rethined_export.jobs import parent as jobs
from rethined_export.jobs.parent import JobError, run_job, stale_scratch
from rethined_export.jobs.registry import Job, find

GIB = 1 << 30
#: A worker with jobs of its own in place of the real ones.
WORKER = """
import os, signal, subprocess, sys, tempfile, time
from pathlib import Path
from rethined_export.jobs import worker

def hang(report, **_):
    report(f"pid {os.getpid()}")
    child = subprocess.Popen(["sleep", "600"])
    report(f"pid {child.pid}")
    time.sleep(600)

def outlived(report):
    child = subprocess.Popen(["sleep", "600"])
    report(f"pid {child.pid}")
    return {}

def grow(report):
    held = bytearray(400 << 20)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(600)

def crash(report):
    print("about to crash", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def killed(report):
    os.kill(os.getpid(), signal.SIGKILL)

def leave(report):
    os._exit(7)

def closed(report):
    os.closerange(3, 64)
    time.sleep(600)

def chatty(report):
    while True:
        report("still here")

def fail(report):
    raise RuntimeError("first line\\nsecond line")

def disk(report):
    raise OSError(28, "No space left on device", "/x/[b]y")

def prints(report):
    print("to standard output")
    os.system("echo from native code")
    return {"fine": True}

def litter(report):
    Path(tempfile.mkdtemp(), "big").write_text("x")
    return {"folder": tempfile.gettempdir()}

worker.registry.find = lambda name: globals()[name.rsplit(":")[-1]]
worker.main()
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the worker above; what is temporary goes to a folder that must end up empty."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(jobs, "_WORKER", (sys.executable, str(script)))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(jobs.tempfile, "tempdir", str(temporary))
    return temporary


@pytest.fixture(autouse=True)
def nothing_left(stand_in: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert not list(stand_in.iterdir())
    assert not set(psutil.Process().children(recursive=True)) - before


def job(name: str) -> Job:
    """A job of the worker above, by name."""
    return cast(Job, SimpleNamespace(__module__="rethined_export.test", __qualname__=name))


def ignore(_stage: str) -> None:
    """No interest in stages."""


def ended(pid: int) -> bool:
    """Whether a process ends within ten seconds."""
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("crash", 1, "crashed (SIGSEGV); it last printed: about to crash"),
        ("killed", 1, "killed (SIGKILL), most likely because memory ran out"),
        ("leave", 1, "ended with code 7 and no result"),
        ("fail", 1, "RuntimeError: first line second line"),
        ("disk", 2, "No space left on device (/x/[b]y); free some space"),
    ],
)
def test_failures(name: str, code: int, said: str) -> None:
    with pytest.raises(JobError) as caught:
        run_job(job(name), {}, ignore)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == code


def test_traceback_is_in_the_log() -> None:
    with pytest.raises(JobError) as caught:
        run_job(job("fail"), {}, ignore)
    assert "Traceback" in caught.value.log
    assert "second line" in caught.value.log


@pytest.mark.parametrize("name", ["hang", "chatty", "closed"])
def test_time_limit(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(JobError, match="stopped after 2 s without finishing"):
        run_job(job(name), {}, ignore, time_limit_s=2)
    assert time.monotonic() - started < 20


def test_memory_limit() -> None:
    with pytest.raises(JobError, match=r"stopped at 0\.[234] GiB of memory \(limit 0\.2 GiB\)"):
        run_job(job("grow"), {}, ignore, memory_limit_bytes=GIB // 5)


@pytest.mark.parametrize("line", ["not JSON", "[1, 2]", "3", "\\xff\\xfe"])
def test_garbage_from_a_worker(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import os, time; os.write(1, b'{line}\\n'); time.sleep(600)"
    monkeypatch.setattr(jobs, "_WORKER", (sys.executable, "-c", code))
    with pytest.raises(JobError, match="something other than a message") as caught:
        run_job(job("any"), {}, ignore)
    assert "\n" not in str(caught.value)


def test_worker_that_never_reads_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_WORKER", (sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(JobError, match="ended with code 3 and no result"):
        run_job(job("any"), {"filler": "x" * (1 << 20)}, ignore)


def test_what_a_converter_prints_is_not_taken_for_a_result() -> None:
    assert run_job(job("prints"), {}, ignore)["fine"] is True


def test_temporary_files_of_a_worker_are_removed() -> None:
    folder = run_job(job("litter"), {}, ignore)["folder"]
    assert not Path(folder).exists()


def test_what_a_worker_started_ends_with_it() -> None:
    pids: list[str] = []
    run_job(job("outlived"), {}, pids.append)
    (pid,) = (int(stage.split()[1]) for stage in pids)
    assert ended(pid)


def test_interrupt_ends_the_whole_group() -> None:
    pids: list[int] = []

    def on_stage(stage: str) -> None:
        pids.append(int(stage.split()[1]))
        if len(pids) == 2:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        run_job(job("hang"), {}, on_stage)
    assert len(pids) == 2
    assert all(ended(pid) for pid in pids)


def test_worker_notices_that_its_parent_was_killed(tmp_path: Path) -> None:
    code = f"""
        from rethined_export.jobs import parent as jobs
        jobs._WORKER = {jobs._WORKER!r}
        from types import SimpleNamespace
        hang = SimpleNamespace(__module__="rethined_export.test", __qualname__="hang")
        jobs.run_job(hang, {{}}, lambda stage: print(stage, flush=True))
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline().split()[1]) for _ in range(2)]
    parent.kill()
    parent.communicate()
    assert all(ended(pid) for pid in pids)


def test_stale_scratch_is_told_from_other_hidden_files(tmp_path: Path) -> None:
    ours = {".123.export-a.onnx", ".9.export-a.onnx.json"}
    for name in (*ours, ".x.export-a.onnx", ".123-other", "export-a.onnx", ".export"):
        (tmp_path / name).touch()
    assert {path.name for path in stale_scratch(tmp_path)} == ours


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "rethined_export.jobs.parent:run_job",
        "rethined_export.export:export",
        "rethined_export.export:missing",
        "rethined_export.no_such:thing",
        "convert",
    ],
)
def test_only_marked_functions_run(name: str) -> None:
    with pytest.raises((ValueError, ImportError)):
        find(name)


def test_marked_functions_are_found() -> None:
    assert find("rethined_export.export:convert").__name__ == "convert"
