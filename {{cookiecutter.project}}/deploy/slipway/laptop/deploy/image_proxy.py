"""What a server sees of this machine's registry: one image, read-only, until it has been pulled.

The registry has the images of all projects, and any account of the server can use a forwarded
port. So a deploy forwards this proxy instead. It answers GET and HEAD of the image's manifest and
of what the manifest names, below a first path component that nobody can guess, and only with a
password: the path is in the server's list of processes while it pulls.
"""

from __future__ import annotations

import contextlib
import hmac
import http.client
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from slipway.laptop.console import Failed
from slipway.laptop.docker import registry, registry_password

CONNECTIONS = 32  # at a time; a Docker engine uses three and a few that it keeps open
SILENCE = 60  # seconds without a byte after which a connection is closed
PIECE = 65536  # bytes of a layer in memory
# The header fields that describe a layer.
PASSED = ("Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "ETag")


class NoImage(Failed):
    """The registry does not have the image; the message says what to do."""


class ImageProxy(ThreadingHTTPServer):
    """An HTTP server on loopback for one image of the registry."""

    daemon_threads = True
    # Without that, closing would wait for connections that Docker keeps open.
    block_on_close = False

    def __init__(self, registry_port: int, repository: str, digest: str) -> None:
        self.registry_port = registry_port
        # Hexadecimal digits are allowed in the name of a repository.
        self.repository = f"{secrets.token_hex(16)}/{repository}"
        self.authorization = registry_password.basic(secrets.token_urlsafe(32))
        self.manifests: dict[str, tuple[str, bytes]] = {}  # by path: media type and text
        self.blobs: dict[str, str] = {}  # by path: the path in the registry
        self.last_used = 0.0  # by time.monotonic
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._open: set[Any] = set()
        self._add(repository, digest)
        super().__init__((registry.ADDRESS, 0), _Handler)

    @property
    def port(self) -> int:
        """Return the port on this machine's loopback."""
        return int(self.server_address[1])

    def _add(self, repository: str, digest: str, *, is_inner: bool = False) -> None:
        """Read a manifest, and show it with what it names."""
        found = registry.manifest_text(self.registry_port, repository, digest)
        manifest = None if found is None else registry.parsed(found.body)
        if found is None or manifest is None:
            # An index may name platforms that were not pushed.
            if is_inner:
                return
            raise NoImage(
                f"the registry on {registry.ADDRESS}:{self.registry_port} does not have"
                f" {repository}@{digest}. Run make push."
            )
        kind = str(manifest.get("mediaType") or found.headers.get("Content-Type") or "")
        self.manifests[f"/v2/{self.repository}/manifests/{digest}"] = (kind, found.body)
        for each in registry.named(manifest, "config", "layers"):
            self.blobs[f"/v2/{self.repository}/blobs/{each}"] = f"/v2/{repository}/blobs/{each}"
        if not is_inner:
            for each in registry.named(manifest, "manifests"):
                self._add(repository, each, is_inner=True)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread, or close the connection if there are too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: the other end has gone, and Docker reports what it misses."""

    def close(self) -> None:
        """Stop listening, and end all connections."""
        self.shutdown()
        self.server_close()
        for each in [*self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: ImageProxy
    protocol_version = "HTTP/1.1"
    timeout = SILENCE

    def handle(self) -> None:
        """Answer requests until the connection ends."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            # Docker tries TLS first. Its greeting has no end of a line, which would be waited for.
            if self.rfile.peek(1)[:1] == b"\x16":  # type: ignore[attr-defined] # it is buffered
                self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            super().handle()

    def do_GET(self) -> None:
        """Send the manifest or a blob of the image; nothing else exists here."""
        if self.headers.get("Host", "").partition(":")[0] != registry.ADDRESS:
            self.send_error(403)
        elif not self._has_password():
            self.send_error(401)
        elif "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.send_error(400)
        elif self.path == "/v2/":
            self._send("application/json", b"{}")
        elif self.path in self.server.manifests:
            kind, text = self.server.manifests[self.path]
            self._send(kind, text, digest=self.path.rpartition("/")[2])
        elif self.path in self.server.blobs:
            self._pass_on(self.server.blobs[self.path])
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _has_password(self) -> bool:
        given = self.headers.get("Authorization", "")
        wanted = f"Basic {self.server.authorization}"
        return hmac.compare_digest(given.encode("latin-1", "replace"), wanted.encode())

    def _refuse(self) -> None:
        self.send_error(405)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_CONNECT = do_TRACE = _refuse

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, kind: str, body: bytes, digest: str = "") -> None:
        headers = {"Content-Type": kind, "Content-Length": str(len(body))}
        if digest:
            headers["Docker-Content-Digest"] = digest
        self._begin(200, headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _pass_on(self, path: str) -> None:
        port = self.server.registry_port
        wanted = {name: self.headers[name] for name in ("Range", "If-Range") if self.headers[name]}
        wanted.update(registry_password.authorization(port))
        upstream = http.client.HTTPConnection(registry.ADDRESS, port, timeout=SILENCE)
        try:
            try:
                upstream.request(self.command, path, headers=wanted)
                response = upstream.getresponse()
            except (OSError, http.client.HTTPException):
                self.send_error(502)
                return
            length = response.headers.get("Content-Length") or ""
            if response.status not in (200, 206) or not length.isdigit():
                self.send_error(response.status if response.status in (404, 416) else 502)
                return
            headers = {name: response.headers[name] for name in PASSED if response.headers[name]}
            headers["Docker-Content-Digest"] = path.rpartition("/")[2]
            self._begin(response.status, headers)
            left = 0 if self.command == "HEAD" else int(length)
            while left:
                piece = response.read(min(PIECE, left))
                if not piece:
                    # The other end sees from the missing bytes that this is not all.
                    self.close_connection = True
                    return
                self.wfile.write(piece)
                self.server.last_used = time.monotonic()
                left -= len(piece)
        finally:
            upstream.close()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with a status and nothing else, and close the connection."""
        self.close_connection = True
        headers = {"Content-Length": "0", "Connection": "close"}
        if code == 401:
            headers["WWW-Authenticate"] = 'Basic realm="slipway"'
        # 501 is the standard library's own, for a method without a function.
        self._begin(405 if code == 501 else code, headers)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serving(registry_port: int, repository: str, digest: str) -> Iterator[ImageProxy]:
    """Show an image of the registry as long as the block runs; raise NoImage if it has none."""
    proxy = ImageProxy(registry_port, repository, digest)
    threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
