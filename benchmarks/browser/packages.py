"""The browser's runtimes on disk: fetched once by npm into the user's cache."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from rethined_export.benchmarks.cache import build_once, cache
from rethined_export.errors import UnavailableError

VERSIONS = {"onnxruntime-web": "1.30.0", "@litertjs/core": "2.5.3"}
#: What @litertjs/core needs; without a version of its own npm would take the newest.
_NEEDED = {"@litertjs/wasm-utils": "2.5.3"}
#: What the page loads; the packages hold ten times as much.
FILES = (
    "onnxruntime-web/dist/ort.wasm.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "onnxruntime-web/dist/ort.webgpu.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.wasm",
    "@litertjs/core/dist/index.js",
    "@litertjs/core/wasm/litert_wasm_threaded_internal.js",
    "@litertjs/core/wasm/litert_wasm_threaded_internal.wasm",
    "@litertjs/core/wasm/litert_wasm_jspi_internal.js",
    "@litertjs/core/wasm/litert_wasm_jspi_internal.wasm",
    "@litertjs/wasm-utils/dist/index.js",
)


def location() -> Path:
    """Where the packages lie, or would: one folder for each set of versions and files."""
    return cache() / "-".join(("browser", *VERSIONS.values(), str(len(FILES))))


def missing() -> str:
    """Why the packages cannot be used now; empty if they can."""
    return "" if location().exists() else "its runtimes are not fetched; `make browser` does it"


def fetch(tell: Callable[[str], None]) -> Path:
    """Fetch the packages unless they are there.

    Raises:
        UnavailableError: npm is missing, or fails; the message says what it said.
    """
    place = location()

    def build(half: Path) -> None:
        if shutil.which("npm") is None:
            raise UnavailableError(
                "the browser's runtimes are fetched with npm, which is not installed "
                "(Debian or Ubuntu: apt install npm)"
            )
        tell("downloading onnxruntime-web and LiteRT.js")
        _install(half / "npm")
        for name in FILES:
            file = half / name
            file.parent.mkdir(parents=True, exist_ok=True)
            (half / "npm/node_modules" / name).rename(file)
        shutil.rmtree(half / "npm")

    build_once(place, build)
    return place


def _install(folder: Path) -> None:
    wanted = [f"{name}@{version}" for name, version in (VERSIONS | _NEEDED).items()]
    quiet = ["--loglevel=error", "--no-audit", "--no-fund", "--no-update-notifier"]
    command = ["npm", "install", *quiet, "--ignore-scripts", "--prefix", str(folder), *wanted]
    folder.mkdir()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next(iter(done.stderr.splitlines()), "it said nothing")
        raise UnavailableError(f"fetching the browser's runtimes: npm failed: {said[:300]}")


def main() -> None:
    """``make browser``."""
    try:
        place = fetch(lambda text: print(text, flush=True))
    except UnavailableError as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps({"fetched": str(place), "runtimes": VERSIONS}))


if __name__ == "__main__":
    main()
