"""Real parts for the container tests: one engine, one registry and one server a session.

A project is generated, built, pushed and deployed once for each interpreter; the tests then look at
what came of it. The folders have a space in their names, since people's folders have.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import harness
from tests.conftest import Baker, Project

# Images, containers and registries of this session have names that nobody else's have.
SESSION = secrets.token_hex(3)
PORTS = {"PyPy": 8081, "CPython": 8082, "existing": 8083}


def free_port() -> int:
    """Find a port of this machine's loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answer_of(address: str) -> str:
    """Give what an application answers to GET /."""
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as response:
        text: str = response.read().decode()
        return text


@dataclass(frozen=True)
class Laptop:
    """Where make is typed: the engine, the registry's port and the server to deploy to."""

    engine: harness.Engine
    server: harness.Server
    registry_port: int

    def make(self, project: Project, *words: str, **environment: str) -> str:
        """Run make in a project; fail with all that it said when it fails."""
        done = self.run(project, "make", *words, **environment)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def make_fails(self, project: Project, *words: str, **environment: str) -> str:
        """Run make in a project, which must fail; give what it said."""
        done = self.run(project, "make", *words, **environment)
        assert done.returncode != 0, done.stdout
        return done.stdout

    def run(
        self, project: Project, *command: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a project with this laptop's engine, registry and server."""
        settings = {
            "DEPLOY_HOST": self.server.host,
            "SSH": self.server.ssh,
            "REGISTRY_PORT": str(self.registry_port),
        }
        if command[0] == "make":
            typed = [f"{name}={settings[name]}" for name in ("SSH", "REGISTRY_PORT")]
            # the last of two counts for make
            command = ("make", *typed, *command[1:])
        return project.run(*command, **{**self.engine.environment, **settings, **environment})

    def docker(self, *words: str) -> str:
        """Run a docker command with this laptop's engine and give its output."""
        return self.engine.run("docker", *words)

    def prepare(self, project: Project) -> Project:
        """Do what a user of this network does first: copy the certificates, commit."""
        for certificate in harness.extra_certificates():
            shutil.copy(certificate, project.path / "deploy" / "ca")
        for command in (
            ("git", "init", "--quiet"),
            ("git", "add", "--all"),
            (
                *("git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org"),
                *("commit", "--quiet", "--message", "Generate"),
            ),
        ):
            done = project.run(*command)
            assert done.returncode == 0, done.stdout
        return project


@dataclass(frozen=True)
class Shipped:
    """A project that was generated, built, pushed and deployed."""

    laptop: Laptop
    project: Project
    name: str
    port: int

    def make(self, *words: str, **environment: str) -> str:
        """Run make in the project; fail with all that it said when it fails."""
        return self.laptop.make(self.project, *words, **environment)

    def make_fails(self, *words: str, **environment: str) -> str:
        """Run make in the project, which must fail; give what it said."""
        return self.laptop.make_fails(self.project, *words, **environment)

    @property
    def answer(self) -> str:
        """What the server answers now."""
        return answer_of(self.laptop.server.address(self.port))

    @property
    def run_image(self) -> str:
        """The name of its run image."""
        return f"{self.name}-run"

    def on_server(self, field: str, container: str = "") -> str:
        """Give one field of the release's container on the server, as a docker template."""
        return self.laptop.server.docker(
            "inspect", "--format", f"{{{{{field}}}}}", container or self.name
        ).strip()

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that is there in one of the project's files."""
        text = self.project.read(name)
        assert old in text, text
        (self.project.path / name).write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="session")
def engine() -> Iterator[harness.Engine]:
    """The machine's engine, or one of our own for the length of the session."""
    with harness.engine_session() as found:
        for image in (harness.BASE, harness.REGISTRY):
            harness.provide(found, image)
        yield found


@pytest.fixture(scope="session")
def server(engine: harness.Engine) -> Iterator[harness.Server]:
    """A server with sshd and an engine of its own."""
    with harness.Server(engine, ports=PORTS.values()) as started:
        yield started


@pytest.fixture(scope="session")
def laptop(engine: harness.Engine, server: harness.Server) -> Iterator[Laptop]:
    """The machine that make is typed on; its registry is removed at the end."""
    had_cache = "wheelhouse-cache" in engine.run("docker", "volume", "ls", "--quiet").split()
    port = free_port()
    yield Laptop(engine, server, port)
    name = f"registry-{port}"
    engine.succeeds("docker", "rm", "--force", "--volumes", f"{name}-registry-1")
    engine.succeeds("docker", "network", "rm", f"{name}_default")
    engine.succeeds("docker", "volume", "rm", f"{name}_storage")
    if not had_cache:
        engine.succeeds("docker", "volume", "rm", "wheelhouse-cache")


@pytest.fixture(scope="session")
def generate(
    template: Path, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Baker]:
    """Generate projects in folders with a space; what they made is removed at the end."""
    made: list[Project] = []

    def folder() -> Path:
        place = tmp_path_factory.mktemp("my projects", numbered=True) / "of today"
        place.mkdir()
        return place

    class Keeper(Baker):
        def __call__(self, **answers: str) -> Project:
            project = laptop.prepare(super().__call__(**answers))
            made.append(project)
            return project

    yield Keeper(template, folder)
    for project in made:
        laptop.run(project, "make", "clean")


@pytest.fixture(scope="session", params=["PyPy", "CPython"])
def shipped(request: pytest.FixtureRequest, generate: Baker, laptop: Laptop) -> Iterator[Shipped]:
    """The sample application on its way from an answered question to the server."""
    python = request.param
    name = f"ship-{python.lower()}-{SESSION}"
    port = PORTS[python]
    project = generate(project=name, python=python, port=str(port))
    result = Shipped(laptop, project, name, port)
    for step in ("wheels", "image", "push", "deploy"):
        result.make(step)
    yield result
    laptop.server.run(
        *("sh", "-c", 'docker rm --force --volumes $(docker ps --all --quiet --filter name="$1")'),
        *("sh", name),
    )
