"""The machine where make is typed: its engine, its registry and the server that it deploys to."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import testbed
from tests.conftest import Project

# The names of this session's images, containers and caches contain it, so that no other session,
# also one that runs at the same time, has the same names.
SESSION = secrets.token_hex(3)
# How long a release must be healthy, on make's command line, for tests of something else.
BRIEFLY = "STEADY=1"
PORTS = {"PyPy": 8081, "CPython": 8082, "existing": 8083}


def free_port() -> int:
    """Return a port of this machine's loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def commit(project: Project, message: str) -> str:
    """Commit all files of a project, and return the commit's hash."""
    ann = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for command in (
        ("git", "add", "--all"),
        ("git", *ann, "commit", "--quiet", "--allow-empty", "--message", message),
        ("git", "rev-parse", "HEAD"),
    ):
        done = project.run(*command)
        assert done.returncode == 0, done.stdout
    return done.stdout.strip()


def write(folder: Path, files: dict[str, str]) -> None:
    """Write an application's files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")


def answer_of(address: str) -> str:
    """Return what an application answers to GET /."""
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as response:
        text: str = response.read().decode()
        return text


def answers(url: str) -> bool:
    """Return whether a request succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so; the test fails when it takes too long."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.2)


class ServerOnDemand:
    """The server of a session, which is started by the first test that needs it."""

    def __init__(self, engine: testbed.Engine, ports: Iterable[int]) -> None:
        """Remember what kind of server to start."""
        self._engine = engine
        self._ports = tuple(ports)
        self._started: testbed.Server | None = None
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the server if it was started."""
        self._exit.close()

    @property
    def if_started(self) -> testbed.Server | None:
        """The server, if a test has needed it."""
        return self._started

    def get(self) -> testbed.Server:
        """Return the server; start it when it is needed for the first time."""
        if self._started is None:
            self._started = self._exit.enter_context(
                testbed.Server(self._engine, ports=self._ports)
            )
        return self._started


class OpenRegistry:
    """A registry of somebody else on this machine, to which everybody may push."""

    def __init__(self, engine: testbed.Engine) -> None:
        """Start nothing yet."""
        self._engine = engine
        self._name = f"open-registry-{secrets.token_hex(3)}"
        self.address = ""

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        run = ("run", "--detach", "--name", self._name, "--publish", "127.0.0.1::5000")
        self._engine.run("docker", *run, testbed.REGISTRY)
        self.address = self._engine.run("docker", "port", self._name, "5000").split()[0]
        wait_until(lambda: answers(f"http://{self.address}/v2/"))
        return self

    def push(self, image: str, name: str) -> str:
        """Push an image under a name, and return the reference by its digest."""
        reference = f"{self.address}/{name}"
        self._engine.run("docker", "tag", image, reference)
        said = self._engine.run("docker", "push", reference, timeout=900)
        found = re.search(r"digest: (sha256:\w+)", said)
        assert found, said
        return f"{reference.rpartition(':')[0]}@{found[1]}"

    def __exit__(self, *_: object) -> None:
        """Remove it and its images."""
        self._engine.succeeds("docker", "rm", "--force", "--volumes", self._name)


@dataclass(frozen=True)
class Laptop:
    """Where make is typed: the engine, the registry's port and the server to deploy to."""

    engine: testbed.Engine
    server_on_demand: ServerOnDemand
    registry_port: int
    state: Path  # has the registry's password

    @property
    def registry_user(self) -> tuple[str, str]:
        """The options with which docker pushes to the registry, or pulls from it."""
        return "--config", str(self.state / "slipway" / f"registry-{self.registry_port}")

    @property
    def server(self) -> testbed.Server:
        """The server to deploy to."""
        return self.server_on_demand.get()

    def make(self, project: Project, *words: str, **environment: str) -> str:
        """Run make in a project, and return its output; the test fails when make fails."""
        done = self.run(project, "make", *words, **environment)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def make_fails(self, project: Project, *words: str, **environment: str) -> str:
        """Run make in a project, and return its output; the test fails when make succeeds."""
        done = self.run(project, "make", *words, **environment)
        assert done.returncode != 0, done.stdout
        return done.stdout

    def run(
        self, project: Project, *command: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a project with this laptop's engine, registry and server."""
        server = self.server_on_demand.if_started
        settings = {
            "DEPLOY_HOST": server.host if server else "",
            "SSH": server.ssh if server else "ssh",
            "REGISTRY_PORT": str(self.registry_port),
            "XDG_STATE_HOME": str(self.state),
        }
        if command[0] == "make":
            typed = [f"{name}={settings[name]}" for name in ("SSH", "REGISTRY_PORT")]
            # of two values of one variable make uses the last
            command = ("make", *typed, *command[1:])
        return project.run(*command, **{**self.engine.environment, **settings, **environment})

    def docker(self, *words: str) -> str:
        """Run a docker command with this laptop's engine, and return its output."""
        return self.engine.run("docker", *words)

    def image_id(self, image: str) -> str:
        """Return the ID of an image; empty when there is none of that name."""
        if not self.engine.has(image):
            return ""
        return self.docker("image", "inspect", "--format", "{{.Id}}", image).strip()

    def runs(self, image: str, script: str) -> str:
        """Return the output of a shell script in a container of an image."""
        return self.docker("run", "--rm", "--entrypoint", "sh", image, "-c", script)

    def prepare(self, project: Project) -> Project:
        """Copy the certificates of this network into a project and commit, as a user would."""
        testbed.copy_certificates(project.path / "deploy" / "ca")
        done = project.run("git", "init", "--quiet")
        assert done.returncode == 0, done.stdout
        commit(project, "Generate")
        return project


@dataclass(frozen=True)
class Shipped:
    """A project that was generated, built, pushed and deployed."""

    laptop: Laptop
    project: Project
    name: str
    port: int

    def make(self, *words: str, **environment: str) -> str:
        """Run make in the project, and return its output; the test fails when make fails."""
        return self.laptop.make(self.project, *words, **environment)

    def make_fails(self, *words: str, **environment: str) -> str:
        """Run make in the project, and return its output; the test fails when make succeeds."""
        return self.laptop.make_fails(self.project, *words, **environment)

    @property
    def answer(self) -> str:
        """What the server answers now."""
        return answer_of(self.laptop.server.address(self.port))

    @property
    def run_image(self) -> str:
        """The name of its run image."""
        return f"{self.name}-run"

    def on_server(self, field: str, container: str = "") -> str:
        """Return one field, a docker template, of the release's container on the server."""
        return self.laptop.server.docker(
            "inspect", "--format", f"{{{{{field}}}}}", container or self.name
        ).strip()

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text, which must be there, in one of the project's files."""
        text = self.project.read(name)
        assert old in text, text
        (self.project.path / name).write_text(text.replace(old, new), encoding="utf-8")
