"""The registry: on demand, on loopback, out of everybody's way."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import stat

import pytest

import testbed
from tests.containers.laptop import Shipped


def container_of(shipped: Shipped) -> str:
    """Return the name of the registry's container."""
    return f"registry-{shipped.laptop.registry_port}-registry-1"


def test_registry_listens_on_loopback_only(shipped: Shipped) -> None:
    """No other address of this machine reaches it."""
    ports = json.loads(
        shipped.laptop.docker(
            "inspect", "--format", "{{json .HostConfig.PortBindings}}", container_of(shipped)
        )
    )
    assert [binding["HostIp"] for binding in ports["5000/tcp"]] == ["127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; tells which address packets leave from
        outside = probe.getsockname()[0]
    assert not outside.startswith("127.")
    with socket.socket() as connection:
        connection.settimeout(5)
        assert connection.connect_ex((outside, shipped.laptop.registry_port)) != 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/NAME/tags/list"),
        ("GET", "/v2/NAME/manifests/DIGEST"),
        ("DELETE", "/v2/NAME/manifests/DIGEST"),
        ("POST", "/v2/NAME/blobs/uploads/"),
        ("POST", "/v2/another/blobs/uploads/"),
    ],
)
def test_registry_answers_only_to_its_account(shipped: Shipped, method: str, path: str) -> None:
    """Another account gets nothing, nor does a page in a browser, whatever Host it sends."""
    digest = json.loads(shipped.project.read(".deploy/state.json"))["push"]["digest"]
    path = path.replace("NAME", shipped.run_image).replace("DIGEST", digest)
    for host in ("127.0.0.1", "evil.example"):
        connection = http.client.HTTPConnection("127.0.0.1", shipped.laptop.registry_port)
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        assert answer.status == 401
        assert b'"code":"UNAUTHORIZED"' in answer.read()
        connection.close()
    folder = shipped.laptop.state / "slipway" / f"registry-{shipped.laptop.registry_port}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600


def test_registry_whose_password_is_lost_is_started_again(shipped: Shipped) -> None:
    """With another password, and with its images."""
    shutil.rmtree(shipped.laptop.state / "slipway")
    said = shipped.make("push")
    assert f"listens on 127.0.0.1:{shipped.laptop.registry_port}" in said
    assert "nothing to do" in said.splitlines()[-1]


def test_registry_that_died_is_started_again(shipped: Shipped) -> None:
    """`make push` does not ask anybody to start it."""
    shipped.laptop.docker("kill", container_of(shipped))
    said = shipped.make("push")
    assert f"listens on 127.0.0.1:{shipped.laptop.registry_port}" in said
    assert "nothing to do" in said.splitlines()[-1]


def test_registry_keeps_its_images_when_it_is_stopped(shipped: Shipped) -> None:
    """`make registry-down` removes the container; what was pushed is there afterwards."""
    shipped.make("registry-down")
    assert container_of(shipped) not in shipped.laptop.docker("ps", "--all")
    said = shipped.make("registry-up", "push")
    assert "nothing to do" in said.splitlines()[-1]


def test_images_but_the_last_one_are_removed(shipped: Shipped) -> None:
    """Their layers go too, and what is kept can be deployed."""
    port, name = shipped.laptop.registry_port, shipped.run_image
    empty = f"127.0.0.1:{port}/{name}:old"
    size = ("exec", container_of(shipped), "du", "-sk", "/var/lib/registry/docker")
    script = "dd if=/dev/urandom of=/tmp/x bs=1M count=3 2>/dev/null"
    shipped.make("push")
    before = int(shipped.laptop.docker(*size).split()[0])
    try:
        made = shipped.laptop.docker("run", "--detach", "--entrypoint", "sh", name, "-c", script)
        shipped.laptop.docker("wait", made.strip())
        shipped.laptop.docker("commit", made.strip(), empty)
        shipped.laptop.docker(*shipped.laptop.registry_user, "push", "--quiet", empty)
        shipped.laptop.docker("rm", made.strip())
        grown = int(shipped.laptop.docker(*size).split()[0])
        assert grown > before + 3000
        assert "removed " in shipped.make("registry-gc")
        assert int(shipped.laptop.docker(*size).split()[0]) < before + 300
    finally:
        shipped.laptop.engine.succeeds("docker", "image", "rm", empty)
    said = shipped.make("push")
    assert "nothing to do" in said.splitlines()[-1]


def test_port_that_something_else_has_is_named(shipped: Shipped) -> None:
    """The program that listens there is left alone, and the message names the setting."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = ("make", "registry-up", f"REGISTRY_PORT={port}")
        said = shipped.project.run(*command, **shipped.laptop.engine.environment)
    assert said.returncode != 0
    assert "set REGISTRY_PORT" in said.stdout
    forget(shipped.laptop.engine, port)


def forget(engine: testbed.Engine, port: int) -> None:
    """Remove what compose made before it found the port taken."""
    engine.succeeds("docker", "rm", "--force", f"registry-{port}-registry-1")
    engine.succeeds("docker", "network", "rm", f"registry-{port}_default")
    engine.succeeds("docker", "volume", "rm", f"registry-{port}_storage")
