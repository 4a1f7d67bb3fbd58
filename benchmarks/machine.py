"""What this machine is, in words."""

import platform
from importlib.metadata import distributions
from pathlib import Path

import psutil

from rethined_export.cores import worker_threads

_PACKAGES = ("rethined-export", "torch", "numpy", "onnxruntime", "ai-edge-litert", "coremltools")


def machine() -> dict[str, str]:
    """Processor, memory, system and versions."""
    installed = {found.name: found.version for found in distributions()}
    versions = {name: installed[name] for name in _PACKAGES if name in installed}
    return {
        "processor": f"{_processor()}, {worker_threads()} cores to use",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {"Python": platform.python_version(), **versions}.items()
        ),
    }


def _processor() -> str:
    """Its name where the kernel tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
