"""One artifact in one page of the browser: fills, their times, and what they make."""

import json
import queue
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rethined_export.benchmarks.browser import packages
from rethined_export.benchmarks.browser.chromium import chromium, peak_rss_bytes
from rethined_export.benchmarks.browser.server import Site, served
from rethined_export.benchmarks.subjects import Parts
from rethined_export.converters.types import ArtifactError
from rethined_export.errors import UnavailableError
from rethined_export.jobs import last_line

_HERE = Path(__file__).parent
_POLL_S = 0.2


@dataclass(frozen=True)
class Scene:
    """A photo ``[S, S, 3]`` and its hole ``[S, S]``."""

    photo: npt.NDArray[np.uint8]
    hole: npt.NDArray[np.bool_]


class Tab:
    """A page that has loaded an artifact.

    Attributes:
        load: milliseconds to fetch the artifact and make it and its runtime ready.
        agent: what the browser calls itself.
    """

    def __init__(self, site: Site, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._site, self._process, self._log = site, process, log
        told = json.loads(self._answer())
        self.load: float = told["load"]
        self.agent: str = told["agent"]

    def time(self) -> Parts:
        """Fill the noise once."""
        return Parts(*json.loads(self._ask("noise")))

    def fill(self, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Fill the photo once.

        Args:
            shape: of the output, in the artifact's layout.

        Returns:
            The artifact's output, and the filled 8-bit photo, flat.

        Raises:
            ArtifactError: the output has another size.
        """
        made, size = self._ask("photo"), int(np.prod(shape))
        if len(made) != 5 * size:  # a float and a byte of each value
            raise ArtifactError(f"{len(made)} bytes came from the browser, not {5 * size}")
        output = np.frombuffer(made, np.float32, size).reshape(shape)
        return output, np.frombuffer(made, np.uint8, offset=4 * size)

    def peak_rss_bytes(self) -> int:
        """Of the page's process."""
        return peak_rss_bytes(self._process)

    def _ask(self, scene: str) -> bytes:
        self._site.wanted.put(scene)
        return self._answer()

    def _answer(self) -> bytes:
        while True:
            try:
                kind, body = self._site.answers.get(timeout=_POLL_S)
            except queue.Empty:
                if self._process.poll() is None:
                    continue
                said = last_line(self._log.read_text(errors="replace"))
                code = self._process.returncode
                raise UnavailableError(f"the browser ended with {code}: {said[:300]}") from None
            if kind == "gone":
                raise UnavailableError("the browser, or its page, died in the middle")
            if kind == "failed":
                said = body.decode(errors="replace")
                raise ArtifactError(f"it does not run in the browser: {said[:300]}")
            return body


@contextmanager
def opened(
    artifact: Path, target: str, scenes: dict[str, Scene], threads: int, folder: Path
) -> Iterator[Tab]:
    """A page with a whole artifact.

    Args:
        scenes: ``noise`` to time, ``photo`` to compare.
        folder: empty; the browser's files go there.

    Raises:
        ArtifactError: the runtime cannot load or run it.
        UnavailableError: the browser does not start, or dies.
    """
    job = {"target": target, "side": len(scenes["noise"].hole), "threads": threads}
    content: dict[str, Path | bytes] = {
        "/": _HERE / "page.html",
        "/page.js": _HERE / "page.js",
        "/runtimes.js": _HERE / "runtimes.js",
        "/artifact": artifact,
        "/job": json.dumps(job).encode(),
    }
    for name in packages.FILES:
        content[f"/packages/{name}"] = packages.location() / name
    for name, scene in scenes.items():
        content[f"/{name}/photo"] = scene.photo.tobytes()
        content[f"/{name}/hole"] = scene.hole.tobytes()
    with served(content) as site, chromium(site.address, folder) as process:
        yield Tab(site, process, folder / "log")
