"""Places that every command can be started in."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("command", ["bench", "evaluate", "export", "inpaint", "parity", "train"])
def test_a_deleted_working_directory(command: str, tmp_path: Path) -> None:
    """Also before anything heavy is imported: torch would end the process in words of its own."""
    folder = tmp_path / "gone"
    folder.mkdir()
    code = f"from rethined_export.cli.{command} import main; raise SystemExit(main())"
    line = f'rmdir "{folder}"; "{sys.executable}" -c "{code}"'
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = "the working directory has been deleted; change to another"
    assert done.stderr == f"error: {said}\n"
