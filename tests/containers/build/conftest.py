"""Projects that the tests of builds share; each is built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Baker
from tests.containers.laptop import SESSION, Laptop, commit, write
from tests.containers.workshop import COMPILED, Workshop, greeter_in


@pytest.fixture(scope="session")
def greeter_project(
    generate: Baker, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workshop, str]:
    """A small application with its image, and its commit."""
    name = f"greeter-{SESSION}"
    project = generate(
        project=name, app="existing", python="CPython", command="greet", native_deps=" "
    )
    return greeter_in(laptop, project, tmp_path_factory.mktemp("logs"))


@pytest.fixture
def greeter(greeter_project: tuple[Workshop, str]) -> Workshop:
    """A small application of pure Python, as it was in its first commit."""
    workshop, first = greeter_project
    workshop.check_out(first)
    return workshop


@pytest.fixture(scope="session")
def compiled(
    generate: Baker, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    """A list of requirements of which one was compiled, into a cache of this session's own."""
    name = f"compiled-{SESSION}"
    project = generate(
        project=name,
        app="existing",
        python="CPython",
        command="gunicorn --version",
        native_deps=" ",
    )
    write(project.path, {"requirements.in": COMPILED})
    variables = {"DEPLOY_CACHE": f"cache-{SESSION}"}
    workshop = Workshop(laptop, project, name, tmp_path_factory.mktemp("logs"), variables)
    workshop.make("lock")
    commit(project, "Lock")
    assert workshop.compiled("image") == {"markupsafe"}
    yield workshop
    laptop.docker("volume", "rm", variables["DEPLOY_CACHE"])
