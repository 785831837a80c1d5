"""The tunnel: proven by what is at its end, and a pull that fails says why."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from slipway.laptop.deploy import tunnel
from slipway.laptop.servers import ssh
from tests.unit.conftest import Program, closed_port
from tests.unit.laptop.deploy.test_plan import made
from tests.unit.laptop.docker.test_registry import DIGEST, Registry, WebServer

Serve = Callable[[type[BaseHTTPRequestHandler]], int]


def test_the_tunnel_is_proven_by_the_image_at_its_end(here: Any, serve: Serve) -> None:
    """The registry there has this very image."""
    tunnel.prove(here, serve(Registry), "shop-run", DIGEST)


def test_a_tunnel_to_anything_else_is_refused(here: Any, serve: Serve) -> None:
    """Another server, a registry without the image, and nobody at all."""
    for port, name in (
        (serve(WebServer), "x"),
        (serve(Registry), "x"),
        (closed_port(), "shop-run"),
    ):
        with pytest.raises(ssh.ConnectionFailed, match="does not answer as our registry"):
            tunnel.prove(here, port, name, DIGEST)


def test_a_pull_that_fails_says_why(here: Any, program: Program) -> None:
    """The last word of docker's is shown, and that a second try goes on where it ended."""
    program("docker", 'echo "no space left for $3" >&2; exit 1')
    with pytest.raises(ssh.ConnectionFailed, match="pulled: no space left for a@b; nothing was"):
        tunnel.pull(here, made(), "a@b", terminal=False)


def test_a_tunnel_that_is_cut_is_no_engine_that_is_stopped(here: Any, program: Program) -> None:
    """What docker could not connect to is said."""
    refused = "Get https://127.0.0.1:4/v2/: dial tcp 127.0.0.1:4: connect: connection refused"
    program("docker", f'echo "{refused}" >&2; exit 1')
    with pytest.raises(ssh.ConnectionFailed, match=r"pulled: Get .* connection refused; nothing"):
        tunnel.pull(here, made(), "a@b", terminal=False)
