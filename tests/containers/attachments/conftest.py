"""The attachments application, built once for each interpreter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import testbed
from tests.conftest import Baker
from tests.containers.attachments.application import Attachments
from tests.containers.laptop import SESSION, Laptop


def attachments(generate: Baker, laptop: Laptop, python: str) -> Iterator[Attachments]:
    """Generate a project with attachments and build its image."""
    for image in (testbed.POSTGRES, testbed.MARIADB):
        testbed.provide(laptop.engine, image)
    name = f"files-{python.lower()}-{SESSION}"
    project = generate(project=name, app="attachments", python=python)
    laptop.make(project, "image")
    made = Attachments(laptop, project, name)
    yield made
    made.end()


@pytest.fixture(scope="session")
def attachments_cpython(generate: Baker, laptop: Laptop) -> Iterator[Attachments]:
    """The attachments application on CPython."""
    yield from attachments(generate, laptop, "CPython")


@pytest.fixture(scope="session")
def attachments_pypy(generate: Baker, laptop: Laptop) -> Iterator[Attachments]:
    """The attachments application on PyPy."""
    yield from attachments(generate, laptop, "PyPy")
