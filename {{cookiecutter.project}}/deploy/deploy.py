#!/usr/bin/env python3
"""Put the pushed image on a server, by its digest, through a tunnel to the registry here.

    deploy.py [deploy|rollback|status|logs|shell]

One ssh connection does it all (OpenSSH itself, with the user's own configuration and keys).
`ssh -R` lets the server see the registry of this machine on a loopback port that the server
chooses; the tunnel lasts as long as the deploy. What runs on the server is server.sh, sent over
that connection.
"""

from __future__ import annotations

import contextlib
import getpass
import gzip
import hashlib
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import container
import engine
import environment
import registry
from settings import DEPLOY, die, load
from state import State

CONNECT_TIMEOUT = 15  # seconds
JOBS = ("deploy", "rollback", "status", "logs", "shell")

# What OpenSSH says, and what to do about it; the first match counts.
SSH_ADVICE = (
    (
        "remote host identification has changed",
        "its host key is not the one you know: if you expected that, ssh-keygen -R {host}, then"
        " ssh {host} once; if not, somebody may be in between",
    ),
    (
        "host key verification failed",
        "its host key is not known here: connect once by hand to check and accept it: ssh {host}",
    ),
    (
        "permission denied",
        "it refuses your key: add the key to authorized_keys there, or name it in ~/.ssh/config",
    ),
    (
        "could not resolve",
        "there is no such host: set DEPLOY_HOST to user@server or a host of ~/.ssh/config",
    ),
    ("connection refused", "nothing listens for ssh there: is sshd running, and on which port?"),
    ("timed out", "it does not answer: is it up, and does its firewall let ssh in?"),
    ("no route to host", "it cannot be reached: is it up, and is your network?"),
    ("network is unreachable", "it cannot be reached: is your network up?"),
    ("too many authentication failures", "it was offered too many keys: set IdentitiesOnly yes"),
    ("connection closed", "it closed the connection at once: see its sshd's log"),
    ("connection reset", "it closed the connection at once: see its sshd's log"),
)


class DeployError(Exception):
    """A deploy that cannot go on; the message says what to do, and nothing was changed."""


def advice(host: str, said: str) -> str:
    """Turn what ssh said into one line that says what to do."""
    for sign, say in SSH_ADVICE:
        if sign in said.lower():
            return f"{host}: {say.format(host=host)}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{host}: {lines[-1] if lines else 'ssh failed without a word'}"


class Connection:
    """One multiplexed ssh connection to a server, closed with all its forwards at the end."""

    def __init__(self, ssh: str, host: str) -> None:
        self.host = host
        # a user's own RemoteCommand or RequestTTY for this host is for working by hand
        plain = ("-o", "RemoteCommand=none", "-o", "RequestTTY=no")
        self.ssh = [*shlex.split(ssh), *plain]
        # a control socket's path has about 100 bytes at the most
        self.folder = tempfile.mkdtemp(prefix="deploy-", dir="/tmp")
        self.control = f"{self.folder}/ssh"
        self.master: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Connect; DeployError says in words why that does not work.

        The connection runs `cat` for as long as this process holds its input, so that nothing of
        it, the tunnel least of all, outlives this process, however it ends.
        """
        log = Path(self.folder, "log")
        # without a terminal there is nobody to ask for a passphrase
        batch = () if sys.stdin.isatty() else ("-o", "BatchMode=yes")
        options = ("-M", "-S", self.control, "-o", "ControlPersist=no")
        alive = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6")
        others = ("-o", f"ConnectTimeout={CONNECT_TIMEOUT}", "-o", "ClearAllForwardings=yes")
        try:
            with log.open("w", encoding="utf-8") as said:
                self.master = subprocess.Popen(
                    [*self.ssh, *options, *alive, *others, *batch, "--", self.host, "cat"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                )
        except FileNotFoundError:
            raise DeployError(
                f"{self.ssh[0]} is not installed: install OpenSSH's client, or set SSH"
            ) from None
        assert self.master.stdin and self.master.stdout
        with contextlib.suppress(BrokenPipeError):
            # a login script may print something first, and not end its line
            self.master.stdin.write(b"\nready\n")
            self.master.stdin.flush()
        if not any(line.strip() == b"ready" for line in iter(self.master.stdout.readline, b"")):
            self.master.wait()
            raise DeployError(advice(self.host, log.read_text(encoding="utf-8", errors="replace")))

    def close(self) -> None:
        """End the connection and the tunnel with it; never fails."""
        if self.master and self.master.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.master.stdin.close()
            try:
                self.master.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.master.kill()
                self.master.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # without a configuration, whose own forwards would be asked for as well; the last -F counts
        return subprocess.run(
            [*self.ssh, "-F", "none", "-S", self.control, "-O", *arguments, "--", self.host],
            capture_output=True,
            text=True,
            check=False,
        )

    def forward(self, port: int) -> int:
        """Let the server see this machine's loopback port; gives the port that it chose."""
        done = self._control("forward", "-R", f"127.0.0.1:0:127.0.0.1:{port}")
        if done.returncode or not done.stdout.strip().isdigit():
            raise DeployError(
                f"{self.host}: sshd refuses the tunnel: set AllowTcpForwarding yes in its"
                " /etc/ssh/sshd_config"
            )
        return int(done.stdout)

    def address(self) -> str:
        """Give the server's own name, as OpenSSH's configuration has it for this host."""
        done = subprocess.run(
            [*self.ssh, "-G", "--", self.host], capture_output=True, text=True, check=False
        )
        found = [line[9:] for line in done.stdout.splitlines() if line.startswith("hostname ")]
        return found[0] if found else self.host.rpartition("@")[2]

    def argv(self, remote: str, *options: str) -> list[str]:
        """Give the command line that runs one command on the server."""
        # the first of two values counts for OpenSSH
        program, rest = self.ssh[:1], self.ssh[1:]
        mine = ("-o", "ClearAllForwardings=yes", "-S", self.control)
        return [*program, *options, *rest, *mine, "--", self.host, remote]

    def ask(self, remote: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the server and catch what it says."""
        return subprocess.run(
            self.argv(remote), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    def through(self, port: int, request: bytes) -> bytes:
        """Send bytes to a loopback port of the server and give the answer."""
        command = [*self.ssh, "-S", self.control, "-W", f"127.0.0.1:{port}", "--", self.host]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin and process.stdout
            try:
                process.stdin.write(request)
                process.stdin.flush()
                return process.stdout.read()
            except BrokenPipeError:
                return b""

    def script(self, variables: dict[str, str]) -> int:
        """Run server.sh on the server with these variables; gives its exit status.

        Both travel over the connection's standard input: no process list shows them. Compressed,
        where the server has gzip: they are most of what a changed line sends otherwise.
        """
        lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
        script = (DEPLOY / "server.sh").read_text(encoding="utf-8")
        text = "\n".join(lines) + "\n" + re.sub(r"(?m)^ *#.*\n", "", script)
        remote, sent = "sh -s", text.encode()
        if self.ask("command -v gzip").returncode == 0:
            remote, sent = "gzip -dc | sh -s", gzip.compress(sent)
        return subprocess.run(self.argv(remote), input=sent, check=False).returncode


@contextlib.contextmanager
def connected(ssh: str, host: str) -> Iterator[Connection]:
    """Open a connection for the length of a block."""
    connection = Connection(ssh, host)
    try:
        connection.open()
        yield connection
    finally:
        connection.close()


class Docker(NamedTuple):
    """Docker on a server: the command that this account uses, and the engine's architecture."""

    command: str
    architecture: str


def docker_of(connection: Connection) -> Docker:
    """Find out how this account uses docker on the server; DeployError when it cannot."""
    said = ""
    for command in ("docker", "sudo -n docker"):
        done = connection.ask(f"{command} version --format '{{{{println}}}}{{{{.Server.Arch}}}}'")
        if done.returncode == 0:
            return Docker(command, (done.stdout.split() or [""])[-1])
        said = said or done.stderr or done.stdout
    text = said.lower()
    host = connection.host
    if "not found" in text:
        raise DeployError(f"{host}: docker is not installed there: install Docker Engine on it")
    if "permission denied" in text:
        raise DeployError(
            f"{host}: this account may not use docker there: sudo usermod -aG docker ACCOUNT"
        )
    if "cannot connect" in text:
        raise DeployError(f"{host}: its Docker engine is stopped: sudo systemctl start docker")
    raise DeployError(f"{host}: {engine.explain('docker', said)}")


def prove(connection: Connection, port: int, name: str, digest: str) -> None:
    """See that the server's end of the tunnel answers as our registry; DeployError if not."""
    request = (
        f"HEAD /v2/{name}/manifests/{digest} HTTP/1.0\r\n"
        f"Host: 127.0.0.1\r\nAccept: {registry.ACCEPT}\r\n\r\n"
    )
    answer = connection.through(port, request.encode("ascii")).decode("latin-1")
    status, _, headers = answer.partition("\r\n")
    if " 200" not in status or f"docker-content-digest: {digest}" not in headers.lower():
        raise DeployError(
            f"{connection.host}: the tunnel's end does not answer as our registry"
            f" ({status or 'no answer'}): is sshd set to AllowTcpForwarding yes?"
        )


def runs(connection: Connection, docker: str, name: str, wanted: dict[str, str]) -> bool:
    """Say whether a release with the wanted digest and options runs already and is healthy."""
    template = (
        '{{index .Config.Labels "slipway.digest"}} {{index .Config.Labels "slipway.options"}}'
        " {{and .State.Running (not .State.Restarting)}}"
        " {{if .State.Health}}{{.State.Health.Status}}{{else}}steady{{end}}"
    )
    said = connection.ask(f"{docker} container inspect --format {shlex.quote(template)} {name}")
    digest, options, running, health = (said.stdout.split() + 4 * [""])[:4]
    return (
        (digest, options) == (wanted["DIGEST"], wanted["OPTIONS_SUM"])
        and running == "true"
        and health in ("healthy", "steady")
    )


def pull(connection: Connection, docker: str, reference: str) -> None:
    """Let the server fetch the image through the tunnel; DeployError when it cannot."""
    terminal = sys.stdout.isatty()
    quiet = "" if terminal else "--quiet "
    command = f"{docker} pull {quiet}{shlex.quote(reference)}"
    if terminal:
        status = subprocess.call(connection.argv(command), stdin=subprocess.DEVNULL)
        said = ""
    else:
        done = connection.ask(command)
        status, said = done.returncode, done.stderr
    if status:
        raise DeployError(
            f"{connection.host}: the image could not be pulled:"
            f" {engine.explain('docker', said) if said else 'see above'}"
        )


def pushed(settings: dict[str, str]) -> dict[str, str]:
    """Give what `make push` recorded; DeployError when the registry does not have it."""
    record = State().steps.get("push", {})
    digest = record.get("digest", "")
    if not digest:
        raise DeployError("nothing was pushed yet: run make push")
    port, name = int(settings["REGISTRY_PORT"]), f"{settings['PROJECT']}-run"
    if registry.digest(port, name, digest) != digest:
        raise DeployError(f"the registry on 127.0.0.1:{port} has no {name}@{digest}: run make push")
    return record


def deploy(settings: dict[str, str], host: str) -> int:
    """Bring the pushed image to one server and run it; gives the exit status."""
    record = pushed(settings)
    digest, name = record["digest"], f"{settings['PROJECT']}-run"
    image = json.loads(engine.ask(settings["DOCKER"], "image", "inspect", record["image"]))[0]
    labels = image["Config"].get("Labels") or {}
    options = shlex.join(container.options(settings))
    published = shlex.join(container.published(settings, settings["BIND"]))
    environ = environment.text(environment.load())
    options_sum = hashlib.sha256(b"\n".join((options.encode(), published.encode(), environ)))
    with connected(settings["SSH"], host) as connection:
        docker = docker_of(connection)
        if docker.architecture != image["Architecture"]:
            raise DeployError(
                f"{host}: it is {docker.architecture} and the image is {image['Architecture']}:"
                f" make image push deploy PLATFORM=linux/{docker.architecture}"
            )
        wanted = {
            **variables(settings, docker),
            "DIGEST": digest,
            "OPTIONS": options,
            "PUBLISHED": published,
            "VOLUMES": " ".join(container.volumes(settings)),
            "ENVIRONMENT": environ.decode(),
            "OPTIONS_SUM": options_sum.hexdigest()[:16],
        }
        if runs(connection, docker.command, settings["PROJECT"], wanted):
            say(f"{host}: nothing to do: {name}@{digest[:19]} runs and is healthy")
            return 0
        port = connection.forward(int(settings["REGISTRY_PORT"]))
        prove(connection, port, name, digest)
        say(f"{host}: pulls {name}@{digest[:19]} through its 127.0.0.1:{port}")
        reference = f"127.0.0.1:{port}/{name}@{digest}"
        pull(connection, docker.command, reference)
        status = connection.script(
            {
                **wanted,
                "JOB": "deploy",
                "IMAGE": reference,
                "REVISION": labels.get("org.opencontainers.image.revision", ""),
                "BY": f"{getpass.getuser()}@{socket.gethostname()}",
            }
        )
        if status == 0:
            say(f"{host}: http://{connection.address()}:{settings['PORT']}")
    return status


def variables(settings: dict[str, str], docker: Docker) -> dict[str, str]:
    """Give the variables that every job of server.sh needs."""
    return {
        "DOCKER": docker.command,
        "PROJECT": settings["PROJECT"],
        "HEALTH_TIMEOUT": settings["HEALTH_TIMEOUT"],
    }


def on_server(settings: dict[str, str], host: str, job: str) -> int:
    """Do a job that needs no tunnel; gives the exit status."""
    with connected(settings["SSH"], host) as connection:
        docker = docker_of(connection)
        name = settings["PROJECT"]
        if job in ("rollback", "status"):
            say(f"{host}: {job}")
            return connection.script({**variables(settings, docker), "JOB": job})
        if job == "logs":
            follow = "--follow " if settings["FOLLOW"] else ""
            command = f"{docker.command} logs {follow}--tail 200 {name}"
            return subprocess.call(connection.argv(command), stdin=subprocess.DEVNULL)
        terminal = sys.stdin.isatty()
        flags, options = ("-it", ("-o", "RequestTTY=force")) if terminal else ("-i", ())
        command = f"{docker.command} exec {flags} {name} /bin/sh"
        return subprocess.call(connection.argv(command, *options))


def say(message: str) -> None:
    """Print one line about what is being done."""
    print(f"deploy: {message}", flush=True)


def hosts(settings: dict[str, str]) -> list[str]:
    """Give the servers to work on, asking for one where there is somebody to ask."""
    chosen = settings["DEPLOY_HOST"].split()
    if not chosen and sys.stdin.isatty():
        chosen = input("Deploy to which server (user@host)? ").split()
    if not chosen:
        die("no server is named: make deploy DEPLOY_HOST=user@server, or set it in settings.mk")
    for host in chosen:
        if host.startswith("-"):
            die(f"DEPLOY_HOST names {host!r}, which ssh would take for an option")
    return chosen


def main(arguments: list[str]) -> int:
    """Do one job on every server, stopping at the first that fails; gives the exit status."""
    job = arguments[0] if arguments else "deploy"
    if job not in JOBS:
        die(f"there is no job {job}: use {', '.join(JOBS)}")
    settings = load()
    for number in (signal.SIGTERM, signal.SIGHUP):  # what was made is removed then as well
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    for host in hosts(settings):
        try:
            status = deploy(settings, host) if job == "deploy" else on_server(settings, host, job)
        except (DeployError, engine.EngineError) as problem:
            die(str(problem))
        except KeyboardInterrupt:
            die("interrupted; make status says what runs")
        if status:
            return status
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
