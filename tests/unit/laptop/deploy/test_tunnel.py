"""The tunnel: it must lead to this machine and from loopback, and a failed pull has a reason."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.deploy import image_proxy, tunnel
from slipway.laptop.servers import ssh
from tests.unit.conftest import Program, closed_port
from tests.unit.laptop.deploy import test_image_proxy
from tests.unit.laptop.deploy.test_plan import made
from tests.unit.laptop.docker.test_registry import DIGEST, Registry, WebServer

Serve = Callable[[type[BaseHTTPRequestHandler]], int]


def test_the_image_at_its_end_proves_the_tunnel(here: Any, serve: Serve) -> None:
    """The proxy there has the same image."""
    tunnel.prove(here, serve(Registry), "shop-run", DIGEST, "secret")
    port, digest = serve(test_image_proxy.Whole), test_image_proxy.DIGEST
    with image_proxy.serving(port, "shop-run", digest) as proxy:
        tunnel.prove(here, proxy.port, proxy.repository, digest, proxy.authorization)


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::ffff:127.0.0.1"),
    ],
)
def test_a_tunnel_may_listen_on_loopback(
    here: Any, family: socket.AddressFamily, address: str
) -> None:
    """By either version of IP, as this machine's own kernel lists it."""
    with listening(family, address) as port:
        tunnel.check_address(here, port)


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET, "127.0.0.2"),
        (socket.AF_INET6, "::"),
    ],
)
def test_a_tunnel_that_is_open_to_the_network_is_refused(
    here: Any, family: socket.AddressFamily, address: str
) -> None:
    """Nothing is pulled, and the line of sshd_config is named."""
    with listening(family, address) as port, pytest.raises(ssh.ConnectionFailed) as found:
        tunnel.check_address(here, port)
    assert "GatewayPorts no" in str(found.value)
    assert "\n" not in str(found.value)


def test_a_tunnel_that_cannot_be_seen_is_refused(here: Any) -> None:
    """A server without /proc, for example."""
    with pytest.raises(ssh.ConnectionFailed, match="cannot check in /proc/net/tcp"):
        tunnel.check_address(here, closed_port())


@contextlib.contextmanager
def listening(family: socket.AddressFamily, address: str) -> Iterator[int]:
    """Listen on a free port of an address."""
    with socket.socket(family) as server:
        server.bind((address, 0))
        server.listen()
        yield int(server.getsockname()[1])


# The part of docker that a pull needs; it writes down its words, its folder and the answer.
DOCKER = """\
import json, sys, urllib.request
own, *words = sys.argv[1:]
if words[0] == "context":
    sys.exit(print("unix:///here.sock"))
folder, reference = words[words.index("--config") + 1], words[-1]
auths = json.load(open(f"{folder}/config.json"))["auths"]
address, path = reference.split("/", 1)
url = f"http://{address}/v2/{path.replace('@', '/manifests/')}"
head = {"Authorization": f"Basic {auths[address]['auth']}"}
with urllib.request.urlopen(urllib.request.Request(url, headers=head)) as answer:
    print(" ".join(words), folder, answer.status, sep="\\n", file=open(f"{own}.log", "w"))
"""


def test_the_server_pulls_from_a_proxy_that_ends(
    here: Any, program: Program, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the image while docker pulls; the tunnel is closed before the proxy."""
    docker = program("docker", f'{sys.executable} {tmp_path}/docker.py "$0" "$@"')
    (tmp_path / "docker.py").write_text(DOCKER)
    ended = []

    def end(port: int) -> None:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/")
        ended.append(refused.value.code)

    # the ssh of this test has no network between its two ends
    monkeypatch.setattr(here, "forward", lambda port: port)
    monkeypatch.setattr(here, "end_forward", end)
    there = made()
    wanted = dataclasses.replace(there.wanted, digest=test_image_proxy.DIGEST)
    there = dataclasses.replace(there, wanted=wanted)
    reference = tunnel.fetch(here, there, serve(test_image_proxy.Whole), alone=False)
    asked, folder, got = docker.with_name("docker.log").read_text().splitlines()
    assert asked == f"--host unix:///here.sock --config {folder} pull --quiet {reference}"
    assert got == "200"
    assert not Path(folder).exists()
    address, token, rest = reference.split("/")
    assert (len(token), rest) == (32, f"shop-run@{test_image_proxy.DIGEST}")
    assert ended == [401]
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", int(address.partition(":")[2]))) != 0


def test_a_tunnel_to_anything_else_is_refused(here: Any, serve: Serve) -> None:
    """Another server, a registry without the image, and nobody at all."""
    for port, name in (
        (serve(WebServer), "x"),
        (serve(Registry), "x"),
        (closed_port(), "shop-run"),
    ):
        with pytest.raises(
            ssh.ConnectionFailed, match="cannot reach this machine through the tunnel"
        ):
            tunnel.prove(here, port, name, DIGEST, "secret")


def test_a_failed_pull_has_dockers_message(here: Any, program: Program) -> None:
    """And it says that a second try continues there."""
    program("docker", 'shift $(($# - 1)); echo "no space left for $1" >&2; exit 1')
    with pytest.raises(ssh.ConnectionFailed, match=r"no space left for a@b\. Nothing was"):
        tunnel.pull(here, made(), "a@b", "secret", terminal=False)


def test_a_lost_tunnel_is_not_a_stopped_engine(here: Any, program: Program) -> None:
    """The message has the address to which docker could not connect."""
    refused = "Get https://127.0.0.1:4/v2/: dial tcp 127.0.0.1:4: connect: connection refused"
    program("docker", f'echo "{refused}" >&2; exit 1')
    with pytest.raises(ssh.ConnectionFailed, match=r"pulled: Get .* connection refused. Nothing"):
        tunnel.pull(here, made(), "a@b", "secret", terminal=False)
