"""The health check of the run image, against real servers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from slipway.image.run import healthcheck
from tests.unit.conftest import DEPLOY, closed_port

Serve = Callable[[type[BaseHTTPRequestHandler]], int]


def check(port: int, health: str = "/") -> subprocess.CompletedProcess[str]:
    """Run the check as the HEALTHCHECK instruction does."""
    return subprocess.run(
        [sys.executable, "-I", DEPLOY / "slipway/image/run/healthcheck.py"],
        env={**os.environ, "PORT": str(port), "HEALTH": health},
        capture_output=True,
        text=True,
    )


class Answers(BaseHTTPRequestHandler):
    """Answers /STATUS with that status."""

    def do_GET(self) -> None:
        """Send the status, with the requested host as its reason."""
        self.send_response(int(self.path[1:4] or 200), f"for {self.headers['Host']}")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def sends() -> Iterator[Callable[[bytes | None, str], int]]:
    """Listen on a port, send a text to each connection and close it; None sends nothing."""
    servers: list[socket.socket] = []

    def start(word: bytes | None, address: str = "127.0.0.1") -> int:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.create_server((address, 0), family=family)
        servers.append(server)
        connections = []

        def answer() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                connections.append(connection)
                if word is not None:
                    connection.recv(1000)
                    connection.sendall(word)
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        # After close() alone, the thread would wait for the next user of the descriptor's number.
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize("path", ["/", "/204", "/302", "/404", "/401?x=1"])
def test_an_application_that_answers_is_healthy(serve: Serve, path: str) -> None:
    """Every status below 500 is healthy: the path may not exist."""
    done = check(serve(Answers), path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"GET {path} answers HTTP/1.0 {path[1:4] or 200} for localhost\n"


@pytest.mark.parametrize("status", ["500", "503"])
def test_an_application_that_fails_is_unhealthy(serve: Serve, status: str) -> None:
    """The answer is shown, for `docker inspect`."""
    done = check(serve(Answers), f"/{status}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"unhealthy: GET /{status} answers HTTP/1.0 {status}")


@pytest.mark.parametrize("health", ["/", "tcp"])
def test_a_closed_port_is_unhealthy(health: str) -> None:
    """An application that does not listen, or not yet, is unhealthy."""
    done = check(closed_port(), health)
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "word",
    [b"", b"\n", b"+OK ready\r\n", b"220 mail.example ESMTP\r\n", b"\xff" * 500, b"HTTP/1.0\r\n"],
)
def test_an_answer_that_is_not_http_is_unhealthy(
    sends: Callable[[bytes | None], int], word: bytes
) -> None:
    """A server of another protocol is not the application."""
    done = check(sends(word))
    assert done.returncode == 1
    assert "unhealthy: port" in done.stderr
    assert done.stderr.count("\n") == 1


def test_tcp_requires_a_connection_only(sends: Callable[[bytes | None], int]) -> None:
    """HEALTH := tcp is for applications that do not speak HTTP."""
    port = sends(None)
    done = check(port, "tcp")
    assert (done.returncode, done.stdout) == (0, f"port {port} accepts connections\n")


def test_an_application_that_only_listens_on_ipv6_is_healthy(
    sends: Callable[[bytes | None, str], int],
) -> None:
    """The check tries 127.0.0.1 first, then ::1."""
    done = check(sends(b"HTTP/1.1 200 OK\r\n\r\n", "::1"))
    assert (done.returncode, done.stdout) == (0, "GET / answers HTTP/1.1 200 OK\n")


def test_a_silent_application_is_unhealthy(
    sends: Callable[[bytes | None], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A connection without an answer times out."""
    monkeypatch.setattr(healthcheck, "TIMEOUT", 0.1)
    monkeypatch.setenv("PORT", str(sends(None)))
    monkeypatch.setenv("HEALTH", "/")
    assert healthcheck.main([]) == 1
    assert capsys.readouterr() == ("", "unhealthy: timed out\n")


def test_the_check_reports_before_docker_stops_it() -> None:
    """Otherwise `docker inspect` would not show the reason."""
    given_up = re.search(r"--timeout=([0-9]+)s", (DEPLOY / "run.docker").read_text("utf-8"))
    assert given_up
    assert int(given_up[1]) > healthcheck.TIMEOUT


def test_health_none_is_never_unhealthy() -> None:
    """The check is turned off."""
    done = check(closed_port(), "none")
    assert (done.returncode, done.stdout) == (0, "not checked (HEALTH is none)\n")


def test_a_published_port_is_checked_at_the_containers_own_address() -> None:
    """Listening only on 127.0.0.1 or only on IPv6 is a problem; on all addresses it is not."""
    families = {"127.0.0.1": socket.AF_INET, "::": socket.AF_INET6}
    for address, only in (("127.0.0.1", r"127\.0\.0\.1"), ("::", "IPv6")):
        with socket.create_server((address, 0), family=families[address]) as server:
            port = server.getsockname()[1]
            advice = rf"listens on {only} only: let it listen on 0\.0\.0\.0"
            with pytest.raises(OSError, match=advice):
                healthcheck.check(port, "tcp", ("127.0.0.2",))
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        assert "accepts connections" in healthcheck.check(port, "tcp", ("127.0.0.2",))


def test_ports_that_have_a_listener_are_named() -> None:
    """The message distinguishes a wrong port from an application that does not start."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        message = healthcheck.elsewhere(closed_port())
        assert re.search(rf"\b{port}\b", message)
        assert message.endswith("set PORT, or the port that COMMAND names")
        assert healthcheck.elsewhere(port) == ""


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/there-is-no-such-page", "you have <code>DEBUG = True</code> in your settings file"),
        ("/console", "var EVALEX = true, EVALEX_TRUSTED = false;"),
        ("", ""),
    ],
)
def test_a_debug_mode_is_pointed_out(serve: Serve, path: str, page: str) -> None:
    """Django's page for an unknown address, and Werkzeug's console; nothing else is."""

    class Site(Answers):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write((page if self.path == path else "Not Found").encode())

    port = serve(Site)
    program = str(DEPLOY / "slipway/image/run/healthcheck.py")
    words = [sys.executable, "-I", program, "--debug"]
    said = {}
    for health in ("/", "tcp"):
        environment = {**os.environ, "PORT": str(port), "HEALTH": health}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        said[health] = done.stdout
    expected = f"GET {path} shows code and settings to anybody: turn off the debug mode\n"
    assert said == {"/": expected if path else "", "tcp": ""}
