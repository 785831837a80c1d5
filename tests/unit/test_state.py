"""Which step must be done next: content decides, never a time."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import sys
import uuid
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.unit.conftest import SETTINGS, copy_of_deploy, shell_script

settings = importlib.import_module("settings")
state = importlib.import_module("state")

STEPS = ("base", "builder", "wheels", "image")
LOCK = f"# Locked for CPython 3.11 by `make lock`;\none==1.0 --hash=sha256:{'0' * 64}\n"


class Build:
    """A project whose images are files, each with its ID in it."""

    def __init__(self, folder: Path) -> None:
        """Take a folder with a project and images in it."""
        self.project = Project(folder / "a place", "")
        self.images = folder / "images"
        # The engine itself is the container tests' part.
        stub = shell_script(
            folder / "docker",
            "shift 2; list=\n"
            f"for name; do read -r id <'{self.images}'/\"$name\" ||"
            ' { echo "No such image: $name" >&2; exit 1; }\n'
            'list="$list,{\\"Id\\":\\"$id\\"}"; done; echo "[${list#,}]"',
        )
        self.write("deploy/settings.mk", f"{SETTINGS}DOCKER := {stub}\n")

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def image(self, name: str, identity: str) -> None:
        """Let an image be there."""
        (self.images / name).write_text(identity + "\n")

    def ask(self, *words: str, **environment: str) -> str:
        """Do what state.py does in this project, without the start of a Python for each step."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
            for module in (settings, state):
                patch.setattr(module, "DEPLOY", self.project.path / "deploy")
            patch.setattr(state, "ROOT", self.project.path)
            patch.setattr(state, "STATE", self.project.path / ".deploy" / "state.json")
            for name, value in environment.items():
                patch.setenv(name, value)
            assert state.main([*words]) == 0
        return said.getvalue().strip()

    def fail(self, *words: str) -> str:
        """Run state.py, which must fail with one line."""
        done = self.project.run(sys.executable, "deploy/state.py", *words)
        assert (done.returncode, done.stdout.count("\n")) == (1, 1), done.stdout
        assert done.stdout.startswith("state.py: ")
        return done.stdout

    def next(self, **environment: str) -> str:
        """Name the step that must be done next."""
        return self.ask("next", "image", **environment)

    def do(self, step: str, **environment: str) -> None:
        """Do a step as build.sh does: make what it makes, then record it."""
        if step == "wheels":
            for part in ("deps", "app"):
                folder = f"wheelhouse/{environment.get('PYTHON', 'python3')}/{part}"
                pin = f"{part}==1.0 --hash=sha256:{self.ask('sources')}\n"
                self.write(f"{folder}/requirements.txt", f"# made\n{pin}")
                self.write(f"{folder}/{part}.whl", "")
        else:
            name = {"image": "run"}.get(step, step)
            self.image(f"shop-{name}", f"{step} {uuid.uuid4()}")
        self.ask("done", step, **environment)

    def finish(self, **environment: str) -> list[str]:
        """Do what must be done; gives the steps that this took."""
        did: list[str] = []
        while step := self.next(**environment):
            assert len(did) < len(STEPS)
            self.do(step, **environment)
            did.append(step)
        return did


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
    build.image("debian:trixie-slim", "from")
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


def test_every_step_is_done_once(done: Build) -> None:
    """The second time there is nothing to do, for any goal."""
    assert [done.ask("next", goal) for goal in STEPS] == ["", "", "", ""]


def test_a_goal_needs_only_the_steps_before_it(build: Build) -> None:
    """`make builder` asks for no lock."""
    build.do("base")
    assert build.ask("next", "base") == ""
    assert build.ask("next", "builder") == "builder"


def test_times_decide_nothing(done: Build) -> None:
    """A touched file, or a fresh checkout of the same commit, rebuilds nothing."""
    for path in done.project.path.rglob("*"):
        os.utime(path, (1, 1))
    assert done.next() == ""


@pytest.mark.parametrize(
    ("name", "text", "steps"),
    [
        ("deploy/base.docker", "FROM x\n", STEPS),
        ("deploy/apt.sh", "#!/bin/sh\n", STEPS),
        ("deploy/build.docker", "FROM x\n", STEPS[1:3]),
        ("deploy/wheels.py", "# x\n", STEPS[1:3]),
        ("deploy/run.docker", "FROM x\n", STEPS[3:]),
        ("requirements.txt", LOCK + "# more\n", STEPS[2:]),
        ("src/shop/__init__.py", "X = 1\n", STEPS[2:]),
        ("src/shop/new.py", "", STEPS[2:]),
        ("src/shop/deploy/__init__.py", "", STEPS[2:]),
        ("src/shop/venv/__init__.py", "", STEPS[2:]),
        ("deploy/settings.mk", "{}NATIVE := openssl libffi\n", STEPS),
        ("deploy/settings.mk", "{}NATIVE := openssl apt:libx-dev\n", STEPS[1:3]),
        ("deploy/settings.mk", "{}COMMAND := another\n", STEPS[3:]),
        ("deploy/settings.mk", "{}PORT := 9000\n", STEPS[3:]),
        ("deploy/settings.mk", "{}HEALTH := tcp\n", STEPS[3:]),
    ],
)
def test_a_change_rebuilds_what_is_made_of_it(
    done: Build, name: str, text: str, steps: tuple[str, ...]
) -> None:
    """That step and what is made of it; wheels that come out as they were make no other image."""
    path = done.project.path / name
    done.write(name, text.replace("{}", path.read_text() if path.exists() else ""))
    assert done.finish() == list(steps)


@pytest.mark.parametrize(
    "name",
    [
        *("deploy/settings.mk", "deploy/README.md", "deploy/ca/proxy.crt", ".git/index"),
        *("wheelhouse/x.whl", "appenv/x", "venv/x", ".venv/x", "src/shop/__pycache__/x.pyc"),
        *(".pytest_cache/x", "src/shop.egg-info/PKG-INFO", "web/node_modules/x/index.js"),
    ],
)
def test_what_goes_into_nothing_rebuilds_nothing(done: Build, name: str) -> None:
    """A comment among the settings, a cache, a repository's own files."""
    path = done.project.path / name
    done.write(name, f"{path.read_text() if path.exists() else ''}\n# more\n")
    assert done.next() == ""


def test_a_branch_that_is_left_and_returned_to_rebuilds_nothing(done: Build) -> None:
    """What was made last is still what goes with the first branch's content."""
    path = done.project.path / "src/shop/__init__.py"
    done.write("src/shop/__init__.py", "X = 1\n")
    done.write("src/shop/more.py", "")
    assert done.next() == "wheels"
    (done.project.path / "src/shop/more.py").unlink()
    path.write_text("")
    assert done.next() == ""


def test_the_port_on_the_command_line_rebuilds_nothing(done: Build) -> None:
    """`make run PORT=9000` publishes elsewhere."""
    assert done.next(PORT="9000") == ""


def test_a_mode_or_a_link_is_content(done: Build) -> None:
    """A script that may be run, or a link to another folder, makes another wheel."""
    done.write("src/shop/one/x", "")
    done.write("src/shop/two/x", "")
    link = done.project.path / "src/shop/link"
    link.symlink_to("one")
    done.finish()
    script = done.project.path / "src/shop/__init__.py"
    script.chmod(0o755)
    assert done.finish() == ["wheels", "image"]
    link.unlink()
    link.symlink_to("two")
    assert done.next() == "wheels"


def test_a_name_that_is_no_text_is_a_name(done: Build) -> None:
    """Old archives have such names."""
    before = done.ask("sources")
    path = os.fsencode(done.project.path) + b"/src/shop/caf\xe9"
    with open(path, "w"):
        pass
    assert done.ask("sources") != before


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("shop-base", STEPS),
        ("shop-builder", STEPS[1:3]),
        ("shop-run", STEPS[3:]),
    ],
)
def test_an_image_that_is_gone_is_made_again(
    done: Build, name: str, steps: tuple[str, ...]
) -> None:
    """`docker image prune` took it."""
    (done.images / name).unlink()
    assert done.finish() == list(steps)


def test_an_image_that_somebody_else_made_is_made_again(done: Build) -> None:
    """Another project of that name overwrote it, or a new base image was pulled."""
    done.image("shop-run", "another")
    assert done.finish() == ["image"]
    done.image("debian:trixie-slim", "a newer one")
    assert done.finish() == list(STEPS)


@pytest.mark.parametrize("name", ["deps", "app/app.whl", "app/requirements.txt", "deps/deps.whl"])
def test_wheels_that_are_gone_are_built_again(done: Build, name: str) -> None:
    """Somebody tidied the wheelhouse."""
    path = done.project.path / "wheelhouse" / "python3" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert done.next() == "wheels"


def test_another_interpreter_builds_all_anew(done: Build) -> None:
    """In a wheelhouse of its own."""
    assert done.finish(PYTHON="pypy3") == list(STEPS)
    assert done.project.has("wheelhouse/pypy3")
    assert done.project.has("wheelhouse/python3")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"base": 3}', b"\xff\xfe", b"null"])
def test_a_broken_record_means_that_nothing_is_known(done: Build, data: bytes) -> None:
    """Whatever happened to the file, the answer is to look at everything again."""
    (done.project.path / ".deploy" / "state.json").write_bytes(data)
    assert done.next() == "base"
    assert done.ask("get", "push", "digest") == ""


def test_a_record_that_cannot_be_read_is_named(done: Build) -> None:
    """One line, and no traceback."""
    path = done.project.path / ".deploy" / "state.json"
    path.unlink()
    path.mkdir()
    assert str(path) in done.fail("next", "image")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("requirements.txt", "one==1\n".encode("utf-16"), "requirements.txt is not UTF-8 text"),
        ("deploy/settings.mk", b"nonsense\n", "deploy/settings.mk, line 1: write"),
        ("deploy/settings.mk", b"PROJECT = a\nCOMMAND = a\nNATIVE = opensl\n", "did you mean"),
        ("deploy/settings.mk", b"PROJECT = a\nCOMMAND = a\nDOCKER = /no/docker\n", "install"),
    ],
)
def test_what_cannot_be_looked_at_is_said_in_a_line(
    done: Build, name: str, data: bytes, says: str
) -> None:
    """Each ends with the file or setting to change, and no traceback."""
    docker = settings.parse((done.project.path / "deploy/settings.mk").read_text(), {})["DOCKER"][0]
    (done.project.path / name).write_bytes(data)
    if b"NATIVE" in data:
        done.write(name, f"{data.decode()}DOCKER := {docker}\n")
    assert says in done.fail("next", "image")


@pytest.mark.parametrize("job", [["lock"], ["sources"]])
def test_a_lock_that_is_no_text_is_said_in_a_line(build: Build, job: list[str]) -> None:
    """venv.sh and lock.sh ask for these alone."""
    (build.project.path / "requirements.txt").write_bytes(b"# caf\xe9\n")
    assert "requirements.txt is not UTF-8 text: save it as UTF-8" in build.fail(*job)


def test_the_scripts_run_it_as_a_program(build: Build) -> None:
    """The first step, on standard output and alone."""
    done = build.project.run(sys.executable, "deploy/state.py", "next", "image")
    assert (done.returncode, done.stdout) == (0, "base\n")


def test_a_record_is_kept_and_given(build: Build) -> None:
    """Values may have any characters; the folder asks git to leave it alone."""
    build.ask("set", "push", "digest=sha256:0", "name=a=b c")
    assert build.ask("get", "push", "digest") == "sha256:0"
    assert build.ask("get", "push", "name") == "a=b c"
    assert build.ask("get", "push", "other") == ""
    folder = build.project.path / ".deploy"
    assert sorted(os.listdir(folder)) == [".gitignore", "state.json"]
    assert (folder / ".gitignore").read_text().endswith("*\n")
    assert json.loads((folder / "state.json").read_text())["push"]["name"] == "a=b c"


@pytest.mark.parametrize(
    ("text", "name"), [(LOCK, "requirements.txt"), ("one\n", "requirements.lock")]
)
def test_the_scripts_are_told_where_the_lock_is(build: Build, text: str, name: str) -> None:
    """Beside the application, never in place of somebody's own list."""
    build.write("requirements.txt", text)
    assert build.ask("lock") == str(build.project.path / name)
