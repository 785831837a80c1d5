"""server.sh, as far as it goes without a Docker engine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop import paths
from slipway.laptop.commands import deploy
from slipway.laptop.deploy import survey as server
from slipway.laptop.settings import load as settings
from tests.unit.conftest import DEPLOY, SETTINGS, Program, closed_port


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
        ("KeyError: 'SECRET_KEY'", "if SECRET_KEY is a variable"),
        ("KeyError: 'name'", ""),
        ("socket.gaierror: [Errno -2] Name or service not known", "RUN_OPTIONS := --network NAME"),
    ],
)
def test_what_a_log_misses_is_told_the_setting(program: Program, line: str, says: str) -> None:
    """A place that it may write to, a program's package, a variable or a network."""
    docker = program("docker", f"[ $1 = logs ] || exit 0\ncat <<'END'\nstarts\n{line}\nEND")
    said = of_container(docker, "show_missed")
    assert says in said
    assert bool(said) == bool(says)
    assert ("VOLUMES := shop-files:/files" in said) == ("may not" in says)


@pytest.mark.parametrize(
    ("may_write", "says"),
    [("true", "sudo chown -R 10001:10001 /srv/its files"), ("false", "gives it /data to be read")],
)
def test_a_volume_that_may_not_be_written_to_is_told(
    program: Program, may_write: str, says: str
) -> None:
    """Whose it is to be, or that it is read only."""
    answers = f"*Mounts*) echo '{may_write} /data /srv/its files' ;; *User*) echo 10001:10001 ;;"
    log = "logs*) echo \"PermissionError: [Errno 13] Permission denied: '/data/x'\" ;;"
    said = of_container(program("docker", f'case "$*" in {answers} {log} esac'), "show_missed")
    assert "where it may not (/data/x): " in said
    assert says in said
    assert "/files" not in said


def test_a_log_without_line_ends_is_cut(program: Program) -> None:
    """An application may say megabytes before it ends."""
    docker = program("docker", "head -c 100000 /dev/zero | tr '\\0' x")
    assert of_container(docker, "log_of", "50") == 500 * "x" + "\n"


def of_container(docker: Path, *words: str) -> str:
    """Give what a function of the script says of the container `shop`."""
    function, *arguments = words
    script = f". '{paths.DEPLOY}/server-container.sh'; {function} shop {' '.join(arguments)}"
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": "/usr/bin:/bin", "DOCKER": str(docker), "PROJECT": "shop"},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout


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
