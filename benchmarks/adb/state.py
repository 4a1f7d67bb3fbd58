"""What a device tells of its heat, its power and its cores; much of it only some devices tell."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from rethined_export.benchmarks.adb.client import Device

_CPU = "/sys/devices/system/cpu"
#: Of Android's thermal statuses: 0 none, 1 light, 2 moderate, 3 severe, 4 critical, and worse.
_STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


@dataclass(frozen=True)
class Moment:
    """Heat and power at one moment; None: not told.

    Attributes:
        thermal_status: Android's, from 0 (none) to 6 (shutdown).
        zone_celsius: of the first thermal zone, which on boards is the processor's.
        battery_ma: into the battery or out of it, as the device signs it.
    """

    thermal_status: int | None
    zone_celsius: float | None
    battery_celsius: float | None
    battery_ma: float | None

    def __str__(self) -> str:
        told = {
            "thermal status": self.thermal_status is not None
            and _STATUSES[min(self.thermal_status, len(_STATUSES) - 1)],
            "first zone": self.zone_celsius is not None and f"{self.zone_celsius:.1f} °C",
            "battery": self.battery_celsius is not None and f"{self.battery_celsius:.1f} °C",
            "current": self.battery_ma is not None and f"{self.battery_ma:.0f} mA",
        }
        return ", ".join(f"{name} {value}" for name, value in told.items() if value) or "not told"


@dataclass(frozen=True)
class DeviceState:
    """A device around a run.

    Attributes:
        cores: that are switched on, as the kernel lists them (``0-7``); empty: not told.
        governors: of the cores' clocks, each once.
    """

    cores: str
    governors: tuple[str, ...]
    before: Moment
    after: Moment

    @property
    def throttled(self) -> bool:
        """The device said that it was too hot, before the run or after it."""
        return any(moment.thermal_status for moment in (self.before, self.after))

    def to_dict(self) -> dict[str, Any]:
        """The entry of ``--json``."""
        return asdict(self)

    def __str__(self) -> str:
        cores = f"cores {self.cores or 'not told'}"
        governor = f"governor {', '.join(self.governors) or 'not told'}"
        return f"{cores}, {governor}; before: {self.before}; after: {self.after}"


def moment(device: Device) -> Moment:
    """Heat and power now."""
    thermal = _told(device, "dumpsys thermalservice")
    battery = _told(device, "dumpsys battery")
    status = re.search(r"Thermal Status: *(\d+)", thermal)
    tenths = re.search(r"^ *temperature: *(-?\d+)", battery, re.MULTILINE)
    zone = _number(_told(device, "cat /sys/class/thermal/thermal_zone0/temp"))
    current = _number(_told(device, "cat /sys/class/power_supply/battery/current_now"))
    return Moment(
        thermal_status=int(status[1]) if status else None,
        zone_celsius=None if zone is None else zone / 1e3,
        battery_celsius=int(tenths[1]) / 10 if tenths else None,
        battery_ma=None if current is None else current / 1e3,
    )


def cores(device: Device) -> tuple[str, tuple[str, ...]]:
    """Cores that are switched on, and the governors of their clocks."""
    online = _told(device, f"cat {_CPU}/online").strip()
    governors = _told(device, f"cat {_CPU}/cpufreq/policy*/scaling_governor").split()
    return online, tuple(sorted(set(governors)))


def _told(device: Device, script: str) -> str:
    """What a command prints, also where a part of it fails."""
    return device.script(f"{script} 2>/dev/null").out


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d+\s*", text) else None
