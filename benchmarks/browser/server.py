"""Serves the page to this machine's browser, and speaks with it."""

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

Kind = Literal["turn", "failed", "lacking", "gone"]
_TYPES = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript",
          ".wasm": "application/wasm"}  # fmt: skip
#: What the page posts, by where it does.
_KINDS: dict[str, Kind] = {"/turn": "turn", "/lacking": "lacking"}
#: Without isolation from other pages a browser gives no page threads, nor a fine clock.
_ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


class Site(ThreadingHTTPServer):
    """What is served, and the two ends of the conversation with the page.

    Attributes:
        content: files and bytes by path.
        wanted: names of the scenes that the page shall fill.
        answers: what came of the last one, why the page failed, what the browser lacks, or that the
            page is gone.
    """

    daemon_threads = True

    def __init__(self, content: Mapping[str, Path | bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[Kind, bytes]] = queue.SimpleQueue()

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def served(content: Mapping[str, Path | bytes]) -> Iterator[Site]:
    """A site on a free port of this machine, reached from nowhere else."""
    with Site(content) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        try:
            yield site
        finally:
            site.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        if self.path == "/alive":
            self._head({"Content-Type": "text/plain"})
            self.connection.recv(1)  # nothing comes; it returns when the page has ended
            self.server.answers.put(("gone", b""))
            return
        content = self.server.content.get(self.path)
        if content is None:
            self.send_error(404)
            return
        data = content if isinstance(content, bytes) else content.read_bytes()
        suffix = "" if isinstance(content, bytes) else content.suffix
        self._reply(data, _TYPES.get(suffix, "application/octet-stream"))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put((_KINDS.get(self.path, "failed"), body))
        if self.path == "/turn":
            self._reply(self.server.wanted.get().encode(), "text/plain")

    def _reply(self, data: bytes, kind: str) -> None:
        self._head({"Content-Type": kind, "Content-Length": str(len(data))})
        self.wfile.write(data)

    def _head(self, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in (headers | _ISOLATION).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_message: object) -> None:
        """Nothing: failures reach the user in other ways."""
