"""Applications from PyPI: a list of requirements and a command are enough to get an answer."""

from __future__ import annotations

import pytest

import testbed
from measure.applications.applications import APPLICATIONS
from tests.conftest import Baker
from tests.containers.laptop import BRIEFLY, PORTS, SESSION, Laptop


@pytest.mark.parametrize("name", ["httpbin", "pypiserver", "wsgidav"])
def test_application_of_the_index_answers_from_the_server(
    generate: Baker, laptop: Laptop, server: testbed.Server, name: str
) -> None:
    """Only requirements.in and the settings are written; measure.applications tries more."""
    port = PORTS["existing"]
    [application] = [each.at(port) for each in APPLICATIONS if each.name == name]
    project = generate(
        **{"project": f"{name}-{SESSION}", "app": "existing", "python": "CPython"},
        **{"native_deps": " ", "command": application.command, "port": str(port)},
    )
    application.put_into(project)
    laptop.make(project, "wheels", "image", "push", "deploy", BRIEFLY)
    try:
        assert application.answer_at(server.address(port)).startswith("200")
    finally:
        server.docker("rm", "--force", "--volumes", project.path.name)
