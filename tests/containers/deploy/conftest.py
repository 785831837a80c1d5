"""The application that is released in broken states, and a server of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import testbed
from tests.conftest import Baker, Project
from tests.containers.faulty_application import APPLICATION, PORT, Faulty
from tests.containers.laptop import SESSION, Laptop, write


@pytest.fixture(scope="session")
def faulty_project(generate: Baker, laptop: Laptop) -> Project:
    """The faulty application, built and pushed once."""
    name = f"faulty-{SESSION}"
    answers = {"app": "existing", "python": "CPython", "command": "faulty", "port": str(PORT)}
    project = generate(project=name, native_deps=" ", **answers)
    write(project.path, APPLICATION)
    settings = project.path / "deploy" / "settings.mk"
    text = settings.read_text().replace("HEALTH := tcp", "HEALTH := /")
    settings.write_text(text.replace("MEMORY := 1g", "MEMORY := 100m"))
    laptop.make(project, "wheels", "image", "push")
    return project


@pytest.fixture(scope="session")
def faulty_server(
    engine: testbed.Engine, laptop: Laptop, faulty_project: Project
) -> Iterator[Faulty]:
    """A server of its own to deploy to; it runs what the last test has left there."""
    with testbed.Server(engine, ports=[PORT]) as server:
        yield Faulty(laptop, faulty_project, faulty_project.path.name, server)


@pytest.fixture
def faulty(faulty_server: Faulty) -> Faulty:
    """The same, with a good release running, whatever other tests have left."""
    faulty_server.release(VERSION="good")
    faulty_server.succeeds()
    return faulty_server
