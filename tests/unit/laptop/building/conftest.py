"""A project whose images are files and whose docker is a shell script."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway.laptop.building import pipeline, steps
from slipway.laptop.building.record import Record
from slipway.laptop.building.steps import Steps
from slipway.laptop.settings import load
from tests.conftest import Project
from tests.unit.conftest import SETTINGS, copy_of_deploy, shell_script, stand_in

# As long as nothing has to be compiled there is no builder.
STEPS = ("base", "tools", "wheels", "image")
IMAGES = {"base": "base", "tools": "builder:tools", "builder": "builder", "image": "run"}
BASE = "debian:trixie-slim"
PINNED = f"debian@sha256:{'a' * 64}"
DAY, ANOTHER_DAY = "2026-01-02T03:04:05Z", "2026-02-03T04:05:06Z"
LOCK = f"# Locked for CPython 3.11 by `make lock`;\none==1.0 --hash=sha256:{'0' * 64}\n"


# The engine itself is the container tests' part: here images are files, each with what is said of
# it, and a build makes those that it names, one argument a line in the log. While ../hold is there
# nothing ends. A run reports as the builder does; ../meanwhile may say what happens then, and set
# the outcome. ../building may say what happens in a build. ../log has all builds and runs, without
# those of the sandbox, which are in ../sandboxes.
DOCKER = """\
cd '{images}' || exit 1
case "$1 $*" in
"image image inspect"*)
    echo "$*" >>../inspected
    shift 2
    list=
    for name; do
        read -r said <"$name" 2>/dev/null || {{
            echo "No such image: $name" >&2
            exit 1
        }}
        list="$list,$said"
    done
    echo "[${{list#,}}]"
    ;;
"version "*) echo linux/amd64 ;;
"run run "*" sandbox --sandbox "*) echo "$*" >>../sandboxes ;;
"run "*)
    echo "$*" >>../ran
    echo "$*" >>../log
    while [ -e ../hold ]; do sleep 0.02; done
    outcome=done
    [ ! -e ../meanwhile ] || . ../meanwhile
    printf '{{"event":"result","outcome":"%s","add":[],"find":[]}}\n' "$outcome"
    [ $outcome = "done" ]
    ;;
"build "*)
    printf '%s\\n' "$@" >../built
    echo "$*" >>../log
    echo "$PIP_CONF" >>../pip.conf
    [ ! -e ../building ] || . ../building
    while [ -e ../hold ]; do sleep 0.02; done
    while [ $# -gt 0 ]; do
        [ "$1" != --iidfile ] || echo the-layer >"$2"
        [ "$1" != --tag ] || echo "{{\\"Id\\":\\"built by $$\\"}}" >"$2"
        shift
    done
    ;;
"buildx buildx version"*) [ ! -e ../no-buildx ] ;;
*) echo "$@" >>../asked ;;
esac
"""


class Build:
    """A project whose images are files, each with what the engine says of it."""

    wheel = "-1-py3-none-any.whl"

    def __init__(self, folder: Path) -> None:
        """Use a folder with a project and images in it."""
        self.project = Project(folder / "a place", "")
        self.images = folder / "images"
        self.unread: list[str] | None = None
        stub = shell_script(folder / "docker", DOCKER.format(images=self.images))
        self.settings = f"{SETTINGS}CHECK_IMAGE := no\nDOCKER := {stub}\n"
        self.write("deploy/settings.mk", self.settings)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def image(self, name: str, identity: str, **said: object) -> None:
        """Write an image."""
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        said = {"Id": identity, "Os": "linux", "Architecture": "amd64", **said}
        path.write_text(json.dumps(said) + "\n", encoding="utf-8")

    def log(self) -> list[str]:
        """Return all builds and runs of containers so far, a line each."""
        path = self.images.parent / "log"
        return path.read_text().splitlines() if path.exists() else []

    def sandboxes(self) -> list[str]:
        """Return all runs of the sandbox so far, a line each."""
        path = self.images.parent / "sandboxes"
        return path.read_text().splitlines() if path.exists() else []

    @contextlib.contextmanager
    def inside(self, **environment: str) -> Iterator[None]:
        """Point the modules at this project, without the start of a Python for each step."""
        with pytest.MonkeyPatch.context() as patch:
            stand_in(patch, self.project.path)
            for name, value in environment.items():
                patch.setenv(name, value)
            yield

    def steps(self) -> Steps:
        """Return the steps as they are now; inside of this project."""
        return Steps(load.load(), Record.load())

    def first(self, *goals: str, **environment: str) -> tuple[str, str]:
        """Return the step that must be done next on the way to goals, and its goal."""
        with self.inside(**environment):
            return self.steps().first(goals)

    def next(self, goal: str = "image", **environment: str) -> str:
        """Return the step that must be done next."""
        return self.first(goal, **environment)[0]

    def sources(self) -> str:
        """Return the SHA-256 of the application."""
        with self.inside():
            return steps.sources()

    def fail(self, *words: str) -> str:
        """Run a command, which must fail with one line."""
        done = self.project.run(sys.executable, "-S", "deploy/slipway", *words)
        lines = [line for line in done.stdout.splitlines() if line not in STARTS]
        assert (done.returncode, len(lines)) == (1, 1), done.stdout
        assert lines[0].startswith("slipway: ")
        return lines[0]

    def build(self, *goals: str, quiet: bool = True, **environment: str) -> str:
        """Build as `make` does, in this process; return what is printed."""
        said = io.StringIO()
        with self.inside(**environment), contextlib.redirect_stdout(said):
            pipeline.make(load.load(), goals or ("image",), quiet)
        return said.getvalue()

    def do(self, step: str, *edits: Callable[[], object], **environment: str) -> None:
        """Do a step as the pipeline does: look at its inputs, make what it makes, then record it.

        Edits happen meanwhile.
        """
        with self.inside(**environment):
            settings = load.load()
            inputs = Steps(settings, Record.load()).inputs(step)
            self.make(step, **environment)
            for edit in edits:
                edit()
            Steps(settings, Record.load()).finish(step, inputs)

    def make(self, step: str, **environment: str) -> None:
        """Make what a step makes."""
        if step in IMAGES:
            self.image(f"shop-{IMAGES[step]}", f"{step} {uuid.uuid4()}")
        elif step != "check":
            wheelhouse = f"wheelhouse/{environment.get('PYTHON', 'python3')}"
            for part in ("deps", "app"):
                lock = self.project.path / "requirements.txt"
                text = lock.read_bytes() if lock.exists() else b""
                sum_ = self.sources() if part == "app" else hashlib.sha256(text).hexdigest()
                pin = f"{part}==1.0 --hash=sha256:{sum_}\n"
                self.write(f"{wheelhouse}/{part}/requirements.txt", f"# made\n{pin}")
                self.write(f"{wheelhouse}/{part}/{part}{self.wheel}", "a wheel")
            if self.unread is not None:
                self.write(f"{wheelhouse}/unread.json", json.dumps(self.unread))

    def finish(self, **environment: str) -> list[str]:
        """Do what must be done, as the pipeline does; return the steps that this took."""
        did: list[str] = []
        while step := self.next(**environment):
            assert len(did) <= len(STEPS) + 1
            self.do(step, **environment)
            did.append(step)
        return did


# What a build prints when it begins a step that cannot be done.
STARTS = ("slipway: base: python3 on debian:trixie-slim, with openssl",)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A small application that is locked, and a base image; nothing is done yet."""
    return start(tmp_path)


def start(folder: Path) -> Build:
    """Make such a project."""
    copy_of_deploy(folder / "a place")
    (folder / "images").mkdir()
    build = Build(folder)
    build.write("requirements.txt", LOCK)
    build.write("pyproject.toml", "[project]\nname = 'shop'\n")
    build.write("src/shop/__init__.py", "")
    build.image(BASE, "from")
    return build


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project where all is done."""
    folder = tmp_path_factory.mktemp("finished")
    assert start(folder).finish() == list(STEPS)
    return folder


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Build:
    """A project of one's own where all is done."""
    shutil.copytree(finished, tmp_path / "done")
    return Build(tmp_path / "done")


def pinned(build: Build, pin: str = PINNED, platform: str = "any", date: str = DAY) -> str:
    """Write a line of base.lock; gives it."""
    line = f"{BASE} {platform} {pin} {date}\n"
    build.write("deploy/base.lock", line)
    return line


@pytest.fixture
def real(done: Build) -> Build:
    """A project that is really built, with an engine in which builds leave images, and a pin."""
    pinned(done)
    done.image(PINNED, "from")
    done.finish()
    return done
