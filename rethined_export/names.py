"""Names that users give, checked against the known ones."""

import difflib
from collections.abc import Iterable

from rethined_export.errors import UserError


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
    seen = value[:80] if value.isprintable() else ascii(value[:80])
    raise UserError(f"{option} {seen} is unknown; {hint}(available: {', '.join(names)})")
