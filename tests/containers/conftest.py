"""The real parts of the container tests: one engine, one registry and one server a session.

A project is generated, built, pushed and deployed once for each interpreter, and the tests then
look at the results. The folders have a space in their names, because people's folders have.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import testbed
from tests.conftest import Baker, Project
from tests.containers.laptop import (
    PORTS,
    SESSION,
    Laptop,
    ServerOnDemand,
    Shipped,
    free_port,
)


@pytest.fixture(scope="session")
def engine() -> Iterator[testbed.Engine]:
    """The machine's engine, or the testbed's own for the length of the session."""
    with testbed.engine_session() as found:
        for image in (testbed.BASE, testbed.REGISTRY):
            testbed.provide(found, image)
        yield found


@pytest.fixture(scope="session")
def laptop(engine: testbed.Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """The machine where make is typed; its registry is removed at the end."""
    had_cache = "wheelhouse-cache" in engine.run("docker", "volume", "ls", "--quiet").split()
    port = free_port()
    with ServerOnDemand(engine, PORTS.values()) as server:
        yield Laptop(engine, server, port, tmp_path_factory.mktemp("state"))
    name = f"registry-{port}"
    engine.succeeds("docker", "rm", "--force", "--volumes", f"{name}-registry-1")
    engine.succeeds("docker", "network", "rm", f"{name}_default")
    engine.succeeds("docker", "volume", "rm", f"{name}_storage")
    if not had_cache:
        engine.succeeds("docker", "volume", "rm", "wheelhouse-cache")


@pytest.fixture(scope="session")
def server(laptop: Laptop) -> testbed.Server:
    """A server with sshd and an engine of its own, for fixtures that deploy."""
    return laptop.server


@pytest.fixture(scope="session")
def generate(
    template: Path, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Baker]:
    """Generate projects in folders with a space; what they have built is removed at the end.

    Each has the pin of the base image that an earlier one wrote, as a colleague's clone would have:
    its base image is then in the engine's cache.
    """
    made: list[Project] = []

    def folder() -> Path:
        place = tmp_path_factory.mktemp("my projects", numbered=True) / "of today"
        place.mkdir()
        return place

    class Keeper(Baker):
        def __call__(self, **answers: str) -> Project:
            project = super().__call__(**answers)
            pinned = (each.path / "deploy" / "base.lock" for each in made)
            earlier = next((path for path in pinned if path.is_file()), None)
            if earlier and "base_image" not in answers:
                shutil.copy(earlier, project.path / "deploy")
            made.append(project)
            return laptop.prepare(project)

    yield Keeper(template, folder)
    for project in made:
        laptop.run(project, "make", "clean")


@pytest.fixture(scope="session")
def ship(
    generate: Baker, laptop: Laptop, server: testbed.Server
) -> Iterator[Callable[[str], Shipped]]:
    """Build and deploy the sample application, once for each interpreter."""

    @functools.cache
    def shipped_by(python: str) -> Shipped:
        name = f"ship-{python.lower()}-{SESSION}"
        port = PORTS[python]
        project = generate(project=name, python=python, port=str(port))
        result = Shipped(laptop, project, name, port)
        for step in ("wheels", "image", "push", "deploy"):
            result.make(step)
        return result

    yield shipped_by
    remove = 'docker ps --all --quiet --filter name="$1" | xargs -r docker rm --force --volumes'
    server.run("sh", "-c", remove, "sh", f"ship-.*-{SESSION}")


@pytest.fixture(scope="session", params=["PyPy", "CPython"])
def shipped(request: pytest.FixtureRequest, ship: Callable[[str], Shipped]) -> Shipped:
    """The sample application on its way from an answered question to the server."""
    return ship(request.param)


@pytest.fixture(scope="session")
def gateway(laptop: Laptop) -> str:
    """This machine's address as containers see it."""
    return laptop.docker(
        "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge"
    ).strip()
