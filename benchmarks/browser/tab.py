"""One artifact in one page of the browser: fills, their times, and what they make."""

import json
import queue
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
_SCRIPTS = ("page.js", "pair.js", "runtimes.js")
_POLL_S = 0.2


class Tab:
    """A page that has loaded an artifact.

    Attributes:
        load: milliseconds to fetch the artifact and make it and its runtime ready.
        agent: what the browser calls itself.
        adapter: what the browser calls the GPU that the programs run on; empty: they run on none.
    """

    def __init__(self, site: Site, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._site, self._process, self._log = site, process, log
        told = json.loads(self._answer())
        self.load: float = told["load"]
        self.agent: str = told["agent"]
        self.adapter: str = told["adapter"]

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

    def difference_of_pair(self, own: Pixels) -> float:
        """Fill the photo of floats: its largest absolute difference from this machine's own.

        Raises:
            ArtifactError: it has another size.
        """
        made = self._ask("photo")
        if len(made) != own.nbytes:
            raise ArtifactError(f"{len(made)} bytes came from the browser, not {own.nbytes}")
        return float(np.abs(np.frombuffer(made, np.float32).reshape(own.shape) - own).max())

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
            if kind == "lacking":
                raise UnavailableError(body.decode(errors="replace")[:300])
            if kind == "failed":
                said = body.decode(errors="replace")
                raise ArtifactError(f"it does not run in the browser: {said[:300]}")
            return body


@contextmanager
def opened(
    job: Mapping[str, Any], content: Mapping[str, Path | bytes], folder: Path
) -> Iterator[Tab]:
    """A page with an artifact, or with several programs.

    Args:
        job: ``target``, ``threads``, ``accelerator``, ``shapes`` of the inputs of each program and,
            for several, the caller's ``settings``.
        content: by path, ``/programs/NAME`` and of the scenes ``noise``, to time, and ``photo``, to
            compare, ``/NAME/photo`` and ``/NAME/hole``.
        folder: empty; the browser's files go there.

    Raises:
        ArtifactError: the runtime cannot load or run it.
        UnavailableError: the browser does not start, lacks what the job asks for, or dies.
    """
    page: dict[str, Path | bytes] = {f"/{name}": _HERE / name for name in _SCRIPTS}
    page |= {"/": _HERE / "page.html", "/job": json.dumps(job).encode()}
    page |= {f"/packages/{name}": packages.location() / name for name in packages.FILES}
    with (
        served({**page, **content}) as site,
        chromium(site.address, folder, gpu=job["accelerator"] == "webgpu") as process,
    ):
        yield Tab(site, process, folder / "log")
