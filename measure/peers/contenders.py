"""The contenders: slipway, and other ways to build an image.

Each contender has a checkout of the same application with the same locked versions, and runs the
commands that its own documentation recommends.
"""

from __future__ import annotations

import json
import os
import re
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
DOCKERFILES = Path(__file__).parent / "dockerfiles"
UV = "0.13.9"
UV_IMAGE = f"uv:{UV}"
# The line with which slipway reports the start of a step.
STEP = re.compile(r"slipway: (base|tools|builder|wheels|image): ")
# Prints the options of docker run as JSON; it runs in the project, with its machinery.
RUN_OPTIONS = """\
import json
from slipway.laptop.docker import run_options
from slipway.laptop.settings.load import load
settings = load()
print(json.dumps([*run_options.options(settings), *run_options.published(settings, "127.0.0.1")]))
"""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Workshop:
    """An engine, a folder for the contenders, and the certificates that they trust."""

    engine: Engine
    folder: Path

    @property
    def certificates(self) -> Path:
        """A file with the usual certificates and those that this machine adds."""
        return self.folder / "ca.pem"

    @property
    def uv(self) -> Path:
        """The folder of uv's programs."""
        return self.folder / "uv" / "bin"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        return plain(self.engine.environment)

    def run(self, *command: str | Path, folder: Path | None = None, **environment: str) -> Timed:
        """Run a command for this engine; raise HarnessError if it fails."""
        return timed(*command, environment={**self.environment, **environment}, folder=folder)

    def prepare(self) -> None:
        """Write the certificates, and add an image of uv to the engine.

        The base image and uv's would come from a hub; no figure includes their download.
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
    """A way to build an image of an application."""

    name: str
    image: str

    def __init__(self, workshop: Workshop, application: Application, folder: Path) -> None:
        """Remember the folder of the checkout; `prepare` creates it."""
        self.workshop = workshop
        self.application = application
        self.folder = folder

    def cold(self) -> Timed:
        """Build the image if nothing but the base image and the locks exists."""
        return self.build()

    @abstractmethod
    def build(self) -> Timed:
        """Build the image after the application has changed."""

    def forget(self) -> None:  # noqa: B027  # most contenders leave nothing
        """Remove the files that builds left in the checkout."""

    def change(self, number: int) -> None:
        """Change one line of the application."""
        self.application.greet(self.folder, applications.greeting(number))


class Ours(Contender):
    """slipway: `make wheels image`."""

    name = "slipway"
    image = f"{applications.NAME}-run"
    builder = f"{applications.NAME}-builder"

    def prepare(self) -> None:
        """Generate the project, add the application, and write the lock."""
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
        """Run `make wheels image`."""
        return self.make("wheels", "image")

    def make(self, *targets: str) -> Timed:
        """Run make in the checkout."""
        return self.workshop.run("make", *targets, folder=self.folder)

    def forget(self) -> None:
        """Remove the wheelhouse and the record of finished steps."""
        for name in (".deploy", "wheelhouse"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def start_builder(self) -> Timed:
        """Start a container of the builder that does nothing, to measure the start itself."""
        command = ("docker", "run", "--rm", "--entrypoint", "true", f"{self.builder}:tools")
        return self.workshop.run(*command)

    def run_options(self) -> list[str]:
        """Return slipway's options of docker run, with the port published on loopback."""
        found: list[str] = json.loads(
            self.workshop.run(
                *("python3", "-B", "-c", RUN_OPTIONS), folder=self.folder, PYTHONPATH="deploy"
            ).output
        )
        return found


def steps_of(build: Timed) -> dict[str, float]:
    """Return the seconds of each of slipway's steps, from the lines that report their start."""
    starts = [(moment, found[1]) for moment, text in build.lines if (found := STEP.match(text))]
    ends = [*(moment for moment, _ in starts[1:]), build.seconds]
    return {name: end - start for (start, name), end in zip(starts, ends, strict=False)}


class Peer(Contender):
    """A way to build an image that is not slipway, as its documentation recommends."""

    def prepare(self, checkout: Path) -> None:
        """Copy the application and its lock from slipway's checkout."""
        self.application.copy_from(checkout, self.folder)

    def docker_build(self, image: str, dockerfile: str, *more: str, **arguments: str) -> Timed:
        """Build a dockerfile with the checkout as its context."""
        arguments = {"BASE_IMAGE": testbed.BASE, **arguments}
        options = [*more, *(f"--build-arg={name}={value}" for name, value in arguments.items())]
        options += [f"--build-arg={name}" for name in PROXIES if os.environ.get(name)]
        options += [f"--secret=id=ca,src={self.workshop.certificates}"]
        place = DOCKERFILES / dockerfile
        return self.workshop.run(
            "docker", "build", "--tag", image, "--file", place, *options, self.folder
        )

    def pins(self) -> Mapping[str, str]:
        """Return the version of each locked distribution."""
        text = (self.folder / "requirements.txt").read_text(encoding="utf-8")
        return applications.pins_of(text)

    def constraints(self) -> str:
        """Return the locked versions as constraints, so that all contenders install the same."""
        return "".join(f"{name}=={version}\n" for name, version in self.pins().items())


class Naive(Peer):
    """A dockerfile with a single stage."""

    name = "naive"
    image = "bench-naive"

    def prepare(self, checkout: Path) -> None:
        """Write the common constraints."""
        super().prepare(checkout)
        (self.folder / "pins.txt").write_text(self.constraints(), encoding="utf-8")

    def build(self) -> Timed:
        """Build the dockerfile."""
        return self.docker_build(self.image, "naive.docker")


class DockerInit(Peer):
    """The dockerfile that `docker init` writes."""

    name = "docker init"
    image = "bench-docker-init"

    def build(self) -> Timed:
        """Build the dockerfile."""
        return self.docker_build(self.image, "docker-init.docker")


class Uv(Peer):
    """The multi-stage dockerfile of uv's guide."""

    name = "uv"
    image = "bench-uv"

    def prepare(self, checkout: Path) -> None:
        """Lock the same versions, for this system only, in uv's own format."""
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
        # In a container with the image's interpreter; this machine's may be too old.
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
        """Build the dockerfile."""
        return self.docker_build(
            self.image, "uv.docker", UV_IMAGE=UV_IMAGE, PYTHON=self.application.program
        )


class Seed(Peer):
    """The essay that slipway grew from: three dockerfiles, and docker commands by hand."""

    name = "seed"
    image = "bench-seed-run"

    def prepare(self, checkout: Path) -> None:
        """Write the common constraints."""
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
        """Empty the wheelhouse, and remove the files of setuptools from the source."""
        for name in ("wheelhouse", "build"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "wheelhouse").mkdir()


def joined(*parts: Timed) -> Timed:
    """Return several commands that ran one after the other as one."""
    seconds, lines = 0.0, []
    for part in parts:
        lines += [(seconds + moment, text) for moment, text in part.lines]
        seconds += part.seconds
    return Timed(seconds, lines)
