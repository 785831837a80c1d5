"""The ways to build an image that are compared: this template, and its peers.

Each contender has a checkout of the same application, with the same pins, and does in it what its
own document tells a user to type.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import certifi

import testbed
from measure.peers import applications
from measure.peers.applications import Application
from measure.peers.commands import Timed, plain, timed
from testbed.console import HarnessError
from testbed.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).parent / "peers"
UV = "0.13.9"
UV_IMAGE = f"uv:{UV}"
# How a step of ours begins, whatever it says of itself.
STEP = re.compile(r"build\.sh: (base|tools|builder|wheels|image): ")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Workshop:
    """Where contenders work: an engine, a folder, and the certificates that are trusted there."""

    engine: Engine
    folder: Path

    @property
    def certificates(self) -> Path:
        """One file with the usual certificates and with those that this machine adds."""
        return self.folder / "ca.pem"

    @property
    def uv(self) -> Path:
        """Where the programs of uv are."""
        return self.folder / "uv" / "bin"

    @property
    def environment(self) -> dict[str, str]:
        """What every command gets."""
        return plain(self.engine.environment)

    def run(self, *command: str | Path, folder: Path | None = None, **environment: str) -> Timed:
        """Run a command for this engine; HarnessError when it fails."""
        return timed(*command, environment={**self.environment, **environment}, folder=folder)

    def prepare(self) -> None:
        """Write the certificates, and put an image of uv beside the base image.

        Both stand for images that a hub has; their way here is in no figure.
        """
        self.folder.mkdir(parents=True)
        parts = [Path(certifi.where()), *testbed.extra_certificates()]
        texts = [part.read_text(encoding="utf-8", errors="replace").rstrip() for part in parts]
        self.certificates.write_text("\n".join(texts) + "\n", encoding="utf-8")
        install = ("-m", "pip", "install", "--quiet", "--target", self.uv.parent, f"uv=={UV}")
        self.run(sys.executable, *install, PIP_CERT=str(self.certificates))
        dockerfile = self.uv / "uv.docker"
        dockerfile.write_text("FROM scratch\nCOPY uv uvx /\n", encoding="utf-8")
        self.run("docker", "build", "--tag", UV_IMAGE, "--file", dockerfile, self.uv)


class Contender(ABC):
    """One way to make an image of one application."""

    name: str
    image: str

    def __init__(self, workshop: Workshop, application: Application, folder: Path) -> None:
        """Name the folder of its checkout, which `prepare` makes."""
        self.workshop = workshop
        self.application = application
        self.folder = folder

    def cold(self) -> Timed:
        """Build the image where nothing is there but the base image and the locks."""
        return self.build()

    @abstractmethod
    def build(self) -> Timed:
        """Build the image after the application has changed."""

    def forget(self) -> None:  # noqa: B027  # most leave nothing
        """Remove what a build leaves in the checkout."""

    def change(self, number: int) -> None:
        """Change one line of the application."""
        self.application.greet(self.folder, applications.greeting(number))


class Ours(Contender):
    """This template: `make wheels image`."""

    name = "slipway"
    image = f"{applications.NAME}-run"
    builder = f"{applications.NAME}-builder"

    def prepare(self) -> None:
        """Generate the project, give it the application, and make the lock."""
        answers = [f"{key}={value}" for key, value in self.application.answers.items()]
        place = self.folder.parent
        place.mkdir(parents=True)
        config = place / "cookiecutter.yaml"
        config.write_text(f"cookiecutters_dir: {place}\nreplay_dir: {place}\n", encoding="utf-8")
        cookiecutter = Path(sys.executable).parent / "cookiecutter"
        options = ("--no-input", "--config-file", config, "--output-dir", place)
        self.workshop.run(cookiecutter, *options, ROOT, *answers)
        (place / applications.NAME).rename(self.folder)
        testbed.copy_certificates(self.folder / "deploy" / "ca")
        if self.application.files:
            shutil.copytree(self.application.files, self.folder, dirs_exist_ok=True)
        git = ("git", "-c", "user.name=bench", "-c", "user.email=bench@example.org")
        self.workshop.run(*git, "init", "--quiet", folder=self.folder)
        if not (self.folder / "requirements.txt").exists():
            self.make("lock")
        self.workshop.run(*git, "add", "--all", folder=self.folder)
        self.workshop.run(*git, "commit", "--quiet", "--message", "Begin", folder=self.folder)

    def build(self) -> Timed:
        """Have make do what has to be done."""
        return self.make("wheels", "image")

    def make(self, *targets: str) -> Timed:
        """Run make in the checkout."""
        return self.workshop.run("make", *targets, folder=self.folder)

    def forget(self) -> None:
        """Remove the wheelhouse and the notes of what is done."""
        for name in (".deploy", "wheelhouse"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def start_builder(self) -> Timed:
        """Start the image that makes the wheels for nothing: what a container costs here."""
        command = ("docker", "run", "--rm", "--entrypoint", "true", f"{self.builder}:tools")
        return self.workshop.run(*command)

    def run_options(self) -> list[str]:
        """The options that a run image is started with, published on loopback."""
        program = self.folder / "deploy" / "container.py"
        return shlex.split(self.workshop.run("python3", program, "127.0.0.1").output)


def steps_of(build: Timed) -> dict[str, float]:
    """Seconds of each step of ours, from the moments at which it says that one begins.

    Empty where it says nothing of the kind.
    """
    starts = [(moment, found[1]) for moment, text in build.lines if (found := STEP.match(text))]
    ends = [*(moment for moment, _ in starts[1:]), build.seconds]
    return {name: end - start for (start, name), end in zip(starts, ends, strict=False)}


class Peer(Contender):
    """Somebody else's way, in the form that its document has."""

    def prepare(self, checkout: Path) -> None:
        """Take the application and its lock from our checkout."""
        self.application.copy_from(checkout, self.folder)

    def docker_build(self, image: str, dockerfile: str, *more: str, **arguments: str) -> Timed:
        """Build a peer's dockerfile with the checkout as the context."""
        arguments = {"BASE_IMAGE": testbed.BASE, **arguments}
        options = [*more, *(f"--build-arg={name}={value}" for name, value in arguments.items())]
        options += [f"--build-arg={name}" for name in PROXIES if os.environ.get(name)]
        options += [f"--secret=id=ca,src={self.workshop.certificates}"]
        place = PEERS / dockerfile
        return self.workshop.run(
            "docker", "build", "--tag", image, "--file", place, *options, self.folder
        )

    def pins(self) -> Mapping[str, str]:
        """What the lock pins: distribution -> version."""
        text = (self.folder / "requirements.txt").read_text(encoding="utf-8")
        return applications.pins_of(text)

    def constraints(self) -> str:
        """The pins without hashes, for those who resolve: the same versions for everybody."""
        return "".join(f"{name}=={version}\n" for name, version in self.pins().items())


class Naive(Peer):
    """One stage with everything in it."""

    name = "naive"
    image = "bench-naive"

    def prepare(self, checkout: Path) -> None:
        """Add the common pins."""
        super().prepare(checkout)
        (self.folder / "pins.txt").write_text(self.constraints(), encoding="utf-8")

    def build(self) -> Timed:
        """Build the one dockerfile."""
        return self.docker_build(self.image, "naive.docker")


class DockerInit(Peer):
    """What `docker init` writes."""

    name = "docker init"
    image = "bench-docker-init"

    def build(self) -> Timed:
        """Build the one dockerfile."""
        return self.docker_build(self.image, "docker-init.docker")


class Uv(Peer):
    """The multi-stage dockerfile of uv's guide."""

    name = "uv"
    image = "bench-uv"

    def prepare(self, checkout: Path) -> None:
        """Lock the same versions as the others have, for this one system, in uv's own format."""
        super().prepare(checkout)
        pins = "".join(f'    "{line}",\n' for line in self.constraints().splitlines())
        system = (
            "sys_platform == 'linux' and python_full_version >= '3.11'"
            f" and platform_python_implementation == '{self.application.python}'"
        )
        with (self.folder / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(
                f'\n[tool.uv]\nenvironments = ["{system}"]\nconstraint-dependencies = [\n{pins}]\n'
            )
        # In a container, since it is that interpreter's; this machine's may be too old for it.
        python = "bench-python"
        given = {"UV_IMAGE": UV_IMAGE, "PYTHON": self.application.program}
        self.docker_build(python, "uv.docker", "--target=python", **given)
        volumes = (
            *("--volume", f"{self.folder}:/app", "--workdir", "/app"),
            *("--volume", f"{self.workshop.uv}:/uv:ro"),
            *("--volume", f"{self.workshop.certificates}:/run/ca.pem:ro"),
        )
        environment = ("--env=SSL_CERT_FILE=/run/ca.pem", "--env=UV_PYTHON_DOWNLOADS=0")
        command = ("/uv/uv", "lock", "--no-cache", "--python", self.application.program)
        self.workshop.run("docker", "run", "--rm", *volumes, *environment, python, *command)
        locked = applications.uv_pins_of((self.folder / "uv.lock").read_text(encoding="utf-8"))
        for name, version in self.pins().items():
            if locked.get(name, version) != version:
                raise HarnessError(f"bench: uv locks {name} {locked[name]}, not {version}")

    def build(self) -> Timed:
        """Build the one dockerfile."""
        return self.docker_build(
            self.image, "uv.docker", UV_IMAGE=UV_IMAGE, PYTHON=self.application.program
        )


class Seed(Peer):
    """The recipe that this template grew from: three dockerfiles, and docker typed by hand."""

    name = "seed"
    image = "bench-seed-run"

    def prepare(self, checkout: Path) -> None:
        """Add the common pins."""
        super().prepare(checkout)
        (self.folder / "pins.txt").write_text(self.constraints(), encoding="utf-8")
        self.forget()

    def cold(self) -> Timed:
        """Build all three images."""
        return joined(
            self.docker_build("bench-seed-base", "seed/base.docker"),
            self.docker_build("bench-seed-builder", "seed/build.docker"),
            self.build(),
        )

    def build(self) -> Timed:
        """Build the wheels, and then the run image."""
        volumes = (
            *("--volume", f"{self.folder}:/application"),
            *("--volume", f"{self.folder}/wheelhouse:/wheelhouse"),
            *("--volume", f"{self.workshop.certificates}:/run/ca.pem"),
        )
        settings = ("--env=PIP_CERT=/run/ca.pem", "--env=PIP_CONSTRAINT=/application/pins.txt")
        command = ("docker", "run", "--rm", *volumes, *settings, "bench-seed-builder")
        wheels = self.workshop.run(*command)
        return joined(wheels, self.docker_build(self.image, "seed/run.docker"))

    def forget(self) -> None:
        """Empty the wheelhouse, and what setuptools leaves in the source."""
        for name in ("wheelhouse", "build"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "wheelhouse").mkdir()


def joined(*parts: Timed) -> Timed:
    """Several commands, one after the other, as one."""
    seconds, lines = 0.0, []
    for part in parts:
        lines += [(seconds + moment, text) for moment, text in part.lines]
        seconds += part.seconds
    return Timed(seconds, lines)
