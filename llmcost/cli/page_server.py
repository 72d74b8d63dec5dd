"""The local server of `llmcost web`: the page's files, and the answers to its questions, for this machine alone."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llmcost.cli.page import FILES, POLICY, as_json, reply, setup

HOST = "127.0.0.1"
FOREIGN = "this page is for this machine alone"
LARGEST = 2**20  # bytes of a question
SLOWEST = 10  # seconds in which one has to arrive
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = (
    ("Content-Security-Policy", f"{POLICY}; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


def pages() -> dict[str, tuple[str, bytes]]:
    """What the server gives out, read once: type and bytes by path. No other path leads anywhere."""
    found = {f"/{each.name}": (TYPES[each.suffix], each.read_bytes()) for each in FILES.iterdir() if each.is_file()}
    found["/"] = found["/index.html"]
    found["/setup.json"] = (TYPES[".json"], as_json(setup()))
    return found


class Server(ThreadingHTTPServer):
    """A server of this machine's own address; `port` 0 takes a free one."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.pages = pages()
        super().__init__((HOST, port), Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        if self.server_port == 80:
            self.hosts |= {HOST, "localhost"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a failure's traceback, unless it is that the browser went away or fell silent."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """One request. Those of other sites are refused: by their Host, their Origin, and the type that they send."""

    server: Server
    timeout = SLOWEST
    server_version, sys_version = "llmcost", ""

    def do_GET(self) -> None:
        """A file of the page."""
        path = self.path.partition("?")[0]
        if not self._is_ours():
            self._send(403, TYPES[".json"], as_json({"error": FOREIGN}))
        elif path in self.server.pages:
            self._send(200, *self.server.pages[path])
        else:
            self._send(404, TYPES[".json"], as_json({"error": "no such page"}))

    def do_POST(self) -> None:
        """The answer to a question, which is a JSON document; an error of the user's is an answer too."""
        try:
            status, document = self._answered()
        except Exception:
            self._send(500, TYPES[".json"], as_json({"error": "llmcost failed; its terminal says how", "control": ""}))
            raise
        self._send(status, TYPES[".json"], document if isinstance(document, bytes) else as_json({"error": document}))

    def _answered(self) -> tuple[int, bytes | str]:
        """The status, and the answer or what is wrong with the request."""
        if not self._is_ours():
            return 403, FOREIGN
        if self.path != "/ask":
            return 404, "no such page"
        if self.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            return 415, "a question is a JSON document"
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return 411, "how long is the question?"
        if len(length) > 9 or int(length) > LARGEST:
            return 413, f"a question has at most {LARGEST:,} bytes"
        try:
            return 200, reply(self.rfile.read(int(length))).encode()
        except (ValueError, RecursionError):
            return 400, "a question is a JSON document"

    def _is_ours(self) -> bool:
        origin = self.headers.get("Origin")
        hosts = self.server.hosts
        return self.headers.get("Host") in hosts and (origin is None or origin.removeprefix("http://") in hosts)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *HEADERS):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal is the user's."""
