"""Pushing: what is said and recorded of it, with a docker that only takes notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.build import record
from slipway.laptop.commands import push
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS, Program
from tests.unit.laptop.docker.test_registry import DIGEST, Registry, Serve

DOCKER = 'echo "$*" >>"$0.log"; case $1 in --version) echo "{0} version" ;; push) exit {1} ;; esac'
IMAGE = "sha256:" + "ab" * 32


class Bench:
    """An image that is built, a registry that has it under the tag 1, and a docker."""

    def __init__(self, port: int, folder: Path, program: Program) -> None:
        """Take the registry's port, where records are, and how programs are written."""
        self.port = port
        self.folder = folder
        self.program = program
        self.image = IMAGE

    def push(
        self, tag: str = "1", docker: str = "Docker", status: int = 0
    ) -> tuple[str, list[str]]:
        """Push by a docker of that name; gives what is said, and what docker was asked."""
        path = self.program("docker", DOCKER.format(docker, status))
        log = path.with_name("docker.log")
        log.write_text("")
        typed = {"REGISTRY_PORT": str(self.port), "TAG": tag, "DOCKER": str(path)}
        said: str = push.push(settings.resolve(SETTINGS, typed))
        return said, log.read_text().splitlines()

    @property
    def record(self) -> Any:
        """What was recorded of the last push."""
        return record.State(self.folder / "state.json").steps.get("push")


@pytest.fixture
def bench(serve: Serve, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One of them."""
    made = Bench(serve(Registry), tmp_path / "state", program)
    monkeypatch.setattr(push, "State", lambda: record.State(made.folder / "state.json"))
    monkeypatch.setattr(push, "built", lambda _: made.image)
    return made


def test_a_push_is_recorded_and_not_done_again(bench: Bench) -> None:
    """By the digest that the registry says."""
    name = f"127.0.0.1:{bench.port}/shop-run:1"
    said, asked = bench.push()
    assert said == f"shop-run@{DIGEST}"
    assert asked == [f"tag shop-run {name}", "--version", f"push --quiet {name}"]
    assert bench.record == {"digest": DIGEST, "image": IMAGE, "name": name}
    assert bench.push() == (f"nothing to do: the registry has {DIGEST}", [])


def test_another_image_under_the_same_tag_is_pushed(bench: Bench) -> None:
    """A tag may move."""
    bench.push()
    bench.image = "sha256:" + "cd" * 32
    assert bench.push()[0] == f"shop-run@{DIGEST}"
    assert bench.record["image"] == bench.image


def test_the_name_that_was_pushed_before_is_removed(bench: Bench) -> None:
    """Only when there is another."""
    old = f"127.0.0.1:{bench.port}/shop-run:0"
    bench.push()
    recorded = record.State(bench.folder / "state.json")
    recorded.record("push", digest="sha256:0", image="sha256:0", name=old)
    assert bench.push()[1][-1] == f"image rm {old}"


def test_podman_is_told_that_loopback_needs_no_certificate(bench: Bench) -> None:
    """Docker knows by itself."""
    assert "push --tls-verify=false --quiet" in bench.push(docker="podman")[1][-1]


@pytest.mark.parametrize(
    ("tag", "status", "says"),
    [("1", 1, "could not be pushed"), ("2", 0, "the registry does not know .*, which was just")],
)
def test_a_push_that_does_not_arrive_is_not_recorded(
    bench: Bench, tag: str, status: int, says: str
) -> None:
    """What was pushed before is what can be deployed."""
    bench.push()
    bench.image = "sha256:" + "cd" * 32
    with pytest.raises(push.NotPushed, match=says):
        bench.push(tag, status=status)
    assert bench.record["image"] == IMAGE
