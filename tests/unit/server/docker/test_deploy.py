"""The server's part of a deploy, as far as it goes without a Docker engine."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.commands import deploy
from slipway.laptop.deploy import survey as server
from slipway.laptop.paths import SLIPWAY
from slipway.laptop.servers import remote_job
from slipway.laptop.servers.remote_job import Outcome
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS, Program, closed_port


def performed(here: Any, job: str, **more: str) -> Outcome:
    """Do a server's job on this machine; return the outcome."""
    facts = server.Facts(docker="docker", has_gzip=True)
    return deploy.perform(here, facts, settings.resolve(SETTINGS, {}), job, **more)


@pytest.mark.parametrize("job", ["deploy", "rollback", "recover"])
@pytest.mark.parametrize("name", ["shop", "shop-previous", "shop-failed", "shop-next"])
def test_a_container_that_slipway_does_not_manage_is_left_alone(
    here: Any, program: Program, capfd: pytest.CaptureFixture[str], job: str, name: str
) -> None:
    """It may have any of a release's names."""
    seen = f"/{name}|project=|release=|options=|policy=no|running=true|"
    found = f'"ps "*) echo 1d ;; *.Name*" 1d") echo "{seen}" ;;'
    case = f'case "$*" in volume*) ;; {found} *) exit 1 ;; esac'
    docker = program("docker", f'echo "$*" >>"$0.log"; {case}')
    assert performed(here, job) is Outcome.FAILED
    assert f"the container {name} is not managed by slipway" in capfd.readouterr().err
    asked = docker.with_name("docker.log").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [
        *(["volume", "create"], ["volume", "ls"], ["ps", "--all"]),
        *(["container", "inspect"], ["volume", "rm"]),
    ]


def test_the_beginning_of_an_id_is_not_a_name(
    here: Any, program: Program, capfd: pytest.CaptureFixture[str]
) -> None:
    """A project may be called `be`, and docker takes that for a container's ID."""
    seen = "/beef|project=shop|release=|options=|policy=always|running=true|"
    program("docker", f'case "$*" in "ps "*) echo beef ;; *.Name*) echo "{seen}" ;; esac')
    assert performed(here, "rollback", PROJECT="be") is Outcome.FAILED
    assert "there is no previous release of be here" in capfd.readouterr().err


def test_the_environment_is_kept_where_nobody_else_reads_it(
    here: Any, program: Program, tmp_path: Path
) -> None:
    """Byte for byte, and not in the arguments of any process."""
    odd = 'A=it\'s $HOME; "x" `id` \\ é\nB=\n'
    docker = program(
        "docker", 'echo "$*" >>"$0.log"; case $1 in version | volume) ;; *) exit 1 ;; esac'
    )
    performed(here, "rollback", OPTIONS_SUM="abc", ENVIRONMENT=odd)
    folder = tmp_path / ".slipway" / "shop"
    file = folder / "env-abc"
    assert file.read_text(encoding="utf-8") == odd
    assert file.stat().st_mode & 0o777 == 0o600
    assert "it's" not in docker.with_name("docker.log").read_text()
    script = remote_job.script("docker")
    assert (folder / remote_job.kept_name(script)).read_text() == script + "\n"


def test_a_log_without_line_ends_is_cut(program: Program) -> None:
    """An application may print megabytes before it ends."""
    docker = program("docker", "head -c 100000 /dev/zero | tr '\\0' x")
    assert of_container(docker, "log_of", "50") == 500 * "x" + "\n"


def of_container(docker: Path, *words: str) -> str:
    """Return what a function of the script prints about the container `shop`."""
    function, *arguments = words
    script = f". '{SLIPWAY}/server/docker/container.sh'; {function} shop {' '.join(arguments)}"
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
        """Answer it, or print something that is not HTTP."""
        if self.path == "/garbage":
            self.wfile.write(b"hello\n")
        else:
            self.send_response(int(self.path[1:]))
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


# What the wget of busybox 1.35 prints, on its error output.
WGET = """
import socket, sys
from urllib.parse import urlsplit
url = urlsplit(sys.argv[1])
print(f"Connecting to {url.netloc} ({url.netloc})", file=sys.stderr)
try:
    connection = socket.create_connection((url.hostname, url.port))
except ConnectionRefusedError:
    sys.exit(f"wget: can't connect to remote host ({url.hostname}): Connection refused")
connection.sendall(f"GET {url.path} HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n".encode())
line = connection.makefile().readline().strip()
print(f"  {line}", file=sys.stderr)
if not line.startswith("HTTP/"):
    sys.exit("wget: error getting response")
if int(line.split()[1]) >= 400:
    sys.exit(f"wget: server returned error: {line}")
"""


@pytest.mark.parametrize(
    ("health", "answers"),
    [("/200", True), ("/404", True), ("/500", False), ("/garbage", False), ("tcp", True)],
)
@pytest.mark.parametrize("by", ["bash", "wget"])
def test_the_server_checks_the_port_like_the_images_own_check(
    serve: Callable[[type[BaseHTTPRequestHandler]], int],
    program: Program,
    by: str,
    health: str,
    answers: bool,
) -> None:
    """A status below 500 is healthy; a port where nothing listens is not."""
    wget = program("wget", f"exec {sys.executable} -c {shlex.quote(WGET)} $4")
    path = f"{wget.parent}:/usr/bin:/bin"
    script = (SLIPWAY / "server/docker/deploy.sh").read_text(encoding="utf-8")
    functions = script.rpartition("\ncase $1 in\n")[0]
    quietly = 'quietly() { "$@" >/dev/null 2>&1; }'
    for port, expected in ((serve(Application), answers), (closed_port(), False)):
        script = f"{quietly}\n{functions}\nasked_by_{by} 127.0.0.1 {port} {health}"
        done = subprocess.run(["sh", "-c", script], env={"PATH": path})
        assert (done.returncode == 0) is expected
