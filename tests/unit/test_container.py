"""The options with which the run image is started, here and on a server."""

from __future__ import annotations

import importlib
import shlex
import sys

import pytest

from tests.conftest import Project
from tests.unit.conftest import SETTINGS

container = importlib.import_module("container")
settings = importlib.import_module("settings")


def options(publish: str = "127.0.0.1:9000", **changed: str) -> list[str]:
    """Give the options for plain settings with these changes."""
    found: list[str] = container.options(settings.resolve(SETTINGS, changed), publish)
    return found


@pytest.mark.parametrize(
    "wanted",
    [
        ["--init"],
        ["--read-only"],
        ["--cap-drop", "ALL"],
        ["--security-opt", "no-new-privileges"],
        ["--pids-limit", "512"],
        ["--log-opt", "max-size=10m"],
        ["--tmpfs", "/tmp:rw,nosuid,nodev,mode=1777"],
    ],
)
def test_a_container_may_do_as_little_as_possible(wanted: list[str]) -> None:
    """Each of the hardening options is there, next to its value."""
    found = options()
    assert found[found.index(wanted[-1]) + 1 - len(wanted) : found.index(wanted[-1]) + 1] == wanted


def test_the_port_of_the_image_is_published_where_it_is_asked_for() -> None:
    """`make run PORT=9000` maps 9000 to the port that the application listens on."""
    assert options("127.0.0.1:9000", PORT="9000")[-2:] == ["--publish", "127.0.0.1:9000:8081"]


@pytest.mark.parametrize(("health", "unchecked"), [("/", False), ("tcp", False), ("none", True)])
def test_health_none_turns_the_check_off(health: str, unchecked: bool) -> None:
    """Only who asks for it goes without a health check."""
    assert ("--no-healthcheck" in options(HEALTH=health)) is unchecked


def test_the_printed_options_are_those_words_to_a_shell(project: Project) -> None:
    """run.sh evaluates the line, and server.sh too."""
    done = project.run(sys.executable, "deploy/container.py", "0.0.0.0:8081")
    assert done.returncode == 0, done.stdout
    assert shlex.split(done.stdout) == options("0.0.0.0:8081")
