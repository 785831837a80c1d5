"""server.sh, as far as it goes without a Docker engine."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import DEPLOY, SETTINGS, Program, closed_port

deploy = importlib.import_module("deploy")
server = importlib.import_module("server")
settings = importlib.import_module("settings")


def performed(here: Any, job: str, **more: str) -> int:
    """Let this machine do a server's job; gives the exit status."""
    facts = server.Facts(docker="docker", has_gzip=True)
    status: int = deploy.perform(here, facts, settings.resolve(SETTINGS, {}), job, **more)
    return status


@pytest.mark.parametrize("job", ["deploy", "rollback", "settle"])
@pytest.mark.parametrize("name", ["shop", "shop-previous", "shop-failed", "shop-next"])
def test_a_container_that_no_deploy_made_is_left_alone(
    here: Any, program: Program, capfd: pytest.CaptureFixture[str], job: str, name: str
) -> None:
    """Whichever of a release's names it has."""
    seen = f"/{name}|project=|release=|options=|policy=no|running=true|"
    case = f'case "$*" in "ps "*) echo 1d ;; *.Name*" 1d") echo "{seen}" ;; *) exit 1 ;; esac'
    docker = program("docker", f'echo "$*" >>"$0.log"; {case}')
    assert performed(here, job) == 1
    assert f"a container named {name} is here that no deploy made" in capfd.readouterr().err
    asked = docker.with_name("docker.log").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [["ps", "--all"], ["container", "inspect"]]


def test_the_beginning_of_an_id_is_no_name(
    here: Any, program: Program, capfd: pytest.CaptureFixture[str]
) -> None:
    """A project may be called `be`, and docker takes that for a container's ID."""
    seen = "/beef|project=shop|release=|options=|policy=always|running=true|"
    program("docker", f'case "$*" in "ps "*) echo beef ;; *.Name*) echo "{seen}" ;; esac')
    assert performed(here, "rollback", PROJECT="be") == 1
    assert "there is no previous release of be here" in capfd.readouterr().err


def test_the_environment_is_kept_where_nobody_else_reads_it(
    here: Any, program: Program, tmp_path: Path
) -> None:
    """Byte for byte, and in no argument of a process."""
    odd = 'A=it\'s $HOME; "x" `id` \\ é\nB=\n'
    docker = program("docker", 'echo "$*" >>"$0.log"; [ "$1" = version ]')
    performed(here, "rollback", OPTIONS_SUM="abc", ENVIRONMENT=odd)
    folder = tmp_path / ".slipway" / "shop"
    file = folder / "env-abc"
    assert file.read_text(encoding="utf-8") == odd
    assert file.stat().st_mode & 0o777 == 0o600
    assert "it's" not in docker.with_name("docker.log").read_text()
    assert (folder / server.whole_script()[1]).read_text() == server.whole_script()[0] + "\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("OSError: [Errno 30] Read-only file system: 'mlruns'", "where it may not (mlruns): to"),
        ('PermissionError: [Errno 13] Permission denied: "/data"', "where it may not (/data): to"),
        ("sqlite3.OperationalError: unable to open database file", "where it may not: to /tmp"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'git'", "FIND=bin/git\n"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'config.json'", ""),
        ("KeyError: 'PORT'", ""),
    ],
)
def test_what_a_log_misses_is_told_the_setting(program: Program, line: str, says: str) -> None:
    """A place that it may write to, or a program's package."""
    docker = program("docker", f"cat <<'END'\nstarts\n{line}\nEND")
    done = subprocess.run(
        ["sh", "-c", f". '{settings.DEPLOY}/server-container.sh'; show_refused shop"],
        env={"PATH": "/usr/bin:/bin", "DOCKER": str(docker), "PROJECT": "shop"},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert says in done.stdout
    assert bool(done.stdout) == bool(says)
    assert ("VOLUMES := shop-files:/files" in done.stdout) == ("may not" in says)


class Application(BaseHTTPRequestHandler):
    """An application that answers each path with the status that it names."""

    def do_GET(self) -> None:
        """Answer it, or say something that is no HTTP."""
        if self.path == "/garbage":
            self.wfile.write(b"hello\n")
        else:
            self.send_response(int(self.path[1:]))
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("health", "answers"),
    [("/200", True), ("/404", True), ("/500", False), ("/garbage", False), ("tcp", True)],
)
def test_bash_asks_as_the_images_own_check_does(
    serve: Callable[[type[BaseHTTPRequestHandler]], int], health: str, answers: bool
) -> None:
    """Anything below 500 is an answer; where nothing listens there is none."""
    functions = (DEPLOY / "server.sh").read_text(encoding="utf-8").rpartition("\ncase $1 in\n")[0]
    quietly = 'quietly() { "$@" >/dev/null 2>&1; }'
    for port, expected in ((serve(Application), answers), (closed_port(), False)):
        script = f"{quietly}\n{functions}\nasked_by_bash 127.0.0.1 {port} {health}"
        assert (subprocess.run(["sh", "-c", script]).returncode == 0) is expected
