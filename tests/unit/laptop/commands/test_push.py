"""A push: its messages and its record, with a docker that only records calls."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.building import pipeline, record
from slipway.laptop.commands import push
from slipway.laptop.docker import registry_password
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS, Program, closed_port
from tests.unit.laptop.docker.test_registry import (
    DIGEST,
    EVIL,
    IMAGE,
    SQUATTERS,
    Registry,
    Serve,
    squatter,
)

DOCKER = (
    'echo "$*" >>"$0.log"; case $* in --version) echo "{0} version" ;; *push*) exit {1} ;; esac'
)


class Bench:
    """An image that is built, a registry that has it under the tag 1, and a docker."""

    def __init__(self, port: int, folder: Path, program: Program) -> None:
        """Use the registry's port, the folder of the record, and a way to write programs."""
        self.port = port
        self.folder = folder
        self.program = program
        self.image = IMAGE

    def push(
        self, tag: str = "1", docker: str = "Docker", status: int = 0
    ) -> tuple[str, list[str]]:
        """Push by a docker of that name; return the message, and the docker commands."""
        path = self.program("docker", DOCKER.format(docker, status))
        log = path.with_name("docker.log")
        log.write_text("")
        typed = {"REGISTRY_PORT": str(self.port), "TAG": tag, "DOCKER": str(path)}
        said: str = push.push(settings.resolve(SETTINGS, typed))
        return said, log.read_text().splitlines()

    @property
    def record(self) -> Any:
        """What was recorded of the last push."""
        return record.Record(self.folder / "state.json").steps.get("push")


@pytest.fixture
def bench(serve: Serve, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """An image, a registry and a docker."""
    made = Bench(serve(Registry), tmp_path / "state", program)
    monkeypatch.setattr(record.Record, "load", lambda: record.Record(made.folder / "state.json"))
    monkeypatch.setattr(push, "built", lambda _: made.image)
    return made


def test_a_push_is_recorded_and_not_repeated(bench: Bench) -> None:
    """With the digest from the registry."""
    name = f"127.0.0.1:{bench.port}/shop-run:1"
    said, asked = bench.push()
    assert said == f"shop-run@{DIGEST}"
    config = registry_password.folder(bench.port)
    assert asked == [
        *("--version", f"tag shop-run {name}"),
        f"--config {config} push --quiet {name}",
    ]
    assert bench.record == {"digest": DIGEST, "image": IMAGE, "name": name}
    assert bench.push() == (f"nothing to do: the registry has {DIGEST}", [])


def test_another_image_under_the_same_tag_is_pushed(bench: Bench) -> None:
    """A tag may move."""
    bench.push()
    recorded = record.Record(bench.folder / "state.json")
    recorded.write("push", digest=DIGEST, image="sha256:" + "cd" * 32, name="")
    assert bench.push()[0] == f"shop-run@{DIGEST}"
    assert bench.record["image"] == bench.image


def test_the_name_that_was_pushed_before_is_removed(bench: Bench) -> None:
    """Only if the new name is another one."""
    old = f"127.0.0.1:{bench.port}/shop-run:0"
    bench.push()
    recorded = record.Record(bench.folder / "state.json")
    recorded.write("push", digest="sha256:0", image="sha256:0", name=old)
    assert bench.push()[1][-1] == f"image rm {old}"


def test_podman_needs_an_option_for_a_registry_without_a_certificate(bench: Bench) -> None:
    """Docker needs none for loopback addresses."""
    config = registry_password.configuration(bench.port)
    pushing = bench.push(docker="podman")[1][-1]
    assert pushing.startswith(f"push --authfile {config} --tls-verify=false --quiet ")


@pytest.mark.parametrize(
    ("tag", "status", "says"),
    [("1", 1, "could not be pushed"), ("2", 0, "the registry does not have .*, which was just")],
)
def test_a_push_that_does_not_arrive_is_not_recorded(
    bench: Bench, tag: str, status: int, says: str
) -> None:
    """The image that was pushed before can still be deployed."""
    bench.push()
    bench.image = "sha256:" + "cd" * 32
    with pytest.raises(push.NotPushed, match=says):
        bench.push(tag, status=status)
    assert bench.record["image"] == IMAGE


@pytest.mark.parametrize(("text", "digest"), SQUATTERS)
def test_a_squatter_on_the_port_is_refused(
    bench: Bench, serve: Serve, text: bytes, digest: str
) -> None:
    """Another program has the port before the registry, and names another image's digest."""
    bench.push()
    bench.port = serve(squatter(text, digest)[0])
    with pytest.raises(push.NotPushed, match="is not the image that was built"):
        bench.push()
    assert bench.record["name"] != f"127.0.0.1:{bench.port}/shop-run:1"
    assert bench.record["digest"] == DIGEST


def test_an_unchecked_digest_of_an_earlier_push_is_refused(bench: Bench, serve: Serve) -> None:
    """It was recorded before digests were compared with images."""
    handler, named = squatter(EVIL)
    bench.port = serve(handler)
    record.Record(bench.folder / "state.json").write("push", digest=named, image=IMAGE, name="")
    with pytest.raises(push.NotPushed, match="is not the image that was built"):
        bench.push()


def test_a_dry_run_shows_the_commands_and_runs_none(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the push itself."""
    docker = bench.program("docker", DOCKER.format("Docker", 0))
    port = str(closed_port())
    typed = {"REGISTRY_PORT": port, "TAG": "2", "DOCKER": str(docker), "DRY_RUN": "1"}
    monkeypatch.setattr(pipeline, "make", lambda *_, **__: None)
    push.show(settings.resolve(SETTINGS, typed))
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("# ")]
    assert [shlex.split(line)[-1] for line in lines] == [
        "--force-recreate",
        *[f"127.0.0.1:{port}/shop-run:2"] * 2,
    ]
    assert lines[0].startswith(f"env REGISTRY_PORT={port} REGISTRY_PASSWORD=")
    name, config = f"127.0.0.1:{port}/shop-run:2", registry_password.folder(port)
    assert lines[1:] == [
        f"{docker} tag shop-run {name}",
        f"{docker} --config {config} push --quiet {name}",
    ]
    assert docker.with_name("docker.log").read_text() == "--version\n"
