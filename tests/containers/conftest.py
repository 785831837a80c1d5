"""Real parts for the container tests: one engine, one registry and one server a session.

A project is generated, built, pushed and deployed once for each interpreter; the tests then look at
what came of it. The folders have a space in their names, since people's folders have.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import testbed
from tests.conftest import Baker, Project
from tests.containers import odd as odds

if TYPE_CHECKING:
    from tests.containers.attachments import Attachments

# Images, containers and registries of this session have names that nobody else's have.
SESSION = secrets.token_hex(3)
PORTS = {"PyPy": 8081, "CPython": 8082, "existing": 8083}


def free_port() -> int:
    """Find a port of this machine's loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def commit(project: Project, message: str) -> str:
    """Commit all that a project has; gives the commit's name."""
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
    """Give what an application answers to GET /."""
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as response:
        text: str = response.read().decode()
        return text


@dataclass(frozen=True)
class Laptop:
    """Where make is typed: the engine, the registry's port and the server to deploy to."""

    engine: testbed.Engine
    server: testbed.Server
    registry_port: int

    def make(self, project: Project, *words: str, **environment: str) -> str:
        """Run make in a project; fail with all that it said when it fails."""
        done = self.run(project, "make", *words, **environment)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def make_fails(self, project: Project, *words: str, **environment: str) -> str:
        """Run make in a project, which must fail; give what it said."""
        done = self.run(project, "make", *words, **environment)
        assert done.returncode != 0, done.stdout
        return done.stdout

    def run(
        self, project: Project, *command: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a project with this laptop's engine, registry and server."""
        settings = {
            "DEPLOY_HOST": self.server.host,
            "SSH": self.server.ssh,
            "REGISTRY_PORT": str(self.registry_port),
        }
        if command[0] == "make":
            typed = [f"{name}={settings[name]}" for name in ("SSH", "REGISTRY_PORT")]
            # the last of two counts for make
            command = ("make", *typed, *command[1:])
        return project.run(*command, **{**self.engine.environment, **settings, **environment})

    def docker(self, *words: str) -> str:
        """Run a docker command with this laptop's engine and give its output."""
        return self.engine.run("docker", *words)

    def image_id(self, image: str) -> str:
        """Give the ID of an image; empty when there is none of that name."""
        if not self.engine.has(image):
            return ""
        return self.docker("image", "inspect", "--format", "{{.Id}}", image).strip()

    def runs(self, image: str, script: str) -> str:
        """Give what a shell script says in a container of an image."""
        return self.docker("run", "--rm", "--entrypoint", "sh", image, "-c", script)

    def prepare(self, project: Project) -> Project:
        """Do what a user of this network does first: copy the certificates, commit."""
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
        """Run make in the project; fail with all that it said when it fails."""
        return self.laptop.make(self.project, *words, **environment)

    def make_fails(self, *words: str, **environment: str) -> str:
        """Run make in the project, which must fail; give what it said."""
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
        """Give one field of the release's container on the server, as a docker template."""
        return self.laptop.server.docker(
            "inspect", "--format", f"{{{{{field}}}}}", container or self.name
        ).strip()

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that is there in one of the project's files."""
        text = self.project.read(name)
        assert old in text, text
        (self.project.path / name).write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="session")
def engine() -> Iterator[testbed.Engine]:
    """The machine's engine, or one of our own for the length of the session."""
    with testbed.engine_session() as found:
        for image in (testbed.BASE, testbed.REGISTRY, testbed.POSTGRES, testbed.MARIADB):
            testbed.provide(found, image)
        yield found


@pytest.fixture(scope="session")
def server(engine: testbed.Engine) -> Iterator[testbed.Server]:
    """A server with sshd and an engine of its own."""
    with testbed.Server(engine, ports=PORTS.values()) as started:
        yield started


@pytest.fixture(scope="session")
def laptop(engine: testbed.Engine, server: testbed.Server) -> Iterator[Laptop]:
    """The machine that make is typed on; its registry is removed at the end."""
    had_cache = "wheelhouse-cache" in engine.run("docker", "volume", "ls", "--quiet").split()
    port = free_port()
    yield Laptop(engine, server, port)
    name = f"registry-{port}"
    engine.succeeds("docker", "rm", "--force", "--volumes", f"{name}-registry-1")
    engine.succeeds("docker", "network", "rm", f"{name}_default")
    engine.succeeds("docker", "volume", "rm", f"{name}_storage")
    if not had_cache:
        engine.succeeds("docker", "volume", "rm", "wheelhouse-cache")


@pytest.fixture(scope="session")
def generate(
    template: Path, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Baker]:
    """Generate projects in folders with a space; what they made is removed at the end.

    They come with the pin of the base image that an earlier one made, as a colleague's clone would:
    what one of them has installed is in the engine's cache for the next.
    """
    made: list[Project] = []

    def folder() -> Path:
        place = tmp_path_factory.mktemp("my projects", numbered=True) / "of today"
        place.mkdir()
        return place

    class Keeper(Baker):
        def __call__(self, **answers: str) -> Project:
            project = super().__call__(**answers)
            pinned = (each.path / "deploy" / "base.lock" for each in made)
            earlier = next((path for path in pinned if path.is_file()), None)
            if earlier and "base_image" not in answers:
                shutil.copy(earlier, project.path / "deploy")
            made.append(project)
            return laptop.prepare(project)

    yield Keeper(template, folder)
    for project in made:
        laptop.run(project, "make", "clean")


@pytest.fixture(scope="session", params=["PyPy", "CPython"])
def shipped(request: pytest.FixtureRequest, generate: Baker, laptop: Laptop) -> Iterator[Shipped]:
    """The sample application on its way from an answered question to the server."""
    python = request.param
    name = f"ship-{python.lower()}-{SESSION}"
    port = PORTS[python]
    project = generate(project=name, python=python, port=str(port))
    result = Shipped(laptop, project, name, port)
    for step in ("wheels", "image", "push", "deploy"):
        result.make(step)
    yield result
    laptop.server.run(
        *("sh", "-c", 'docker rm --force --volumes $(docker ps --all --quiet --filter name="$1")'),
        *("sh", name),
    )


@pytest.fixture(scope="session")
def gateway(laptop: Laptop) -> str:
    """This machine's address as containers see it."""
    return laptop.docker(
        "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge"
    ).strip()


class Running:
    """A make at work in the background, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Take the process, and the file that has what it says."""
        self._process = process
        self._log = log

    @property
    def said(self) -> str:
        """What it has said until now."""
        return self._log.read_text(encoding="utf-8")

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that it does; fail with what it said when it ended before."""
        while not is_so():
            assert self._process.poll() is None, self.said
            time.sleep(0.02)

    def kill(self) -> None:
        """End it and all that it has started here at once, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def fails(self) -> str:
        """Wait for its end, which must be a bad one; gives all that it said."""
        assert self._process.wait() != 0, self.said
        return self.said

    def end(self) -> str:
        """Wait for its end, which must be a good one; gives all that it said."""
        assert self._process.wait() == 0, self.said
        return self.said


@dataclass(frozen=True)
class Workshop:
    """A project in which things are built again and again, and what came of it."""

    laptop: Laptop
    project: Project
    name: str
    logs: Path
    variables: Mapping[str, str]

    def make(self, *words: str, **environment: str) -> str:
        """Run make in the project; fail with all that it said when it fails."""
        return self.laptop.make(self.project, *words, **{**self.variables, **environment})

    def make_fails(self, *words: str, **environment: str) -> str:
        """Run make in the project, which must fail; give what it said."""
        return self.laptop.make_fails(self.project, *words, **{**self.variables, **environment})

    def compiled(self, *words: str, **environment: str) -> set[str]:
        """Run make; gives the names of the packages that were built from source for it."""
        said = self.make(*words, **environment)
        return set(re.findall(r"^wheels: building (\S+) \S+ from source", said, re.M))

    def start(self, *words: str) -> Running:
        """Run make in the project, and do not wait for its end."""
        log = self.logs / secrets.token_hex(4)
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["make", *words],
                cwd=self.project.path,
                env={**os.environ, **self.laptop.engine.environment, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(process, log)

    def has_nothing_to_do(self, *words: str) -> bool:
        """Say whether make has nothing to do, and says so of each word."""
        said = self.make(*words).splitlines()
        return len(said) == len(words) and all("nothing to do" in line for line in said)

    @property
    def wheelhouse(self) -> Path:
        """The folder that the wheels are in."""
        return self.project.path / "wheelhouse" / "python3"

    @property
    def image(self) -> str:
        """The run image's ID; empty when there is none."""
        return self.laptop.image_id(f"{self.name}-run")

    @property
    def answer(self) -> str:
        """What the run image says, which is a program that ends."""
        return self.laptop.docker("run", "--rm", f"{self.name}-run").strip()

    @property
    def packages(self) -> list[str]:
        """What the run image has in site-packages, as in `idna-3.10`."""
        listed = self.laptop.runs(f"{self.name}-run", "ls /appenv/lib/python3*/site-packages")
        ending = ".dist-info"
        return [name.removesuffix(ending) for name in listed.split() if name.endswith(ending)]

    def wheels(self) -> dict[str, str]:
        """Give the sum of each file in the wheelhouse, by its place."""
        return {
            path.relative_to(self.wheelhouse).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for part in ("app", "deps")
            for path in sorted((self.wheelhouse / part).iterdir())
        }

    def is_whole(self) -> bool:
        """Say whether the wheelhouse has what its own lists name, and nothing else."""
        found = self.wheels()
        listed = set()
        for part in ("deps", "app"):
            text = (self.wheelhouse / part / "requirements.txt").read_text(encoding="utf-8")
            listed |= set(re.findall(r"--hash=sha256:(\S+)", text))
            del found[f"{part}/requirements.txt"]
        return set(found.values()) == listed

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that is there in one of the project's files."""
        text = self.project.read(name)
        assert old in text, text
        (self.project.path / name).write_text(text.replace(old, new), encoding="utf-8")

    def check_out(self, commit: str) -> None:
        """Have the files of a commit and no others, besides those that git does not see."""
        for words in (
            ("reset", "--quiet", "--hard", commit),
            ("clean", "--quiet", "-d", "--force"),
        ):
            done = self.project.run("git", *words)
            assert done.returncode == 0, done.stdout


GREETER = {
    "pyproject.toml": """\
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "greeter"
        version = "1.0"
        dependencies = ["idna"]
        [project.scripts]
        greet = "greeter:main"
        [tool.setuptools]
        py-modules = ["greeter"]
    """,
    # a build that takes its time, and says so, where there is a file of that name
    "setup.py": """\
        import os, time
        from setuptools import setup
        if os.path.exists("slow"):
            open("/wheelhouse/asleep", "w").close()
            time.sleep(2)
        setup()
    """,
    "greeter.py": "def main():\n    print('first')\n",
    "tests/test_greeter.py": "import greeter\n",
}


def greeter_in(laptop: Laptop, project: Project, logs: Path) -> tuple[Workshop, str]:
    """Make a project without an application a small one that is built; gives its commit too."""
    name = re.findall(r"^PROJECT := (\S+)$", project.read("deploy/settings.mk"), re.M)[0]
    write(project.path, GREETER)
    workshop = Workshop(laptop, project, name, logs, {})
    workshop.make("lock")
    workshop.make("base")
    first = commit(project, "First")
    workshop.make("image")
    return workshop, first


@pytest.fixture(scope="session")
def greeter_project(
    generate: Baker, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workshop, str]:
    """A small application with its image, and its commit."""
    name = f"greeter-{SESSION}"
    project = generate(
        project=name, app="existing", python="CPython", command="greet", native_deps=" "
    )
    return greeter_in(laptop, project, tmp_path_factory.mktemp("logs"))


@pytest.fixture
def greeter(greeter_project: tuple[Workshop, str]) -> Workshop:
    """A small application, as its first commit has it, of pure Python."""
    workshop, first = greeter_project
    workshop.check_out(first)
    return workshop


COMPILED = "gunicorn\ngreenlet\nmarkupsafe\n--no-binary markupsafe\n"


@pytest.fixture(scope="session")
def compiled(
    generate: Baker, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    """A list of requirements of which one was compiled, into a cache that is this session's."""
    name = f"compiled-{SESSION}"
    project = generate(
        project=name,
        app="existing",
        python="CPython",
        command="gunicorn --version",
        native_deps=" ",
    )
    write(project.path, {"requirements.in": COMPILED})
    variables = {"DEPLOY_CACHE": f"cache-{SESSION}"}
    workshop = Workshop(laptop, project, name, tmp_path_factory.mktemp("logs"), variables)
    workshop.make("lock")
    commit(project, "Lock")
    assert workshop.compiled("image") == {"markupsafe"}
    yield workshop
    laptop.docker("volume", "rm", variables["DEPLOY_CACHE"])


@pytest.fixture(scope="session")
def odd_project(generate: Baker, laptop: Laptop) -> Project:
    """The application that misbehaves, built and pushed once."""
    name = f"odd-{SESSION}"
    answers = {"app": "existing", "python": "CPython", "command": "odd", "port": str(odds.PORT)}
    project = generate(project=name, native_deps=" ", **answers)
    write(project.path, odds.APPLICATION)
    settings = project.path / "deploy" / "settings.mk"
    text = settings.read_text().replace("HEALTH := tcp", "HEALTH := /")
    settings.write_text(text.replace("MEMORY := 1g", "MEMORY := 100m"))
    laptop.make(project, "wheels", "image", "push")
    return project


@pytest.fixture(scope="session")
def odd_server(engine: testbed.Engine, laptop: Laptop, odd_project: Project) -> Iterator[odds.Odd]:
    """A server of its own to deploy it to; what runs there is what the last test has left."""
    with testbed.Server(engine, ports=[odds.PORT]) as server:
        yield odds.Odd(laptop, odd_project, odd_project.path.name, server)


@pytest.fixture
def odd(odd_server: odds.Odd) -> odds.Odd:
    """A good release of it runs there, whatever other tests have left."""
    odd_server.release(VERSION="good")
    odd_server.succeeds()
    return odd_server


def attachments(generate: Baker, laptop: Laptop, python: str) -> Iterator[Attachments]:
    """Generate a project with attachments and make its image."""
    from tests.containers.attachments import Attachments  # it needs what is above

    name = f"files-{python.lower()}-{SESSION}"
    project = generate(project=name, app="attachments", python=python)
    laptop.make(project, "image")
    made = Attachments(laptop, project, name)
    yield made
    made.end()


@pytest.fixture(scope="session")
def attachments_cpython(generate: Baker, laptop: Laptop) -> Iterator[Attachments]:
    """The attachments application on CPython."""
    yield from attachments(generate, laptop, "CPython")


@pytest.fixture(scope="session")
def attachments_pypy(generate: Baker, laptop: Laptop) -> Iterator[Attachments]:
    """The attachments application on PyPy."""
    yield from attachments(generate, laptop, "PyPy")
