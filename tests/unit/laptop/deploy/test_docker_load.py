"""The way to a Docker that does not see the tunnel: an archive without the layers there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.deploy import docker_load, plan
from slipway.laptop.servers import ssh
from tests.unit.conftest import Program
from tests.unit.laptop.deploy.test_plan import WANTED
from tests.unit.laptop.deploy.test_survey import surveyed
from tests.unit.laptop.docker.test_registry import Registry, Serve

CONTENTS = {
    f"sha256:{hashlib.sha256(data).hexdigest()}": data for data in (b"config", b"one", b"two" * 9)
}
CONFIG, *LAYERS = CONTENTS
MANIFEST = json.dumps(
    {
        "config": {"digest": CONFIG, "size": 6},
        "layers": [{"digest": each, "size": len(CONTENTS[each])} for each in LAYERS],
    }
).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
DOCKER = 'case $1 in load) cat >"$0.tar"; cp "$0.tar" "$0.$(ls "$0".* | wc -l)";; esac; '


class Images(Registry):
    """A registry that has one image with two layers."""

    def do_GET(self) -> None:
        """Send its manifest, its configuration and its layers."""
        kind, digest = self.path.split("/")[-2:]
        body = MANIFEST if (kind, digest) == ("manifests", DIGEST) else CONTENTS.get(digest, b"")
        self.send_response(200 if body else 404)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def planned(*lines: str) -> Any:
    """Plan a deploy of it to a server whose survey has these lines."""
    facts = surveyed("docker docker", "engine 26.1 amd64", *lines)
    return plan.Plan("server", dataclasses.replace(WANTED, digest=DIGEST), facts)


def sent(path: Path) -> dict[str, bytes]:
    """Return the files of an archive that docker received."""
    with tarfile.open(path) as opened:
        members = {each.name: opened.extractfile(each) for each in opened.getmembers()}
        return {name: content.read() for name, content in members.items() if content}


def test_the_first_layers_of_an_image_there_are_not_sent(
    here: Any, program: Program, serve: Serve
) -> None:
    """All layers are listed, because Docker compares them with the configuration."""
    docker = program("docker", DOCKER)
    there = planned('layers ["one", "other"]', 'layers ["two"]')
    name = docker_load.fetch(here, there, serve(Images))
    assert name == f"shop-run:{there.wanted.release}"
    files = sent(docker.with_name("docker.tar"))
    listed = {"Config": f"{CONFIG}.json", "RepoTags": [name], "Layers": LAYERS}
    assert json.loads(files.pop("manifest.json")) == [listed]
    assert files == {f"{CONFIG}.json": b"config", LAYERS[1]: CONTENTS[LAYERS[1]]}


def test_an_engine_that_needs_all_layers_gets_them(
    here: Any, program: Program, serve: Serve
) -> None:
    """An engine with another image store cannot use the layers that it has."""
    docker = program("docker", f"{DOCKER} [ -e $0.2 ] || [ $1 != load ]")
    docker_load.fetch(here, planned('layers ["one"]'), serve(Images))
    assert LAYERS[0] not in sent(docker.with_name("docker.1"))
    assert LAYERS[0] in sent(docker.with_name("docker.2"))


def test_a_failed_load_has_dockers_message(here: Any, program: Program, serve: Serve) -> None:
    """The last line of docker's error output."""
    program("docker", 'echo "no space left" >&2; exit 1')
    with pytest.raises(ssh.ConnectionFailed, match=r"could not be loaded: no space left\. Nothing"):
        docker_load.fetch(here, planned(), serve(Images))


def test_an_image_that_the_registry_has_lost_must_be_pushed(here: Any, serve: Serve) -> None:
    """The deploy fails before anything is sent."""
    with pytest.raises(ssh.ConnectionFailed, match=r"has lost the image\. Run make push"):
        docker_load.fetch(here, planned(), serve(Registry))


def test_a_layer_that_the_registry_has_lost_is_a_failure(
    here: Any, program: Program, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive ends too early."""
    program("docker", "cat >$0.tar; tar -tf $0.tar")
    monkeypatch.delitem(CONTENTS, LAYERS[1])
    with pytest.raises(ssh.ConnectionFailed, match="could not be loaded"):
        docker_load.fetch(here, planned(), serve(Images))
