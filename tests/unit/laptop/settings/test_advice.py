"""What is pointed out about settings that are accepted."""

from __future__ import annotations

import sys

import pytest

from slipway.laptop.settings import advice
from slipway.laptop.settings import load as settings
from tests.conftest import Project
from tests.unit.conftest import SETTINGS


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'migrate && uvicorn shop:app'",
        "sh -ec 'migrate; uvicorn shop:app'",
        "bash -e -c 'PORT=1 uvicorn shop:app || echo it ended'",
        "/bin/sh -c 'uvicorn shop:app | tee /tmp/log'",
        "sh -c 'uvicorn shop:app 2>&1 & wait'",
        "sh -c 'exec 3>/tmp/x; uvicorn shop:app;'",
    ],
)
def test_a_shell_that_waits_for_the_application_is_pointed_out(command: str) -> None:
    """It ends at SIGTERM, and the application never hears of it."""
    assert "write exec in front of its last command" in advice.of_command(command)


@pytest.mark.parametrize(
    "command",
    [
        "uvicorn shop:app",
        "serve -c 'a && b'",
        "sh -c 'exec uvicorn shop:app'",
        "sh -c 'uvicorn shop:app --log-config \"a; b && c\" 2>&1'",
        "sh -c 'migrate && exec uvicorn shop:app'",
        "sh -c 'migrate; PORT=1 exec uvicorn shop:app;'",
        "sh -c 'trap \"kill 0\" TERM; uvicorn shop:app & wait'",
        "sh -c 'uvicorn \"shop:app'",
        "sh -c",
        "sh start.sh -x",
        "",
    ],
)
def test_other_commands_are_not(command: str) -> None:
    """A shell replaces itself by a single command."""
    assert advice.of_command(command) == ""


SHELL = "sh -c 'a && b'"
PROGRAMS = SETTINGS + f"COMMAND_worker := {SHELL}\nCOMMAND_tidy := {SHELL}\nHEALTH_tidy := ends\n"


def test_the_program_that_is_started_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a job, which nobody stops; and only once, if the same make has built the image."""
    worker = settings.resolve(PROGRAMS, {"PROGRAM": "worker"})
    [line] = advice.before_a_start(worker)
    assert line.startswith("the shell in COMMAND_worker does not pass on SIGTERM")
    assert advice.before_a_start(settings.resolve(PROGRAMS, {"PROGRAM": "tidy"})) == []
    application = settings.resolve(PROGRAMS, {"COMMAND": SHELL})
    assert len(advice.before_a_start(application)) == 1
    monkeypatch.setenv("DEPLOY_GOALS", "image deploy")
    assert advice.before_a_start(application) == []
    assert len(advice.before_a_start(worker)) == 1


def test_make_image_points_it_out(project: Project) -> None:
    """Before anything is built."""
    words = (sys.executable, "deploy/slipway", "image")
    done = project.run(*words, COMMAND=SHELL, DOCKER="/no/docker")
    assert done.stdout.startswith("slipway: the shell in COMMAND does not pass on SIGTERM")


def test_secrets_that_everybody_knows_are_pointed_out() -> None:
    """By their names; no value is shown."""
    known = {
        "SECRET_KEY": b"changeme",
        "DJANGO_SECRET_KEY": b"django-insecure-abc",
        "POSTGRES_PASSWORD": b"Password",
        "API_TOKEN": b"your-token-here",
        "JWT_SECRET": b"please-change-me!",
    }
    lines = advice.of_environment(known)
    assert [line.split()[1] for line in lines] == [*known]
    assert not any(value.decode() in line for line in lines for value in known.values())
    good = {
        "SECRET_KEY": b"4b1c9f0e3d",
        "PASSWORD_HASHER": b"default",
        "GREETING": b"changeme",
        "TOKEN_URL": b"example",
    }
    assert advice.of_environment(good) == []


def test_a_debug_mode_is_pointed_out() -> None:
    """Whatever its name begins with."""
    [first, second] = advice.of_environment({"DEBUG": b"True", "FLASK_DEBUG": b"1"})
    assert first.startswith("deploy/run.env: DEBUG is on")
    assert second.startswith("deploy/run.env: FLASK_DEBUG is on")
    assert advice.of_environment({"DEBUG": b"0", "DEBUG_LEVEL": b"1"}) == []


def test_an_empty_secret_is_pointed_out() -> None:
    """An application may take it as permission for everybody, such as an open write interface."""
    [line] = advice.of_environment({"WRITE_TOKEN": b"", "GREETING": b""})
    assert line.startswith("deploy/run.env: WRITE_TOKEN is empty")
