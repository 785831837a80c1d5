"""Servers to deploy to: sshd and a Docker engine, or systemd, in a privileged container.

Like a rented server, they are reached over ssh, with checked host keys.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed import debian, folders, images, network
from testbed.console import HarnessError, last_lines, run, succeeds
from testbed.engine import Engine

LABEL = "slipway.server"
SSH_PORT = 22
READY_SECONDS = 90


def remove_kept(engine: Engine, lease: str) -> None:
    """Remove the servers that were kept with this lease.

    Raises HarnessError if docker fails.
    """
    wanted = f"label={LABEL}={lease}"
    kept = engine.run("docker", "ps", "--all", "--quiet", "--filter", wanted).split()
    if kept:
        engine.run("docker", "rm", "--force", "--volumes", *kept)
    shutil.rmtree(_folder_of(lease))


def _folder_of(lease: str) -> Path:
    """Return the folder of the servers' keys; with a lease, later processes use it too."""
    if not lease:
        return Path(tempfile.gettempdir())
    folder = folders.cache() / "servers" / lease
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Server:
    """A server that runs for the duration of the `with` block.

    Args:
        user: `root`; `deployer`, who is in the group docker; `sudoer`, who may use docker with sudo
            only; or `rootless`, who has the server's only Docker engine.
        ports: ports on which deployed applications are reached, see `address`.
        docker: whether the server has Docker.
        shared: a folder that is mounted at the same path, so that the server's engine can be used
            from here, see `engine`.
        lease: keeps the server after the block, until `remove_kept` gets the same lease.
    """

    host = "server"
    image = "server"  # the folder next to this file that contains its dockerfile
    options: tuple[str, ...] = ()  # of docker create

    def __init__(
        self,
        engine: Engine,
        *,
        user: str = "root",
        ports: Iterable[int] = (),
        docker: bool = True,
        shared: Path | None = None,
        lease: str = "",
    ) -> None:
        """Configure the server; `with` starts it."""
        self._engine = engine
        self._user = user
        self._ports = tuple(ports)
        self._has_docker = docker
        self._by = ("--user", user) if user == "rootless" else ()
        self._shared = shared
        self._lease = lease
        self._folder = Path(tempfile.gettempdir())
        self._exit = contextlib.ExitStack()
        self.name = f"slipway-server-{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        """Start the server, and wait until sshd and its engine answer.

        Raises HarnessError, with the end of its log, if they do not.
        """
        context = images.HERE / self.image
        image = f"slipway-{self.image}:{images.fingerprint_of(context)}"
        images.provide(self._engine, images.BASE)
        images.provide_built(self._engine, image, context)
        if not shutil.which("ssh"):
            debian.install("openssh-client")
        with contextlib.ExitStack() as stack:
            self._folder = Path(tempfile.mkdtemp(prefix="server-", dir=_folder_of(self._lease)))
            stack.callback(shutil.rmtree, self._folder)
            self._make_keys()
            stack.callback(self._remove)
            self._create(image)
            self._engine.run("docker", "start", self.name)
            self._write_ssh_configuration()
            self._wait_until_ready()
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the server, its volume and its keys, unless it has a lease."""
        if not self._lease:
            self._exit.close()

    @property
    def folder(self) -> Path:
        """The folder of the server's keys and ssh configuration."""
        return self._folder

    @property
    def ssh(self) -> str:
        """The ssh command, as a value for make's variable SSH."""
        return f"ssh -F {shlex.quote(str(self._folder / 'config'))}"

    def address(self, port: int) -> str:
        """Return where one of the server's ports is reached from here, like `127.0.0.1:49153`.

        Raises HarnessError if the port is not one of them.
        """
        return self._engine.run("docker", "port", self.name, f"{port}/tcp").splitlines()[0]

    def run(self, *command: str, timeout: float = 60) -> str:
        """Run a command on the server, without ssh; return its standard output.

        Raises HarnessError, with the command's last lines, if it fails.
        """
        return self._engine.run("docker", "exec", self.name, *command, timeout=timeout)

    def docker(self, *words: str, timeout: float = 60) -> str:
        """Run a docker command on the server; return its standard output.

        Raises HarnessError, with the command's last lines, if it fails.
        """
        command = ("docker", "exec", *self._by, self.name, "docker", *words)
        return self._engine.run(*command, timeout=timeout)

    def logs(self, container: str) -> str:
        """Return the last lines of a container's log on the server."""
        return self.run("sh", "-c", 'docker logs --tail 50 "$1" 2>&1', "logs", container)

    @property
    def engine(self) -> Engine:
        """The server's engine, for commands that run here and mount only the shared folder."""
        here = {"DOCKER_HOST": f"unix://{self._socket}"}
        return Engine({**self._engine.environment, **here}, ours=True)

    @property
    def _socket(self) -> Path:
        return (self._shared or Path("/nowhere")) / f"{self.name}.sock"

    def stop_engine(self) -> None:
        """Stop the server's Docker engine in order; sshd keeps running."""
        self.run("engine.sh", "stop")

    def kill_engine(self) -> None:
        """Kill the server's Docker engine, as a power failure would."""
        self.run("engine.sh", "kill")

    def start_engine(self) -> None:
        """Start the server's Docker engine again, and wait until it answers.

        Raises HarnessError, with the end of its log, if it does not.
        """
        self.run("engine.sh", "start")
        self._wait_until_ready()

    def reboot(self) -> None:
        """Kill the server and start it again; the published ports change.

        Raises HarnessError, with the end of its log, if it does not answer afterwards.
        """
        self._engine.run("docker", "kill", self.name)
        self._engine.run("docker", "start", self.name)
        self._write_ssh_configuration()
        self._wait_until_ready()

    def _make_keys(self) -> None:
        for key in ("host_key", "client_key"):
            run(
                "server",
                [
                    "ssh-keygen",
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    key,
                    "-f",
                    self._folder / key,
                ],
            )
        public = (self._folder / "host_key.pub").read_text()
        (self._folder / "known_hosts").write_text(f"{self.host} {public}")

    def _create(self, image: str) -> None:
        # The server must not use the addresses of the engine that it runs on.
        outer = (*network.taken_ranges(), *self._ranges_of_engine())
        [free] = network.free_ranges(outer, 1)
        _, pool = free.subnets()
        shared = []
        if self._shared:
            shared = [f"--volume={self._shared}:{self._shared}", f"--env=SOCKET={self._socket}"]
        published = [f"--publish=127.0.0.1::{port}" for port in (SSH_PORT, *self._ports)]
        self._engine.run(
            "docker",
            "create",
            f"--name={self.name}",
            f"--hostname={self.host}",
            f"--label={LABEL}={self._lease}",
            f"--env=BRIDGE={free[1]}/24",
            f"--env=POOL={pool}",
            f"--env=DOCKER={'rootless' if self._by else 'yes' if self._has_docker else 'no'}",
            "--privileged",
            *self.options,
            *shared,
            *published,
            image,
        )
        copies = {"host_key": "host_key", "client_key.pub": "authorized_keys"}
        for source, target in copies.items():
            place = f"{self.name}:/etc/ssh/{target}"
            self._engine.run("docker", "cp", "--quiet", self._folder / source, place)

    def _ranges_of_engine(self) -> list[IPv4Network]:
        subnets = "{{range .IPAM.Config}}{{.Subnet}} {{end}}"
        found = []
        for each in self._engine.run("docker", "network", "ls", "--quiet").split():
            # somebody else's network may be removed between the two commands
            with contextlib.suppress(HarnessError):
                listed = self._engine.run("docker", "network", "inspect", "--format", subnets, each)
                found += [known for text in listed.split() if (known := network.range_of(text))]
        return found

    def _write_ssh_configuration(self) -> None:
        address, _, port = self.address(SSH_PORT).rpartition(":")
        lines = {
            "HostName": address,
            "Port": port,
            "User": self._user,
            # The port changes with each start; the host key does not.
            "HostKeyAlias": self.host,
            "IdentityFile": f'"{self._folder / "client_key"}"',
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f'"{self._folder / "known_hosts"}"',
            "StrictHostKeyChecking": "yes",
        }
        text = "".join(f"  {name} {value}\n" for name, value in lines.items())
        (self._folder / "config").write_text(f"Host {self.host}\n{text}")

    def _wait_until_ready(self) -> None:
        self._wait("sshd", lambda: succeeds([*shlex.split(self.ssh), self.host, "true"]))
        if self._has_docker:
            command = ("docker", "exec", *self._by, self.name, "docker", "version")
            self._wait("its engine", lambda: self._engine.succeeds(*command))

    def _wait(self, what: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready():
            running = self._engine.run(
                "docker", "inspect", "--format", "{{.State.Running}}", self.name
            )
            if running.strip() != "true" or time.monotonic() > deadline:
                raise HarnessError(
                    f"server: {what} does not answer. The end of its log:\n{self._log()}"
                )
            time.sleep(0.1)

    def _log(self) -> str:
        text = ""
        for command in (
            ("docker", "logs", "--tail", "50", self.name),
            ("docker", "exec", self.name, "tail", "-n", "50", "/var/log/dockerd.log"),
        ):
            with contextlib.suppress(HarnessError):
                text += self._engine.run(*command)
        return last_lines(text)

    def _remove(self) -> None:
        self._engine.succeeds("docker", "rm", "--force", "--volumes", self.name)


class Systemd(Server):
    """A server with systemd, Python and PyPy, without Docker.

    Args:
        user: `root`; `sudoer`, who may run any command with sudo; or `deployer`, who may only have
            services of its own.
    """

    image = "systemd"
    options = ("--cgroupns=private", *(f"--tmpfs={place}" for place in ("/run", "/run/lock")))

    def __init__(self, engine: Engine, *, user: str = "root", ports: Iterable[int] = ()) -> None:
        """Configure the server; `with` starts it."""
        super().__init__(engine, user=user, ports=ports, docker=False)

    def by(self, user: str) -> str:
        """Return the ssh command of another account."""
        place = self.folder / f"config-{user}"
        text = (self.folder / "config").read_text()
        place.write_text(text.replace(f"User {self._user}", f"User {user}"))
        return f"ssh -F {shlex.quote(str(place))}"
