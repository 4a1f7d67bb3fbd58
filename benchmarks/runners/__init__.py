"""How artifacts are run on each kind of device."""

from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.host import HostRunner
from rethined_export.benchmarks.runners.types import Runner

#: By the ``kind`` of a profile; the other kinds of ``profiles.KINDS`` have no runner yet.
RUNNERS: dict[str, type[HostRunner]] = {"host": HostRunner}


def unreachable(profile: Profile) -> str:
    """Why a device cannot be measured now; empty if it can."""
    if profile.kind not in RUNNERS:
        return f"no runner for {profile.kind} devices in this version"
    return RUNNERS[profile.kind].unreachable()


__all__ = ["RUNNERS", "Runner", "unreachable"]
