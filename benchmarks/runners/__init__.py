"""How artifacts are run on each kind of device."""

from rethined_export.benchmarks.profiles import Profile
from rethined_export.benchmarks.runners.adb import AdbRunner
from rethined_export.benchmarks.runners.apple import AppleRunner
from rethined_export.benchmarks.runners.arm64 import Arm64Runner
from rethined_export.benchmarks.runners.browser import BrowserRunner, WebGpuRunner
from rethined_export.benchmarks.runners.host import HostRunner
from rethined_export.benchmarks.runners.types import Runner

#: By the ``kind`` of a profile.
_RUNNERS: dict[str, type[Runner]] = {
    "host": HostRunner,
    "arm64-emulator": Arm64Runner,
    "adb": AdbRunner,
    "apple": AppleRunner,
    "browser": BrowserRunner,
    "webgpu": WebGpuRunner,
}
#: Where the device itself cannot be reached: what runs in its place, and what to call that.
_STAND_INS: dict[str, tuple[type[Runner], str]] = {"adb": (Arm64Runner, "the arm64 emulator")}


def unreachable(profile: Profile) -> str:
    """Why a device cannot be measured now, not even by a stand-in; empty if it can."""
    reason = _unreachable(profile)
    if reason and profile.kind in _STAND_INS:
        instead, name = _STAND_INS[profile.kind]
        missing = instead.unreachable(profile)
        return missing and f"{reason}, and {name} neither: {missing}"
    return reason


def stand_in(profile: Profile) -> str:
    """What runs artifacts in the device's place, and why; empty if it is the device itself."""
    reason = _unreachable(profile)
    if reason and profile.kind in _STAND_INS:
        return f"{_STAND_INS[profile.kind][1]} instead: {reason}"
    return ""


def runner(profile: Profile) -> Runner:
    """The runner of a device that can be measured."""
    if stand_in(profile):
        return _STAND_INS[profile.kind][0](profile)
    return _RUNNERS[profile.kind](profile)


def _unreachable(profile: Profile) -> str:
    if profile.kind not in _RUNNERS:
        return f"no runner for {profile.kind} devices in this version"
    return _RUNNERS[profile.kind].unreachable(profile)


__all__ = ["Runner", "runner", "stand_in", "unreachable"]
