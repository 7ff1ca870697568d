"""What the page is served: itself, the engines and the one model, on the loopback interface."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import ClassVar

from edgedl.errors import Unavailable

OWN = Path(__file__).parent
_TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".html": "text/html", ".wasm": "application/wasm"}
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-store",
}
"""The first two isolate the page, which threads of WebAssembly and a fine clock need"""


class Handler(http.server.BaseHTTPRequestHandler):
    """GET only: `/model`, `/packages/...` and the files of this folder."""

    packages: ClassVar[Path]
    model: ClassVar[Path]

    def do_GET(self) -> None:
        path = self.file()
        if path is None or not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        self.send_response(200)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", _TYPES.get(path.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def file(self) -> Path | None:
        asked = self.path.partition("?")[0].lstrip("/")
        if asked == "model":
            return self.model
        below, name = (
            (self.packages, asked.removeprefix("packages/")) if asked.startswith("packages/") else (OWN, asked)
        )
        found = (below / name).resolve()
        return found if found.is_relative_to(below.resolve()) else None

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def serve(packages: Path, model: Path) -> str:
    """The address of a server that runs until the process ends; Unavailable if none can be opened."""
    handler = type("Served", (Handler,), {"packages": packages, "model": model})
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    except OSError as error:
        raise Unavailable(f"no server can be opened on 127.0.0.1: {error.strerror}") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
