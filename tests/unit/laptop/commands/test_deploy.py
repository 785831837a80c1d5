"""The commands of deploys: errors before anything is changed on a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from slipway.laptop import console
from slipway.laptop.commands import deploy
from tests.conftest import Project
from tests.unit.conftest import Program, closed_port
from tests.unit.laptop.docker.test_registry import EVIL, IMAGE, Registry, squatter
from tests.unit.laptop.servers.test_ssh import SSH

Serve = Callable[[type[BaseHTTPRequestHandler]], int]


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("", "DEPLOY_HOST is empty. Set it in deploy/settings.mk, or run make with"),
        ("-v", "DEPLOY_HOST names '-v', which ssh would take for an option"),
        ("me@one -v", "DEPLOY_HOST names '-v', which ssh would take for an option"),
        ("-oProxyCommand=touch made", "DEPLOY_HOST on the command line is '-oProxyCommand=touch"),
        ("me@one", "no image has been pushed yet. Run make push."),
    ],
)
def test_a_deploy_that_cannot_start_fails_in_one_line(
    project: Project, host: str, says: str
) -> None:
    """It fails before it connects to a server."""
    done = project.run(sys.executable, "deploy/slipway", "deploy", DEPLOY_HOST=host)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1), done.stdout
    assert done.stdout.startswith(f"slipway: {says}")
    assert not project.has("made")


def test_an_image_that_the_registry_lost_must_be_pushed_again(
    project: Project, serve: Serve
) -> None:
    """The record of the push is not enough."""
    (project.path / ".deploy").mkdir()
    record = {"push": {"digest": f"sha256:{'1' * 64}", "image": "x"}}
    (project.path / ".deploy" / "state.json").write_text(json.dumps(record))
    port = str(serve(Registry))
    environment = {"DEPLOY_HOST": "me@one", "REGISTRY_PORT": port}
    done = project.run(sys.executable, "deploy/slipway", "deploy", **environment)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1), done.stdout
    assert f"127.0.0.1:{port} does not have shop-run@sha256:1" in done.stdout
    assert done.stdout.endswith("Run make push.\n")


def test_a_digest_that_is_not_the_built_image_is_not_deployed(
    project: Project, serve: Serve
) -> None:
    """The record may have been written with a squatter's answer; no server is asked."""
    (project.path / ".deploy").mkdir()
    handler, named = squatter(EVIL)
    record = {"push": {"digest": named, "image": IMAGE}}
    (project.path / ".deploy" / "state.json").write_text(json.dumps(record))
    environment = {"DEPLOY_HOST": "me@one", "REGISTRY_PORT": str(serve(handler))}
    done = project.run(sys.executable, "deploy/slipway", "deploy", **environment)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1), done.stdout
    assert "is not the image that was built" in done.stdout


def test_a_command_for_a_server_that_does_not_answer_fails_in_one_line(project: Project) -> None:
    """For example `make status` when the server is down."""
    environment = {"DEPLOY_HOST": "127.0.0.1", "SSH": f"{SSH} -p {closed_port()}"}
    for job in ("status", "rollback", "releases", "unlock", "logs", "shell", "exec"):
        program = ["ls"] if job == "exec" else []
        done = project.run(sys.executable, "deploy/slipway", job, *program, **environment)
        assert done.returncode == 1
        assert done.stdout.startswith("cannot reach 127.0.0.1: no ssh server listens there")
        assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("name", ["start", "restart", "remove"])
def test_commands_for_servers_say_so(project: Project, name: str) -> None:
    """make stop without it stops what make run started here."""
    done = project.run(sys.executable, "deploy/slipway", name, DEPLOY_HOST="me@one")
    assert done.returncode == 1
    assert (
        done.stdout == f"slipway: {name} is for servers: make {name} ON=server (here: make run)\n"
    )


def test_nothing_is_removed_without_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment that merely has that name does not count for make."""
    with pytest.raises(console.Failed, match="nothing was removed"):
        deploy.confirm("server")
    monkeypatch.setenv("YES", "1")
    deploy.confirm("server")
    monkeypatch.setenv("DEPLOY_OVERRIDES", "PORT")
    with pytest.raises(console.Failed, match="nothing was removed"):
        deploy.confirm("server")
    monkeypatch.setenv("DEPLOY_OVERRIDES", "PORT YES")
    deploy.confirm("server")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_leaves_no_folder(
    project: Project, program: Program, number: signal.Signals
) -> None:
    """For example by a closed terminal or a cancelled CI job."""
    ssh = program("ssh", 'echo "$*" >"$0.log"; mv "$0.log" "$0.said"; exec cat >/dev/null')
    environment = {**os.environ, "DEPLOY_HOST": "server", "SSH": str(ssh)}
    command = (sys.executable, "deploy/slipway", "status")
    with subprocess.Popen(command, cwd=project.path, env=environment) as process:
        said = ssh.with_name("ssh.said")
        while not said.exists():
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    socket_path = said.read_text().partition("-S ")[2].split()[0]
    assert not os.path.exists(os.path.dirname(socket_path))
