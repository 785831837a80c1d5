"""The docker command lines that build a project's images and fill its wheelhouse.

Nothing here runs anything: pipeline.py runs the commands, and DRY_RUN=1 prints them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway.laptop.building import lock_copy
from slipway.laptop.building.base_image_pin import Pin
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY, ROOT, make_own_folder
from slipway.shared import files, network

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
# Attestations would turn the image into an index, whose digest is another on every build; podman
# needs docker's format to keep a HEALTHCHECK.
ENVIRONMENT = {
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
    "DOCKER_BUILDKIT": "1",
    "BUILDAH_FORMAT": "docker",
}
# What the builder and its sandbox may do. Both begin as root: the builder to become the owner of
# the project's files, the sandbox to give every job an account of its own. No program in them
# becomes root again. label=disable: where SELinux is on, a bind mount cannot be read otherwise.
CONFINED = (
    *("--security-opt", "label=disable", "--security-opt", "no-new-privileges"),
    *("--pids-limit", "4096", "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID"),
)
# The jobs of the builder that make a lock, for which pip runs code that needs the package index.
LOCKING = {"lock", "upgrade"}
# The folder in which the two meet.
MEETING = "/sandbox"
# A file with nothing in it but a comment, to mount over files with secrets.
BLANK = DEPLOY / "slipway" / "vendor" / "tomli" / "py.typed"
# Where the composed dockerfiles are.
BUILD_DOCKERFILE = ROOT / ".deploy" / "build.docker"
RUN_DOCKERFILE = ROOT / ".deploy" / "run.docker"


def environment(docker: str) -> dict[str, str]:
    """Return the variables that docker commands run with beside those of this process."""
    found = dict(ENVIRONMENT)
    configuration = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if os.environ.get("BUILDX_BUILDER") or (configuration / "buildx" / "current").exists():
        # A builder in a container of its own does not see local images; the engine's own does.
        with contextlib.suppress(engine.EngineError):  # podman
            found["BUILDX_BUILDER"] = engine.ask(docker, "context", "show").strip()
    return found


def passed(names: Sequence[str], values: Mapping[str, str] = os.environ) -> list[str]:
    """Return those of some variables that have a value."""
    return [name for name in names if values.get(name)]


class Images:
    """The command lines for one project, as its settings are."""

    def __init__(self, settings: dict[str, str]) -> None:
        """Read nothing yet; the settings are those of settings/load.py."""
        self.settings = settings
        self.docker = settings["DOCKER"]
        self.project = settings["PROJECT"]
        self.images = settings["IMAGES"]
        self.no_cache = bool(os.environ.get("DEPLOY_NO_CACHE"))
        platform = settings["PLATFORM"]
        self.platform = ["--platform", platform] if platform else []

    @functools.cached_property
    def is_podman(self) -> bool:
        """Whether the docker command is podman's."""
        return engine.is_podman(self.docker)

    @property
    def wheelhouse(self) -> Path:
        """The folder of this interpreter's and platform's wheels."""
        return ROOT / self.settings["WHEELHOUSE"]

    def build(self, title: str, *words: str) -> list[str]:
        """Return a docker build; the images that have the same title are pruned afterwards."""
        arguments = ["--no-cache"] if self.no_cache else []
        for name in passed(PROXIES):
            # By name only: an address may have a password, which a process list would show.
            arguments += ["--build-arg", name]
        arguments += ["--label", f"org.opencontainers.image.title={title}"]
        return engine.command(self.docker, "build", *arguments, *self.platform, *words)

    def prune(self, title: str) -> list[str]:
        """Return what removes the images that had a title before and have no name any more."""
        label = f"label=org.opencontainers.image.title={title}"
        return engine.command(self.docker, "image", "prune", "--force", "--filter", label)

    def _of_both(self, pin: Pin, packages: Sequence[str]) -> list[str]:
        """Return the build arguments of base and tools, which are made of the same packages."""
        return [
            *("--build-arg", f"BASE_IMAGE={pin.reference}"),
            *("--build-arg", f"SOURCE_DATE_EPOCH={pin.epoch}"),
            *("--build-arg", f"PYTHON={self.settings['PYTHON']}"),
            *("--build-arg", f"RUN_PACKAGES={' '.join(packages)}"),
        ]

    def base(self, pin: Pin, packages: Sequence[str]) -> list[str]:
        """Return the build of the base image; packages are Debian's, to run with."""
        file = str(DEPLOY / "base.docker")
        words = ("--tag", f"{self.images}-base", "--file", file, *self._of_both(pin, packages))
        return self.build(f"{self.project}-base", *words, str(DEPLOY))

    def _with_tools(self, title: str, pin: Pin, packages: Sequence[str], *words: str) -> list[str]:
        return self.build(
            title,
            *words,
            *("--file", str(BUILD_DOCKERFILE), *self._of_both(pin, packages)),
            *("--build-arg", f"BASE={self.images}-base"),
            *("--secret", "id=pip.conf,env=PIP_CONF", str(DEPLOY)),
        )

    def tools(self, pin: Pin, packages: Sequence[str]) -> list[str]:
        """Return the build of the tools: the base with pip."""
        tag = ("--tag", f"{self.images}-builder:tools", "--target", "tools")
        return self._with_tools(f"{self.project}-tools", pin, packages, *tag)

    def builder(
        self, pin: Pin, packages: Sequence[str], build_packages: Sequence[str]
    ) -> list[str]:
        """Return the build of the builder; build_packages are Debian's, to compile with."""
        return self._with_tools(
            f"{self.project}-builder",
            pin,
            packages,
            *("--tag", f"{self.images}-builder"),
            *("--build-arg", f"BUILD_PACKAGES={' '.join(build_packages)}"),
        )

    def run(self, *words: str) -> list[str]:
        """Return a build of run.docker, as far as words ask for."""
        return self.build(
            self.project,
            *("--file", str(RUN_DOCKERFILE), "--build-arg", f"BASE={self.images}-base"),
            *("--build-arg", f"TOOLS={self.images}-builder:tools"),
            *("--build-context", f"deploy={DEPLOY}"),
            *("--build-context", f"lock-copy={lock_copy.FOLDER}"),
            *(("--build-arg", "RUN_CA=yes") if self.settings["RUN_CA"] == "yes" else ()),
            *words,
            str(self.wheelhouse),
        )

    def run_image(self, commit: Commit, pin: Pin) -> list[str]:
        """Return the build of the whole run image."""
        settings = self.settings
        tag = settings["TAG"]
        labels = {
            "version": tag or self.version(),
            "revision": commit.revision,
            "created": commit.created,
            "base.name": settings["BASE_IMAGE"],
            "base.digest": pin.pin.rpartition("@")[2],
        }
        words = ["--tag", f"{self.images}-run"]
        words += ["--tag", f"{self.images}-run:{tag}"] if tag else []
        words += ["--build-arg", f"SOURCE_DATE_EPOCH={commit.epoch}"]
        for name in ("COMMAND", "COMMANDS"):
            words += ["--build-arg", f"{name}={settings[name]}"]
        words += ["--build-arg", f"PORT={settings['IMAGE_PORT']}"]
        words += ["--build-arg", f"HEALTH={settings['HEALTH']}"]
        for name, value in labels.items():
            words += ["--label", f"org.opencontainers.image.{name}={value}"]
        return self.run(*words)

    def version(self) -> str:
        """Return the application's version, as its wheel in the wheelhouse says."""
        listing = self.wheelhouse / "app" / "requirements.txt"
        text = listing.read_text(encoding="utf-8") if listing.is_file() else ""
        found = re.findall(r"^[^#=][^=]*==(\S+) ", text, re.M)
        return found[-1] if found else ""

    def in_builder(self, image: str, *words: str, meeting: str = "") -> list[str]:
        """Return a run of the builder container (`builder` or `builder:tools`) on the project.

        `meeting` is the name of a folder in which its sandbox will connect.
        """
        command = ["run", "--rm", *self.platform]
        settings = {**os.environ, **self.settings}
        for name in passed(
            (*PROXIES, *network.PIP_SETTINGS, "VERBOSE", "SCM_VERSION", "PROJECT", "FILES"),
            settings,
        ):
            command += ["--env", name]
        command += [*CONFINED, "--mount", f"{engine.bind(ROOT, '/application')},readonly"]
        command += self._hidden()
        if not LOCKING.intersection(words):  # they only print a lock
            command += ["--mount", engine.bind(self.wheelhouse, "/wheelhouse")]
        command += ["--mount", f"{engine.bind(DEPLOY / 'ca', '/ca')},readonly"]
        cache = os.environ.get("DEPLOY_CACHE") or "wheelhouse-cache"
        command += ["--mount", f"type=volume,source={cache},target=/cache"]
        if meeting:
            command += ["--mount", f"type=volume,source={self.sandbox},target={MEETING}"]
            words = ("--sandbox", f"{MEETING}/{meeting}", *words)
        return engine.command(self.docker, *command, f"{self.images}-{image}", *words)

    @property
    def sandbox(self) -> str:
        """The volume in which the builder and its sandbox find each other; it keeps nothing."""
        return f"{self.images}-sandbox"

    def in_sandbox(self, image: str, job: str, meeting: str) -> list[str]:
        """Return a run of the sandbox for a job of the builder, in the same image.

        It has neither the project nor the cache, and no network unless a lock is made.
        """
        command = ["run", "--rm", *self.platform, *CONFINED]
        for capability in ("CHOWN", "DAC_OVERRIDE"):  # to hand out folders, and to remove them
            command += ["--cap-add", capability]
        if self.settings["BUILD_MEMORY"]:
            command += ["--memory", self.settings["BUILD_MEMORY"]]
        names: list[str] = ["VERBOSE"]
        if job in LOCKING:
            names += network.PIP_SETTINGS
        if job in LOCKING or self.settings["BUILD_NETWORK"] == "yes":
            names += PROXIES
            command += ["--mount", f"{engine.bind(DEPLOY / 'ca', '/ca')},readonly"]
        else:
            command += ["--network", "none"]
        for name in passed(names):
            command += ["--env", name]
        command += ["--mount", f"type=volume,source={self.sandbox},target={MEETING}"]
        words = ("sandbox", "--sandbox", f"{MEETING}/{meeting}")
        return engine.command(self.docker, *command, f"{self.images}-{image}", *words)

    def _hidden(self) -> list[str]:
        """Return mounts that hide files with secrets from the builder, which no wheel is made of.

        The builder passes on a copy of the application's files to the code that builds run. git's
        version is passed on as well. A .env in FILES is packed, though.
        """
        names = [".git", "deploy/run.env"]
        if not {".", "./", ".env", "./.env"}.intersection(self.settings.get("FILES", "").split()):
            names.append(".env")
        found = []
        for name in names:
            path, target = ROOT / name, f"/application/{name}"
            if path.is_dir():
                found += ["--mount", f"type=tmpfs,target={target}"]
            elif path.is_file() and not path.is_symlink():
                found += ["--mount", f"{engine.bind(BLANK, target)},readonly"]
        return found

    def find_file(self, pattern: str) -> list[str]:
        """Return what lists the Debian packages whose files fit a pattern, a line a file."""
        command = ["run", "--rm", "--user", "0:0", "--security-opt", "label=disable"]
        for name in passed(PROXIES):
            command += ["--env", name]
        command += ["--mount", f"{engine.bind(DEPLOY / 'ca', '/mnt/ca')},readonly"]
        place = DEPLOY / "slipway" / "image" / "base"
        command += ["--mount", f"{engine.bind(place, '/mnt/base')},readonly"]
        cache = os.environ.get("DEPLOY_CACHE") or "wheelhouse-cache"
        command += ["--mount", f"type=volume,source={cache},target=/cache", "--entrypoint", "sh"]
        image = f"{self.images}-builder:tools"
        return engine.command(self.docker, *command, image, "/mnt/base/apt.sh", "find", pattern)


class Commit:
    """The commit that an image is built of, and the times that it is dated by."""

    def __init__(self, revision: str, epoch: str, created: str) -> None:
        """Keep the revision (with -dirty behind it), seconds since 1970, and an ISO 8601 time."""
        self.revision = revision
        self.epoch = epoch
        self.created = created


def build_dockerfile() -> str:
    """Return build.docker below base.docker, whose stage of packages it uses."""
    parts = (DEPLOY / "base.docker", DEPLOY / "build.docker")
    return "ARG BASE\n" + "".join(part.read_text(encoding="utf-8") for part in parts)


def run_dockerfile(
    base_environment: str, has_files: bool, is_podman: bool, trusts_ca: bool = False
) -> str:
    """Return run.docker with the base image's environment and the working directory.

    An image that trusts deploy/ca says so to libraries that have certificates of their own.
    """
    text = (DEPLOY / "run.docker").read_text(encoding="utf-8")
    if is_podman:  # its dockerfiles have no such option
        text = re.sub(r" --start-interval=\S*", "", text)
    text += f"{base_environment}\n"
    if trusts_ca:
        text += "".join(f"ENV {name}={network.BUNDLE}\n" for name in network.RUN_VARIABLES)
    # A shell or a command beside the application begins where the application does.
    return text + ("WORKDIR /appenv/app\n" if has_files else "")


def put(path: Path, text: str) -> None:
    """Write a composed dockerfile as a whole; another build may be reading it."""
    make_own_folder(path.parent)
    files.write(path, text)
