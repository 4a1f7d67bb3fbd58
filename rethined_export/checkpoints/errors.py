"""The one error of this package, and how text from a file is shown in its message."""

from pathlib import Path


class CheckpointError(ValueError):
    """The file is not a usable checkpoint; the message, one line, says why and what to do."""


class DamageError(Exception):
    """Bytes that cannot be what the container says; turned into a :class:`CheckpointError`."""


def damaged(path: Path, why: object) -> CheckpointError:
    """The error for a file whose bytes contradict themselves."""
    return CheckpointError(
        f"{path} is damaged or truncated ({shown(str(why), 160)}); copy or download it again"
    )


def shown(text: str, limit: int = 80) -> str:
    """Text of a stranger's, on one line and of bounded length."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "�" for c in cut)


def few(names: list[str], limit: int = 4) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name) for name in names[:limit]) + more


def in_bytes(size: int) -> str:
    """A size for people: ``812 bytes``, ``3.4 MB``."""
    if size < 10_000:
        return f"{size} bytes"
    if size < 10_000_000_000:
        return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:.1f} GB"
