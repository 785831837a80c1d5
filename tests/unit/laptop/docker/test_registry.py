"""Asking the registry on loopback, against real HTTP servers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from slipway.laptop.docker import registry
from tests.unit.conftest import DEPLOY, closed_port

Serve = Callable[[type[BaseHTTPRequestHandler]], int]
DIGEST = "sha256:" + "0" * 64


class Registry(BaseHTTPRequestHandler):
    """As much of a registry as is asked: the version, and the manifest of shop-run:1."""

    version: str | None = "registry/2.0"

    def do_GET(self) -> None:
        """Say that the API is here."""
        self.answer(200 if self.path == "/v2/" else 404)

    def do_HEAD(self) -> None:
        """Say the digest of a manifest, in the forms in which docker pushes one."""
        forms = self.headers["Accept"]
        known = self.path in ("/v2/shop-run/manifests/1", f"/v2/shop-run/manifests/{DIGEST}")
        usual = "manifest.v2+json" in forms and "image.index.v1+json" in forms
        self.answer(200 if known and usual else 404)

    def answer(self, status: int) -> None:
        """Answer as a registry of that version."""
        self.send_response(status)
        if self.version:
            self.send_header("Docker-Distribution-Api-Version", self.version)
        if status == 200 and self.command == "HEAD":
            self.send_header("Docker-Content-Digest", DIGEST)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class WebServer(Registry):
    """Another server on that port, which answers everything gladly."""

    version = None

    def answer(self, status: int) -> None:
        """Have an answer to whatever is asked."""
        super().answer(200 if self.command == "GET" else status)

    def do_HEAD(self) -> None:
        """Have everything, and no digest of it."""
        self.send_response(200)
        self.end_headers()


class Broken(BaseHTTPRequestHandler):
    """A server that does not speak HTTP."""

    def handle(self) -> None:
        """Say something else."""
        self.wfile.write(b"220 mail.example ESMTP\r\n")


class Failing(Registry):
    """A registry that lost its storage."""

    def do_GET(self) -> None:
        """Fail, as a registry does."""
        self.answer(500)


def ask(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run registry.py as the scripts do."""
    command = [sys.executable, str(DEPLOY / "registry.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_registry_is_up(serve: Serve) -> None:
    """The version check of the API is the proof."""
    assert ask("up", serve(Registry)).returncode == 0


def test_only_a_registry_that_works_is_up(serve: Serve) -> None:
    """Another server on the port, one that fails, nobody at all: not up, and nothing said."""
    for port in (closed_port(), serve(WebServer), serve(Broken), serve(Failing)):
        done = ask("up", port)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_waiting_ends_when_the_registry_answers() -> None:
    """A container takes a moment to listen."""
    port = closed_port()

    def start() -> None:
        with ThreadingHTTPServer(("127.0.0.1", port), Registry) as server:
            server.handle_request()

    timer = threading.Timer(0.5, start)
    timer.daemon = True
    begin = time.monotonic()
    timer.start()
    assert ask("wait", port).returncode == 0
    assert 0.4 < time.monotonic() - begin < 10


def test_an_image_has_a_digest(serve: Serve) -> None:
    """By its tag, and by the digest itself."""
    port = serve(Registry)
    for reference in ("1", DIGEST):
        assert registry.digest(port, "shop-run", reference) == DIGEST


def test_an_image_that_was_not_pushed_has_none(serve: Serve) -> None:
    """So it is pushed; what answers as a registry must be one."""
    for port, tag in ((serve(Registry), "2"), (serve(WebServer), "1"), (closed_port(), "1")):
        assert registry.digest(port, "shop-run", tag) == ""
