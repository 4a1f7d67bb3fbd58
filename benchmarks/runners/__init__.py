"""How artifacts are run on each kind of device."""

from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.arm64 import Arm64Runner
from rethined_export.benchmarks.runners.host import HostRunner
from rethined_export.benchmarks.runners.types import Runner

#: By the ``kind`` of a profile. A phone that cannot be reached is stood in for by the emulator.
_RUNNERS: dict[str, type[HostRunner] | type[Arm64Runner]] = {
    "host": HostRunner,
    "arm64-emulator": Arm64Runner,
    "adb": Arm64Runner,
}


def unreachable(profile: Profile) -> str:
    """Why a device cannot be measured now, not even by a stand-in; empty if it can."""
    if profile.kind not in _RUNNERS:
        return f"no runner for {profile.kind} devices in this version"
    return _RUNNERS[profile.kind].unreachable()


def stand_in(profile: Profile) -> str:
    """What runs artifacts in the device's place; empty if it is the device itself."""
    return (
        "the arm64 emulator, since this version reaches no phone" if profile.kind == "adb" else ""
    )


def runner(profile: Profile) -> Runner:
    """The runner of a device that can be reached."""
    return _RUNNERS[profile.kind]()


__all__ = ["Runner", "runner", "stand_in", "unreachable"]
