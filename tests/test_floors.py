"""The house: a module imports from the floors below its own, never from above."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rethined_export"
#: From the street down; one line a floor, whose rooms may know each other.
FLOORS = (
    ("cli", "demo"),
    ("benchmarks",),
    ("quality", "bisect", "ranges"),
    ("tracing",),
    ("lint",),
    ("export", "inpaint"),
    ("deployed", "reduction"),
    ("artifacts",),
    ("spec",),
    ("jobs",),
    ("recipes",),
    ("checkpoints",),
    ("parity",),
    ("photo", "photos"),
    ("rewrite",),
    ("models",),
    ("converters",),
    ("errors", "names", "output", "cores"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
#: Rooms that must know nothing of the pipeline at all, and what they may import of ours.
PLAIN = {"models": {"models"}, "converters": {"converters", "errors"}}


def sources() -> list[Path]:
    folders = [PACKAGE, *(PACKAGE / name for name in ("models", "converters", "benchmarks"))]
    return sorted({path for folder in folders for path in folder.rglob("*.py")})


def imported(path: Path) -> set[str]:
    """Rooms of ours that a module imports, wherever in it."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
            if node.module == "rethined_export":
                names = [f"rethined_export.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("rethined_export.")}
    return rooms


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    above = {room for room in imported(path) if FLOOR[room] < FLOOR[own]}
    assert not above, f"{own} is below {above}"
    if own in PLAIN:
        assert imported(path) <= PLAIN[own]
