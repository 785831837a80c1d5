"""The tunnel: it must lead to this machine's registry, and a failed pull has a reason."""

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


def test_the_image_at_its_end_proves_the_tunnel(here: Any, serve: Serve) -> None:
    """The registry there has the same image."""
    tunnel.prove(here, serve(Registry), "shop-run", DIGEST)


def test_a_tunnel_to_anything_else_is_refused(here: Any, serve: Serve) -> None:
    """Another server, a registry without the image, and nobody at all."""
    for port, name in (
        (serve(WebServer), "x"),
        (serve(Registry), "x"),
        (closed_port(), "shop-run"),
    ):
        with pytest.raises(
            ssh.ConnectionFailed, match="cannot reach the registry through the tunnel"
        ):
            tunnel.prove(here, port, name, DIGEST)


def test_a_failed_pull_has_dockers_message(here: Any, program: Program) -> None:
    """And it says that a second try continues there."""
    program("docker", 'echo "no space left for $3" >&2; exit 1')
    with pytest.raises(ssh.ConnectionFailed, match=r"no space left for a@b\. Nothing was"):
        tunnel.pull(here, made(), "a@b", terminal=False)


def test_a_lost_tunnel_is_not_a_stopped_engine(here: Any, program: Program) -> None:
    """The message has the address to which docker could not connect."""
    refused = "Get https://127.0.0.1:4/v2/: dial tcp 127.0.0.1:4: connect: connection refused"
    program("docker", f'echo "{refused}" >&2; exit 1')
    with pytest.raises(ssh.ConnectionFailed, match=r"pulled: Get .* connection refused. Nothing"):
        tunnel.pull(here, made(), "a@b", terminal=False)
