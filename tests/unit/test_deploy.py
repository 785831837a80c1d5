"""Deploying, as far as it goes without a server: what is said when there is none, and options."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project
from tests.unit.conftest import closed_port
from tests.unit.test_registry import DIGEST, Registry, WebServer

deploy = importlib.import_module("deploy")

Program = Callable[[str, str], Path]


def refusal(ssh: str, host: str) -> str:
    """Connect with the real ssh, which must fail; gives what is said of it."""
    with pytest.raises(deploy.DeployError) as refused, deploy.connected(ssh, host):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def listener() -> Iterator[Callable[[bytes | None], int]]:
    """Listen on a port; say a word to whoever connects and hang up, or stay silent for None."""
    servers: list[socket.socket] = []
    connections: list[socket.socket] = []

    def start(word: bytes | None) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer() -> None:
            while True:
                try:
                    connections.append(server.accept()[0])
                except OSError:
                    return
                if word is not None:
                    connections[-1].sendall(word)
                    connections[-1].shutdown(socket.SHUT_RDWR)

        threading.Thread(target=answer, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for each in (*servers, *connections):
        each.close()


# No configuration but this: a user's own would count otherwise.
SSH = "ssh -F /dev/null"


def test_a_closed_port_asks_whether_sshd_runs() -> None:
    """What the real ssh says is understood."""
    said = refusal(f"{SSH} -p {closed_port()}", "me@127.0.0.1")
    assert said == "me@127.0.0.1: " + (
        "nothing listens for ssh there: is sshd running, and on which port?"
    )


def test_an_unknown_host_asks_for_another() -> None:
    """The setting to change is named."""
    said = refusal(SSH, "me@no-such-host.invalid")
    assert said.startswith("me@no-such-host.invalid: there is no such host: set DEPLOY_HOST to")


def test_a_server_that_hangs_up_points_to_its_log(listener: Callable[[bytes], int]) -> None:
    """As sshd does to an address that it has had enough of."""
    said = refusal(f"{SSH} -p {listener(b'')}", "127.0.0.1")
    assert said == "127.0.0.1: it closed the connection at once: see its sshd's log"


def test_a_silent_server_asks_whether_it_is_up(listener: Callable[[None], int]) -> None:
    """A user's own ConnectTimeout counts."""
    said = refusal(f"{SSH} -o ConnectTimeout=1 -p {listener(None)}", "127.0.0.1")
    assert said == "127.0.0.1: it does not answer: is it up, and does its firewall let ssh in?"


def test_a_missing_configuration_is_said_as_ssh_says_it(tmp_path: Path) -> None:
    """What is not foreseen is shown in ssh's own words."""
    said = refusal(f"ssh -F {tmp_path}/config", "server")
    assert (
        said == f"server: Can't open user config file {tmp_path}/config: No such file or directory"
    )


def test_a_missing_ssh_says_what_to_install(tmp_path: Path) -> None:
    """Nobody is shown a traceback for a program that is not there."""
    said = refusal(f"{tmp_path}/ssh -v", "server")
    assert said == f"{tmp_path}/ssh is not installed: install OpenSSH's client, or set SSH"


@pytest.mark.parametrize("host", ["-oProxyCommand=touch made", "x@-oProxyCommand=touch made"])
def test_a_host_is_never_an_option(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even past all checks of settings, ssh is not handed an option."""
    monkeypatch.chdir(tmp_path)
    refusal(SSH, host)
    assert os.listdir(tmp_path) == []


def test_nothing_of_a_connection_is_left(listener: Callable[[bytes], int]) -> None:
    """No socket, no folder, no process, whether it worked or not."""
    connection = deploy.Connection(f"{SSH} -p {listener(b'')}", "127.0.0.1")
    with pytest.raises(deploy.DeployError):
        connection.open()
    connection.close()
    assert not os.path.exists(connection.folder)
    assert connection.master.returncode == 255


# Word for word what OpenSSH 9 says; the servers for these are the container tests' part.
@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@\n"
            "Offending ED25519 key in /home/me/.ssh/known_hosts:3\n"
            "Host key verification failed.\n",
            "its host key is not the one you know: if you expected that, ssh-keygen -R me@server",
        ),
        (
            "No ED25519 host key is known for server and you have requested strict checking.\n"
            "Host key verification failed.\n",
            "its host key is not known here: connect once by hand to check and accept it:"
            " ssh me@server",
        ),
        ("me@server: Permission denied (publickey).\n", "it refuses your key: add the key to"),
        (
            "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures\n"
            "Disconnected from 192.0.2.1 port 22\n",
            "it was offered too many keys: set IdentitiesOnly yes",
        ),
        ("ssh: connect to host server port 22: No route to host\n", "it cannot be reached"),
        ("ssh: connect to host server port 22: Network is unreachable\n", "it cannot be reached"),
        ("ssh: connect to host server port 22: Connection timed out\n", "it does not answer"),
        ("ssh: connect to host server port 22: Operation timed out\n", "it does not answer"),
        ("Connection reset by 192.0.2.1 port 22\n", "it closed the connection at once"),
        ("a warning\n\nBad owner or permissions on config\n", "Bad owner or permissions on config"),
        ("", "ssh failed without a word"),
    ],
)
def test_what_ssh_says_becomes_one_line_that_says_what_to_do(said: str, advice: str) -> None:
    """The host is named, and a command or a place to look."""
    found = deploy.advice("me@server", said)
    assert found.startswith(f"me@server: {advice}")
    assert "\n" not in found


# An ssh without a network: runs the remote command here, and -W sends one request to a port here.
LOCAL_SSH = """\
import os, socket, sys
options, (host, *remote) = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
if "-W" not in options:
    os.execvp("sh", ["sh", "-c", *remote])
address, port = options[options.index("-W") + 1].split(":")
with socket.create_connection((address, int(port))) as connection:
    for line in iter(sys.stdin.buffer.readline, b"\\r\\n"):
        connection.sendall(line)
    connection.sendall(b"\\r\\n")
    for data in iter(lambda: connection.recv(1000), b""):
        sys.stdout.buffer.write(data)
"""


@pytest.fixture
def here(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A connection to this machine, where programs of the test stand before the others."""
    (tmp_path / "ssh.py").write_text(LOCAL_SSH)
    ssh = program("ssh", f'exec {sys.executable} {tmp_path}/ssh.py "$@"')
    monkeypatch.setenv("PATH", f"{ssh.parent}:/usr/bin:/bin")
    with deploy.connected(str(ssh), "server") as connection:
        yield connection


def test_forwards_of_the_users_own_are_not_asked_for(program: Program) -> None:
    """A LocalForward for this host, which another connection may hold, fails no deploy."""
    ssh = program("ssh", 'echo "$*" >>"$0.log"; echo 41000')
    connection = deploy.Connection(f"{ssh} -F own", "server")
    assert connection.forward(5051) == 41000
    connection.ask("true")
    connection.close()
    forward, session = ssh.with_name("ssh.log").read_text().splitlines()
    assert " -F none " in forward.partition("-F own ")[2]
    assert " -o ClearAllForwardings=yes " in session


def test_what_a_login_script_prints_is_no_answer(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A greeting in .bashrc, whose line may have no end."""
    (tmp_path / "ssh.py").write_text(LOCAL_SSH)
    ssh = program("ssh", f'printf "Dear me: "; exec {sys.executable} {tmp_path}/ssh.py "$@"')
    program("docker", "echo; echo amd64")
    monkeypatch.setenv("PATH", f"{ssh.parent}:/usr/bin:/bin")
    with deploy.connected(str(ssh), "server") as connection:
        assert deploy.docker_of(connection) == ("docker", "amd64")


@pytest.mark.parametrize(
    ("docker", "sudo", "expected"),
    [
        ("echo amd64", "exit 1", ("docker", "amd64")),
        ("echo denied >&2; exit 1", "echo arm64", ("sudo -n docker", "arm64")),
    ],
)
def test_docker_is_used_as_the_account_may(
    here: Any, program: Program, docker: str, sudo: str, expected: tuple[str, str]
) -> None:
    """Directly, or by sudo where that asks for no password."""
    program("docker", docker)
    program("sudo", sudo)
    assert deploy.docker_of(here) == expected


@pytest.mark.parametrize(
    ("docker", "says"),
    [
        ("echo 'sh: 1: docker: not found' >&2; exit 127", "docker is not installed there"),
        (
            "echo 'permission denied while trying to connect to the Docker daemon socket at"
            " unix:///var/run/docker.sock' >&2; exit 1",
            "this account may not use docker there: sudo usermod -aG docker ACCOUNT",
        ),
        (
            "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the"
            " docker daemon running?' >&2; exit 1",
            "its Docker engine is stopped: sudo systemctl start docker",
        ),
    ],
)
def test_a_server_without_a_working_docker_is_told_apart(
    here: Any, program: Program, docker: str, says: str
) -> None:
    """What docker itself says counts, not what sudo adds to it."""
    program("docker", docker)
    program("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    with pytest.raises(deploy.DeployError, match=f"^server: {says}"):
        deploy.docker_of(here)


Serve = Callable[[type[BaseHTTPRequestHandler]], int]


def test_the_tunnel_is_proven_by_the_image_at_its_end(here: Any, serve: Serve) -> None:
    """The registry there has this very image."""
    deploy.prove(here, serve(Registry), "shop-run", DIGEST)


def test_a_tunnel_to_anything_else_is_refused(here: Any, serve: Serve) -> None:
    """Another server, a registry without the image, and nobody at all."""
    for port, name in (
        (serve(WebServer), "x"),
        (serve(Registry), "x"),
        (closed_port(), "shop-run"),
    ):
        with pytest.raises(deploy.DeployError, match="does not answer as our registry"):
            deploy.prove(here, port, name, DIGEST)


def test_a_pull_that_fails_says_why(here: Any, program: Program) -> None:
    """The last word of docker's is shown."""
    program("docker", 'echo "no space left for $3" >&2; exit 1')
    with pytest.raises(deploy.DeployError, match=r"could not be pulled: no space left for a@b$"):
        deploy.pull(here, "docker", "a@b")


def test_what_runs_on_the_server_gets_its_variables(here: Any, program: Program) -> None:
    """Any characters travel, and none is a command."""
    docker = program("docker", 'printf "%s\\n" "$*" >>"$0.log"; exit 1')
    odd = 'it\'s $HOME; "x" `id` \\ é'
    assert here.script({"JOB": "status", "PROJECT": odd}) == 1
    assert f"container inspect --format {{{{.Name}}}} {odd}\n" in docker.with_name(
        "docker.log"
    ).read_text("utf-8")


@pytest.mark.parametrize("job", ["deploy", "rollback"])
@pytest.mark.parametrize("name", ["shop", "shop-previous", "shop-failed"])
def test_a_container_that_no_deploy_made_is_left_alone(
    here: Any, program: Program, capfd: pytest.CaptureFixture[str], job: str, name: str
) -> None:
    """Whichever of a release's names it has."""
    case = f'case "$*" in *.Name*" {name}") echo /{name} ;; *.Name*) exit 1 ;; esac'
    docker = program("docker", f'echo "$*" >>"$0.log"; {case}')
    assert here.script({"JOB": job, "PROJECT": "shop"}) == 1
    assert f"a container named {name} is here that no deploy made" in capfd.readouterr().err
    asked = docker.with_name("docker.log").read_text().splitlines()
    assert {line.split()[1] for line in asked} == {"inspect"}


def test_the_beginning_of_an_id_is_no_name(
    here: Any, program: Program, capfd: pytest.CaptureFixture[str]
) -> None:
    """A project may be called `be`, and docker takes that for a container's ID."""
    program("docker", "echo /other")
    assert here.script({"JOB": "status", "PROJECT": "be"}) == 1
    assert "no release of be runs here" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("", "no server is named: make deploy DEPLOY_HOST=user@server"),
        ("-v", "DEPLOY_HOST names '-v', which ssh would take for an option"),
        ("me@one -v", "DEPLOY_HOST names '-v', which ssh would take for an option"),
        ("-oProxyCommand=touch made", "DEPLOY_HOST on the command line is '-oProxyCommand=touch"),
        ("me@one", "nothing was pushed yet: run make push"),
    ],
)
def test_a_deploy_that_cannot_begin_says_so_in_a_line(
    project: Project, host: str, says: str
) -> None:
    """Before anything is asked of any server."""
    done = project.run(sys.executable, "deploy/deploy.py", "deploy", DEPLOY_HOST=host)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1), done.stdout
    assert done.stdout.startswith(f"deploy.py: {says}")
    assert not project.has("made")


def test_an_image_that_the_registry_lost_must_be_pushed_again(
    project: Project, serve: Serve
) -> None:
    """The record alone does not count."""
    (project.path / ".deploy").mkdir()
    record = {"push": {"digest": f"sha256:{'1' * 64}", "image": "x"}}
    (project.path / ".deploy" / "state.json").write_text(json.dumps(record))
    port = str(serve(Registry))
    environment = {"DEPLOY_HOST": "me@one", "REGISTRY_PORT": port}
    done = project.run(sys.executable, "deploy/deploy.py", **environment)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1), done.stdout
    assert f"127.0.0.1:{port} has no shop-run@sha256:1" in done.stdout
    assert done.stdout.endswith("run make push\n")


def test_an_unknown_job_is_refused_with_the_known_ones(project: Project) -> None:
    """A slip of the keyboard."""
    done = project.run(sys.executable, "deploy/deploy.py", "deplyo", DEPLOY_HOST="me@one")
    assert done.returncode == 1
    assert done.stdout == (
        "deploy.py: there is no job deplyo: use deploy, rollback, status, logs, shell\n"
    )


def test_a_job_on_a_server_that_does_not_answer_fails_in_a_line(project: Project) -> None:
    """`make status` of a server that is down."""
    environment = {"DEPLOY_HOST": "127.0.0.1", "SSH": f"{SSH} -p {closed_port()}"}
    for job in ("status", "rollback", "logs", "shell"):
        done = project.run(sys.executable, "deploy/deploy.py", job, **environment)
        assert done.returncode == 1
        assert done.stdout.startswith("deploy.py: 127.0.0.1: nothing listens for ssh there")
        assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_job_that_is_ended_leaves_no_folder(
    project: Project, program: Program, number: signal.Signals
) -> None:
    """As by a closed terminal or a CI job that is cancelled."""
    ssh = program("ssh", 'echo "$*" >"$0.log"; mv "$0.log" "$0.said"; exec cat >/dev/null')
    environment = {**os.environ, "DEPLOY_HOST": "server", "SSH": str(ssh)}
    command = (sys.executable, "deploy/deploy.py", "status")
    with subprocess.Popen(command, cwd=project.path, env=environment) as process:
        said = ssh.with_name("ssh.said")
        while not said.exists():
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    socket_path = said.read_text().partition("-S ")[2].split()[0]
    assert not os.path.exists(os.path.dirname(socket_path))
