"""The image by its digest alone, as docs/how-to/other-orchestrators.md describes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import testbed
from tests.conftest import ROOT, Project
from tests.containers import faulty_application
from tests.containers.laptop import (
    SESSION,
    Laptop,
    OpenRegistry,
    answer_of,
    free_port,
    wait_until,
)


@dataclass(frozen=True)
class Elsewhere:
    """A folder that has nothing but an environment, and the commands of the page."""

    laptop: Laptop
    folder: Path
    name: str
    port: int
    reference: str

    def block(self, heading: str) -> str:
        """Return the code below a heading of the page, with this application's names."""
        page = (ROOT / "docs/how-to/other-orchestrators.md").read_text(encoding="utf-8")
        [code] = re.findall(rf"^## {heading}\n+```\w+\n(.*?)^```$", page, re.M | re.S)
        code = code.replace("registry.example.org/shop-run@sha256:0123", self.reference)
        code = code.replace("8081:8081", f"127.0.0.1:{self.port}:{faulty_application.PORT}")
        return re.sub(r"\bshop\b", self.name, code)

    def commands(self, heading: str) -> list[list[str]]:
        """Return the commands below a heading of the page, each in words."""
        joined = self.block(heading).replace("\\\n", " ")
        return [shlex.split(line) for line in joined.splitlines()]

    @property
    def answer(self) -> str:
        """The answer of the application."""
        return answer_of(f"127.0.0.1:{self.port}")


@pytest.fixture
def elsewhere(laptop: Laptop, faulty_project: Project, tmp_path: Path) -> Iterator[Elsewhere]:
    """The application in a registry of its user, for somebody who knows its digest alone."""
    image = f"{faulty_project.path.name}-run"
    (tmp_path / "run.env").write_text("VERSION=elsewhere\n", encoding="utf-8")
    name = f"elsewhere-{SESSION}"
    with OpenRegistry(laptop.engine) as registry:
        reference = registry.push(image, f"{image}:1.0")
        yield Elsewhere(laptop, tmp_path, name, free_port(), reference)
        laptop.engine.succeeds("docker", "image", "rm", f"{registry.address}/{image}:1.0")
    laptop.engine.succeeds("docker", "rm", "--force", "--volumes", name)


def test_docker_runs_it_by_its_digest(elsewhere: Elsewhere) -> None:
    """It answers with its environment, and Docker knows that it is healthy."""
    run, inspect = elsewhere.commands("docker run")
    assert run[:2] == ["docker", "run"]
    elsewhere.laptop.engine.run("docker", "run", "--pull=always", *run[2:], folder=elsewhere.folder)
    wait_until(lambda: elsewhere.laptop.engine.run(*inspect).strip() == "healthy")
    assert elsewhere.answer == "elsewhere"


def test_compose_runs_it_by_its_digest(elsewhere: Elsewhere) -> None:
    """`up --wait` comes back when it is healthy."""
    (elsewhere.folder / "compose.yaml").write_text(elsewhere.block("compose"), encoding="utf-8")
    compose = ("docker", "compose", "--project-name", elsewhere.name)
    engine = elsewhere.laptop.engine
    try:
        engine.run(*compose, "up", "--wait", "--pull=always", folder=elsewhere.folder)
        listed = engine.run(*compose, "ps", "--format={{.Health}}", folder=elsewhere.folder)
        assert listed.strip() == "healthy"
        assert elsewhere.answer == "elsewhere"
    finally:
        engine.run(*compose, "down", "--volumes", folder=elsewhere.folder)


def test_podman_runs_it_by_its_digest(elsewhere: Elsewhere) -> None:
    """It pulls into a store of its own, and its own health check finds it healthy."""
    run, healthcheck = elsewhere.commands("podman")
    assert run[:2] == ["podman", "run"]
    environment = str(elsewhere.folder / "run.env")
    words = [environment if word == "run.env" else word for word in run[1:]]
    with testbed.Podman() as podman:
        podman.pull("--tls-verify=false", elsewhere.reference)
        podman.run(*words)
        wait_until(lambda: podman.succeeds(*healthcheck[1:]))
        state = podman.run("inspect", "--format", "{{.State.Health.Status}}", elsewhere.name)
        assert state.strip() == "healthy"
        digest = podman.run("inspect", "--format", "{{.ImageDigest}}", elsewhere.name).strip()
        assert elsewhere.reference.endswith(digest)
        assert podman.ask(f"http://127.0.0.1:{elsewhere.port}/") == "elsewhere"
