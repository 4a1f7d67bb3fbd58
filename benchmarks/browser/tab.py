"""One artifact in one page of the browser: fills, their times, and what they make."""

import json
import queue
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rethined_export.benchmarks.browser import packages
from rethined_export.benchmarks.browser.chromium import chromium, peak_rss_bytes
from rethined_export.benchmarks.browser.server import Site, served
from rethined_export.benchmarks.sample import Pixels, Scene, channels_last
from rethined_export.benchmarks.subjects import Parts, paste
from rethined_export.converters.types import ArtifactError
from rethined_export.errors import ParityError, UnavailableError
from rethined_export.jobs.parent import last_line

_HERE = Path(__file__).parent
_POLL_S = 0.2


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

    def difference(self, scene: Scene, own: Pixels, target: str) -> float:
        """Fill the photo: largest absolute difference of its output from this machine's own.

        Args:
            own: in the target's layout.

        Raises:
            ArtifactError: the output has another size.
            ParityError: the page's filled 8-bit photo does not show its output.
        """
        made = self._ask("photo")
        if len(made) != 5 * own.size:  # a float and a byte of each value
            raise ArtifactError(f"{len(made)} bytes came from the browser, not {5 * own.size}")
        output = np.frombuffer(made, np.float32, own.size).reshape(own.shape)
        filled = np.frombuffer(made, np.uint8, offset=4 * own.size)
        shown = paste(scene.photo, scene.hole, channels_last(np.nan_to_num(output), target))
        if not np.array_equal(filled, shown.ravel()):
            raise ParityError("the photo that the page fills does not show the page's own output")
        return float(np.abs(output - own).max())

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
    job = {"target": target, "window": scenes["noise"].hole.shape, "threads": threads}
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
