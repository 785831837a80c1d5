"""The builder's command line, with real wheels and a folder as a package index."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from slipway.builder import __main__ as wheels
from slipway.builder import wheelhouse
from slipway.shared import files, lockfile
from slipway.shared.native import build_errors
from tests.unit.builder.test_build_from_source import MAKER, pyproject
from tests.unit.builder.test_package_index import make_sdist, pin, pip_here
from tests.unit.conftest import DEPLOY, make_wheel
from tests.unit.shared.test_network import CERTIFICATE

__all__ = ["pip_here"]  # a fixture


# A build backend that needs nothing but itself, and tells what it was given.
BACKEND = f"""\
from __future__ import annotations
import base64, hashlib, zipfile
from pathlib import Path

{inspect.getsource(make_wheel)}
def build_wheel(folder, settings=None, metadata=None):
    Path("written-by-the-build").touch()
    files = sorted(str(path) for path in Path().rglob("*") if path.is_file())
    requires = Path("requires").read_text().splitlines()
    return make_wheel(Path(folder), "shop", "1.0", requires, seen="\\n".join(files)).name
"""
DONE = {"event": "result", "outcome": "done", "add": [], "find": []}
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "shop"
version = "1.0"
"""


class Workshop:
    """An application, an empty wheelhouse, and wheels for a lock."""

    def __init__(self, folder: Path) -> None:
        """Create the folders."""
        self.application = folder / "my application"
        self.wheelhouse = folder / "wheelhouse"
        self.index = folder / "index"
        self.ca = folder / "ca"
        self.cache = folder / "cache"
        self.notes = folder / "notes"
        self.temporary = folder / "tmp"
        for each in (self.application, self.wheelhouse, self.index, self.ca, self.temporary):
            each.mkdir()

    def locked(self, *names: str, header: str = "") -> str:
        """Write wheels of some names, and return their pins."""
        published = [make_wheel(self.index, name, "2.0") for name in names]
        return f"{header}{wheelhouse.listing(published)}"

    def lock(self, *names: str) -> None:
        """Write a lock with some names."""
        header = lockfile.HEADER.format(interpreter=lockfile.interpreter()) + "\n"
        self.write("requirements.txt", self.locked(*names, header=header))

    def write(self, name: str, text: str) -> Path:
        """Write a file of the application."""
        path = self.application / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def lock_sources(self, *names: str, more: str = "", **files: str) -> None:
        """Write a lock with source distributions that contain their back end and some files."""
        text = lockfile.HEADER.format(interpreter=lockfile.interpreter()) + "\n" + more
        for name in names:
            tree = {"pyproject.toml": pyproject(), "own.py": MAKER, "name": f"{name} 1.0", **files}
            text += pin(make_sdist(self.index, name, "1.0", tree)).text + "\n"
        self.write("requirements.txt", text)

    def distribution(self, *requires: str) -> None:
        """Write an application from which a wheel can be built."""
        self.write("pyproject.toml", PYPROJECT)
        self.write("backend.py", BACKEND)
        self.write("requires", "\n".join(requires))

    def arguments(self, *arguments: object) -> list[str]:
        """Return the command line with these folders."""
        return [
            *map(str, arguments),
            *("--application", str(self.application), "--wheelhouse", str(self.wheelhouse)),
            *("--ca", str(self.ca), "--cache", str(self.cache)),
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment with a folder as a package index."""
        own = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_CONFIG_FILE": os.devnull,
            "TMPDIR": str(self.temporary),
            "NOTES": str(self.notes),
        }
        # back ends write bytecode, as in the builder
        return {**{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}, **own}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Run the builder as its image's entry point does, without any package index."""
        return subprocess.Popen(
            # -B: the template's own modules get no bytecode
            [sys.executable, "-B", "-m", "slipway.builder", *self.arguments(*arguments)],
            env={**self.environment(), "PYTHONPATH": str(DEPLOY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def events(self, *arguments: object) -> list[dict[str, Any]]:
        """Run the builder with --events; return the events, the last of which is the result."""
        done = self.run("--events", *arguments)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [each["event"] for each in found].index("result") == len(found) - 1
        assert done.returncode == (found[-1]["outcome"] != "done")
        return found

    def outcome(self, *arguments: object) -> str:
        """Run the builder with --events; return the outcome."""
        return str(self.events(*arguments)[-1]["outcome"])

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the builder in this process, which has imported pip's many modules already."""
        stdout, stderr = io.StringIO(), io.StringIO()
        umask = os.umask(0o022)
        folders = importlib.import_module("pip._internal.index.sources")._FlatDirectorySource
        with (
            # what pip keeps of a folder of files for its process
            mock.patch.object(folders, "_paths_to_urls", {}),
            mock.patch.dict(os.environ, self.environment(), clear=True),
            mock.patch.object(tempfile, "tempdir", str(self.temporary)),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            warnings.catch_warnings(),
        ):
            status = wheels.main(self.arguments(*arguments))
        os.umask(umask)
        return subprocess.CompletedProcess([], status, stdout.getvalue(), stderr.getvalue())

    def noted(self) -> list[str]:
        """Return the calls of back ends since the last call of this method, sorted."""
        text = self.notes.read_text() if self.notes.exists() else ""
        self.notes.write_text("")
        return sorted(text.splitlines())

    def unread(self) -> set[str]:
        """Return the files that do not affect the application's wheel."""
        return set(json.loads((self.wheelhouse / "unread.json").read_text()))

    def files(self, part: str) -> dict[str, int]:
        """Return the names of files in a part of the wheelhouse, with their inode numbers."""
        return {path.name: path.stat().st_ino for path in (self.wheelhouse / part).iterdir()}


@pytest.fixture
def workshop(pip_here: None, tmp_path: Path) -> Workshop:
    """A workshop with an empty application."""
    return Workshop(tmp_path)


def test_a_list_of_requirements_gives_exactly_its_wheels(workshop: Workshop) -> None:
    """Both folders list their wheels with their SHA-256 and contain no other files."""
    workshop.write("requirements.in", "one\ntwo\n")
    workshop.lock("one", "two-b")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert set(workshop.files("deps")) == {
        *("requirements.txt", "one-2.0-py3-none-any.whl", "two_b-2.0-py3-none-any.whl"),
    }
    assert set(workshop.files("app")) == {"requirements.txt"}
    assert set(os.listdir(workshop.wheelhouse)) == {"deps", "app", "unread.json"}
    listing = (workshop.wheelhouse / "deps" / "requirements.txt").read_text()
    assert [pin.name for pin in lockfile.pins(listing)] == ["one", "two-b"]


def test_the_same_lock_builds_nothing_twice(workshop: Workshop) -> None:
    """A comment or another order of lines does not change the lock.

    The laptop learns that the dependencies are new, so that it can continue with them.
    """
    workshop.write("requirements.in", "one\n")
    workshop.lock("one")
    none = [{"event": "sources", "names": []}, {"event": "built", "sums": {}}]
    assert workshop.events() == [*none, {"event": "dependencies"}, DONE]
    before = workshop.files("deps")
    lock = workshop.application / "requirements.txt"
    lock.write_text(lock.read_text() + "    # via somebody\n")
    done = workshop.run("--events")
    assert done.returncode == 0
    assert [json.loads(line) for line in done.stdout.splitlines()] == [*none, DONE]
    assert "1 dependencies are there already" in done.stderr
    assert workshop.files("deps") == before


def test_another_lock_leaves_no_stale_wheel(workshop: Workshop) -> None:
    """The whole folder is replaced."""
    workshop.write("requirements.in", "one\n")
    workshop.lock("one")
    assert workshop.run().returncode == 0
    workshop.lock("two")
    assert workshop.run().returncode == 0
    assert set(workshop.files("deps")) == {"requirements.txt", "two-2.0-py3-none-any.whl"}


def test_a_download_with_another_sum_leaves_the_wheelhouse_as_it_was(workshop: Workshop) -> None:
    """An incomplete folder never replaces a complete one."""
    workshop.write("requirements.in", "one\n")
    workshop.lock("one")
    assert workshop.run().returncode == 0
    before = workshop.files("deps"), workshop.files("app")
    workshop.lock("one", "two")
    make_wheel(workshop.index, "two", "2.0", seen="something else")
    done = workshop.run()
    assert done.returncode == 1
    changed = files.sha256(workshop.index / "two-2.0-py3-none-any.whl")
    assert done.stderr.endswith(
        "builder: two-2.0-py3-none-any.whl cannot be downloaded: two-2.0-py3-none-any.whl has the"
        f" SHA-256 {changed}, which is not in the lock\n"
    )
    assert (workshop.files("deps"), workshop.files("app")) == before


def test_the_application_is_built_outside_its_tree(workshop: Workshop) -> None:
    """The source is only read; old files of an earlier build are not packed."""
    workshop.distribution()
    workshop.lock()
    stale = ["build/lib/shop/old.py", "build/bdist.linux/x", "src/shop.egg-info/SOURCES.txt"]
    ours = ["wheelhouse/x.whl", "appenv/bin/python", ".git/config", "shop/__pycache__/a.pyc"]
    kept = ["shop/venv/__init__.py", "shop/deploy/__init__.py", "build/keep.txt", "deploy/own.py"]
    for name in (*stale, *ours, *kept, "tools/deploy.mk", "tools/settings.py"):
        workshop.write(name, "")
    os.symlink("shop", workshop.application / "link")
    before = {path: path.lstat().st_mtime_ns for path in workshop.application.rglob("*")}
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert {path: path.lstat().st_mtime_ns for path in workshop.application.rglob("*")} == before
    with zipfile.ZipFile(workshop.wheelhouse / "app" / "shop-1.0-py3-none-any.whl") as wheel:
        source = wheel.read("shop.py").decode()
    seen = set(source.partition("'")[2].partition("'")[0].split("\\n"))
    own = {"pyproject.toml", "backend.py", "requires", "requirements.txt", "written-by-the-build"}
    seen = {name for name in seen if not name.startswith("__pycache__/backend.")}
    assert seen == {*kept, *own}


def test_what_the_application_asks_for_must_be_locked(workshop: Workshop) -> None:
    """The message names each requirement that is not locked, and the command to run."""
    workshop.distribution(
        *("one>=2", "two<2", "three", "Four.B ; python_version < '3'", "five ; extra == 'x'")
    )
    workshop.lock("one", "two")
    done = workshop.run()
    assert done.returncode == 1
    assert done.stderr.endswith(
        "builder: the lock does not have two<2, three, which the application requires:"
        " run make lock\n"
    )
    assert "app" not in os.listdir(workshop.wheelhouse)


def test_a_lock_of_another_interpreter_is_asked_for_anew(workshop: Workshop) -> None:
    """The outcome lets the laptop make a lock."""
    workshop.write("requirements.in", "one\n")
    header = lockfile.HEADER.format(interpreter="Other 9.9") + "\n"
    workshop.write("requirements.txt", workshop.locked("one", header=header))
    done = workshop.run("--locked")
    assert (done.returncode, done.stdout) == (1, "")
    assert workshop.outcome("--locked") == "needs-lock"
    assert f"is locked for Other 9.9 and this is {lockfile.interpreter()}" in done.stderr


@pytest.mark.parametrize("name", ["requirements.in", "requirements.txt", "pyproject.toml"])
def test_a_missing_lock_is_asked_for(workshop: Workshop, name: str) -> None:
    """The outcome is the same for every kind of application."""
    workshop.write(name, "[project]\n" if name.endswith("toml") else "one\n")
    lock = "requirements.lock" if name == "requirements.txt" else "requirements.txt"
    done = workshop.run("--locked")
    assert (done.returncode, done.stderr) == (1, f"builder: there is no lock ({lock}) yet\n")
    assert workshop.outcome("--locked") == "needs-lock"


def arrange_no_application(workshop: Workshop) -> None:
    """Remove the application."""
    workshop.application.rmdir()


def arrange_no_wheelhouse(workshop: Workshop) -> None:
    """Remove the wheelhouse."""
    workshop.wheelhouse.rmdir()


def arrange_line_without_hash(workshop: Workshop) -> None:
    """Add a line without a hash to a lock."""
    workshop.lock("one")
    lock = workshop.application / "requirements.txt"
    lock.write_text(lock.read_text() + "two==2.0\n")


def arrange_utf_16(workshop: Workshop) -> None:
    """Write the requirements in UTF-16, as PowerShell does."""
    (workshop.application / "requirements.txt").write_bytes("one==1\n".encode("utf-16"))


def arrange_der(workshop: Workshop) -> None:
    """Write a file that is not a certificate."""
    workshop.lock("one")
    (workshop.ca / "proxy.crt").write_text(CERTIFICATE.partition("\n")[2])


@pytest.mark.parametrize(
    ("arrange", "says"),
    [
        (arrange_no_application, "mount the application at "),
        (arrange_no_wheelhouse, "mount a folder for the wheels at "),
        (lambda workshop: None, "there is nothing to build: write a pyproject.toml for the appl"),
        (arrange_line_without_hash, "requirements.txt has a line without == or --hash: two==2.0:"),
        (arrange_utf_16, "requirements.txt is not UTF-8 text: save it as UTF-8"),
        (arrange_der, "proxy.crt in deploy/ca is not a PEM certificate"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_line(
    workshop: Workshop, arrange: Callable[[Workshop], None], says: str
) -> None:
    """The last line states what to change; the wheelhouse stays empty."""
    arrange(workshop)
    done = workshop.run()
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("builder: ")
    assert says in last
    assert "Traceback" not in done.stderr
    assert not (workshop.wheelhouse / "deps").exists()


def test_a_lock_of_nothing_is_refused(workshop: Workshop) -> None:
    """`make lock` in an empty repository reports what is missing, and prints no lock."""
    done = workshop.run("lock")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is nothing to build: write a pyproject.toml" in done.stderr


def test_the_interpreter_is_named_as_locks_name_it() -> None:
    """`make venv` uses the name for folders."""
    command = [sys.executable, "-m", "slipway.shared.lockfile"]
    said = subprocess.check_output(command, cwd=DEPLOY, text=True)
    assert said == lockfile.interpreter() + "\n"


@pytest.mark.parametrize(
    ("requirement", "missing"),
    [
        ("one", False),
        ("ONE>=2,<3", False),
        ("one[extra]==2.0", False),
        ("one!=2.0", True),
        ("one<2", True),
        ("pre>=1.0b1", False),
        ("pre", False),
        ("two", True),
        ("two; python_version < '3'", False),
        ("two; python_version >= '3'", True),
        ("two; extra == 'test'", False),
    ],
)
def test_a_requirement_is_missing_when_no_pin_satisfies_it(requirement: str, missing: bool) -> None:
    """Requirements of other interpreters and of extras do not count."""
    lock = "one==2.0 --hash=sha256:aa\npre==1.0rc1 --hash=sha256:bb\n"
    found = wheels.missing_from_lock([requirement], lock)
    assert bool(found) is missing


def test_what_was_built_for_one_project_is_there_for_another(
    workshop: Workshop, tmp_path: Path
) -> None:
    """The second project does not start a back end, and gets the same wheels.

    Wheels that are there already are not searched for.
    """
    workshop.write("requirements.in", "one\ntwo\n")
    workshop.lock_sources("one", "two")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("from source") == 2
    assert workshop.noted() == ["asked one 1.0", "asked two 1.0", "built one 1.0", "built two 1.0"]
    first = workshop.wheelhouse
    workshop.wheelhouse = tmp_path / "another wheelhouse"
    workshop.wheelhouse.mkdir()
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert "from source" not in done.stderr
    assert workshop.noted() == []
    for name in (*workshop.files("deps"), "../app/requirements.txt", "../unread.json"):
        one, other = (place / "deps" / name for place in (first, workshop.wheelhouse))
        assert one.read_bytes() == other.read_bytes()
    for each in workshop.index.iterdir():
        each.unlink()
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert "2 dependencies are there already" in done.stderr


def test_a_wheelhouse_that_was_damaged_is_made_again(workshop: Workshop) -> None:
    """The files come from the store, without a package index and without a back end."""
    workshop.write("requirements.in", "one\n")
    workshop.lock_sources("one")
    assert workshop.run().returncode == 0
    workshop.noted()
    (wheel,) = (workshop.wheelhouse / "deps").glob("*.whl")
    good = wheel.read_bytes()
    wheel.write_bytes(b"something else")
    for each in workshop.index.iterdir():
        each.unlink()
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert wheel.read_bytes() == good
    assert workshop.noted() == []


def test_a_wheelhouse_does_not_lend_its_files_to_the_store(workshop: Workshop) -> None:
    """The files are copies, so that a change of one does not change the other."""
    workshop.write("requirements.in", "one\n")
    workshop.lock("one")
    assert workshop.run().returncode == 0
    kept = {path.stat().st_ino for path in workshop.cache.rglob("*.whl")}
    (wheel,) = (workshop.wheelhouse / "deps").glob("*.whl")
    assert kept
    assert wheel.stat().st_ino not in kept


def test_two_builds_at_once_give_what_one_gives(workshop: Workshop, tmp_path: Path) -> None:
    """The second build in a wheelhouse waits; builds in different ones share the store."""
    workshop.distribution()
    workshop.lock_sources("one", "two")
    own, other = workshop.wheelhouse, tmp_path / "another wheelhouse"
    other.mkdir()
    processes = [workshop.start(), workshop.start()]
    workshop.wheelhouse = other
    processes.append(workshop.start())
    for process in processes:
        stderr = process.communicate()[1]
        assert process.returncode == 0, stderr
    for place in (own, other):
        assert set(os.listdir(place)) == {"deps", "app", "unread.json"}
        workshop.wheelhouse = place
        assert set(workshop.files("deps")) == {
            *("one-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl", "requirements.txt")
        }
        done = workshop.run()
        assert "2 dependencies are there already" in done.stderr
    # a container's own, or one that was made since the usual one was taken
    assert os.listdir(workshop.temporary) == []


def test_only_fetching_says_when_something_has_to_be_built(workshop: Workshop) -> None:
    """The outcome is needs-compiler and the wheelhouse is empty; a wheel built before is used."""
    workshop.write("requirements.in", "one\n")
    workshop.lock_sources("one")
    assert workshop.outcome("fetch") == "needs-compiler"
    assert workshop.noted() == []
    assert os.listdir(workshop.wheelhouse) == []
    assert workshop.run().returncode == 0
    assert workshop.run("fetch").returncode == 0
    workshop.lock("two")
    assert workshop.run("fetch").returncode == 0
    assert set(workshop.files("deps")) == {"requirements.txt", "two-2.0-py3-none-any.whl"}


def test_only_fetching_leaves_the_application_alone(workshop: Workshop) -> None:
    """This happens while the compiler is being installed."""
    workshop.distribution()
    workshop.lock("one")
    done = workshop.run("fetch")
    assert done.returncode == 0, done.stderr
    assert os.listdir(workshop.wheelhouse) == ["deps"]


@pytest.mark.parametrize(("pinned", "made"), [('["maker"]', 1), ("[]", 0)])
def test_a_back_end_is_made_ahead_when_the_lock_pins_it(
    tmp_path: Path, pinned: str, made: int
) -> None:
    """Sets that must be resolved first are resolved, and reported, later."""
    builds = mock.Mock(pinned={pinned: []})
    builds.wheels.return_value = []
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["maker"]\nbuild-backend = "maker"\n[project]\nname = "app"\n'
    )
    wheels.prepare(tmp_path, builds)
    assert builds.virtualenv.call_args_list == [mock.call({"maker"})] * made


def test_a_back_end_that_must_be_built_itself_is_not_made_ahead(tmp_path: Path) -> None:
    """Its code would run before the laptop knows which pins are source distributions."""
    builds = mock.Mock(pinned={'["maker"]': [mock.Mock()]})
    builds.wheels.return_value = []
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["maker"]\nbuild-backend = "maker"\n[project]\nname = "app"\n'
    )
    wheels.prepare(tmp_path, builds)
    assert builds.virtualenv.call_args_list == []


def test_sources_are_reported_before_their_code_runs(workshop: Workshop) -> None:
    """What a build writes to the same stream comes later, and the laptop does not believe it."""
    workshop.write("requirements.in", "one\ntwo\n")
    workshop.lock_sources("one")
    lock = workshop.application / "requirements.txt"
    text = lock.read_text()
    workshop.lock("two")
    lock.write_text(text + lock.read_text().partition("\n")[2])
    sources, built = workshop.events()[:2]
    assert sources == {"event": "sources", "names": ["one"]}
    (wheel,) = (workshop.wheelhouse / "deps").glob("one-*.whl")
    assert built == {"event": "built", "sums": {"one": files.sha256(wheel)}}
    assert workshop.events()[:2] == [sources, built], "the wheels are there already"


@pytest.mark.parametrize("job", ["lock", "upgrade", "wheels", "fetch"])
def test_root_is_given_up_before_every_job(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    """A setup.py that runs as root could leave a program that makes its user root."""
    done: list[object] = []
    monkeypatch.setattr(wheels, "become_owner", done.append)

    def work(*_: object) -> str:
        done.append("worked")
        return ""

    monkeypatch.setattr(wheels, "new_lock", work)
    monkeypatch.setattr(wheels, "build", work)
    assert workshop.run(job).returncode == 0
    owner = workshop.application if job in ("lock", "upgrade") else workshop.wheelhouse
    assert done == [owner, "worked"]


def test_what_takes_no_compiler_is_built_without_one(workshop: Workshop) -> None:
    """A back end that starts no program makes the same wheel with a compiler."""
    shop(workshop)
    workshop.lock_sources("one", "two")
    done = workshop.run("--without-compiler")
    assert done.returncode == 0, done.stderr
    assert {"one-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl"} < set(workshop.files("deps"))


def test_a_source_that_cannot_be_built_is_left_to_the_compiler(workshop: Workshop) -> None:
    """The missing part may be in the builder image; the report of that build is the answer."""
    workshop.write("requirements.in", "one\n")
    workshop.lock_sources("one", fails="no compiler, no zlib.h")
    done = workshop.run("--without-compiler")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("run this in the builder image with a compiler\n")
    assert "zlib.h" not in done.stderr
    done = workshop.run("--without-compiler", "--events")
    assert json.loads(done.stdout.splitlines()[-1])["outcome"] == "needs-compiler"
    assert "a compiler" not in done.stderr, "the laptop makes the builder image by itself"
    assert workshop.outcome() == "failed"


def test_without_a_compiler_what_may_need_one_is_left(workshop: Workshop) -> None:
    """The outcome is needs-compiler, for a dependency and for the application."""
    shop(workshop)
    workshop.lock_sources("one", starts="")
    assert workshop.outcome("--without-compiler") == "needs-compiler"
    assert os.listdir(workshop.wheelhouse) == []
    assert workshop.run().returncode == 0
    built = workshop.files("app")
    assert workshop.run("--without-compiler").returncode == 0, "what was built is there"
    assert set(workshop.files("app")) == set(built)
    workshop.write("starts", "")
    before = workshop.files("app")
    assert workshop.outcome("--without-compiler") == "needs-compiler"
    done = workshop.run("--without-compiler")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert workshop.files("app") == before
    assert workshop.run().returncode == 0


def test_a_source_that_came_out_as_something_else_is_refused(workshop: Workshop) -> None:
    """A lock with a wrong version installs nothing."""
    workshop.write("requirements.in", "one\n")
    tree = {"pyproject.toml": pyproject(), "own.py": MAKER, "name": "one 1.1"}
    locked = pin(make_sdist(workshop.index, "one", "1.0", tree))
    workshop.write("requirements.txt", locked.text + "\n")
    done = workshop.run()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "builder: one==1.0 came out as one-1.1-py3-none-any.whl: run make lock"
    )
    assert not (workshop.wheelhouse / "deps").exists()


def test_versions_are_compared_as_versions(workshop: Workshop) -> None:
    """1.0 equals 1, in the lock and in the name of the wheel."""
    workshop.write("requirements.in", "one\n")
    made = make_wheel(workshop.index, "One", "2.0")
    workshop.write("requirements.txt", f"one==2 --hash=sha256:{files.sha256(made)}\n")
    done = workshop.run()
    assert done.returncode == 0, done.stderr


def test_a_missing_lock_is_made_in_the_wheelhouse(workshop: Workshop) -> None:
    """The application is only read; the next build keeps the pins."""
    workshop.write("requirements.in", "one\n")
    make_wheel(workshop.index, "one", "2.0")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert "there is no lock (requirements.txt) yet" in done.stderr
    made = (workshop.wheelhouse / "requirements.txt").read_text()
    assert [(each.name, each.version) for each in lockfile.pins(made)] == [("one", "2.0")]
    assert os.listdir(workshop.application) == ["requirements.in"]
    make_wheel(workshop.index, "one", "3.0")
    assert workshop.run().returncode == 0
    assert set(workshop.files("deps")) == {"requirements.txt", "one-2.0-py3-none-any.whl"}


def test_a_lock_is_printed_and_nothing_else(workshop: Workshop) -> None:
    """Standard output is the text of the lock."""
    workshop.write("requirements.in", "one\n")
    made = make_wheel(workshop.index, "one", "2.0")
    with workshop.start("lock") as process:
        stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    header = lockfile.HEADER.format(interpreter=lockfile.interpreter())
    assert stdout.startswith(f"{header}\none==2.0 \\\n    --hash=sha256:")
    assert lockfile.pins(stdout)[0].sums == {files.sha256(made)}
    assert os.listdir(workshop.wheelhouse) == []


def test_a_lock_is_one_event(workshop: Workshop) -> None:
    """The laptop gets the same text that people see."""
    workshop.write("requirements.in", "one\n")
    make_wheel(workshop.index, "one", "2.0")
    lock, result = workshop.events("lock")
    assert lock == {"event": "lock", "text": workshop.run("lock").stdout}
    assert result == DONE
    workshop.write("requirements.in", "two\n")
    (result,) = workshop.events("upgrade")
    assert result["outcome"] == "failed"


def test_missing_libraries_are_reported_as_data(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All failed packages count: library names to add, and files that are not known."""
    monkeypatch.setattr(build_errors, "is_here", lambda library: False)
    missing = "fatal error: {}: No such file or directory"
    workshop.write("requirements.in", "one\ntwo\n")
    workshop.lock_sources("one", fails=missing.format("zlib.h"))
    first = workshop.application / "requirements.txt"
    text = first.read_text()
    workshop.lock_sources("two", fails=missing.format("frob/nicate.h"))
    first.write_text(text + first.read_text().partition("\n")[2])
    done = workshop.run("--events")
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1]) == {
        **DONE,
        **{"outcome": "failed", "add": ["zlib"], "find": ["frob/nicate.h"]},
    }
    assert "builder: one 1.0 needs zlib (zlib.h not found): add zlib to NATIVE" in done.stderr
    assert "builder: two 1.0 needs frob/nicate.h, which the catalogue" in done.stderr


# A back end that reads what it packs, as they do.
READER = f"""\
from __future__ import annotations
import base64, hashlib, os, subprocess, zipfile
from pathlib import Path
import helper

{inspect.getsource(make_wheel)}
def get_requires_for_build_wheel(settings=None):
    return []

def build_wheel(folder, settings=None, metadata=None):
    files = [*Path("shop").rglob("*.py"), *map(Path, helper.MORE)]
    text = "".join(path.read_text() for path in files)
    if Path("starts").exists():
        subprocess.run(["true"], check=True)
    return make_wheel(Path(folder), "shop", "1.0", seen=text).name
"""


def shop(workshop: Workshop, more: str = "MORE = []\n") -> None:
    """Write an application with some modules and with a back end of two modules."""
    workshop.distribution()
    workshop.lock()
    workshop.write("backend.py", READER)
    workshop.write("helper.py", more)
    for name in ("shop/__init__.py", "shop/a.py", "README.md", "tests/test_a.py", "LICENSE"):
        workshop.write(name, "")


def test_what_the_wheel_is_not_made_of_is_written_down(workshop: Workshop) -> None:
    """Modules, the configuration of the build and a back end in the tree are not in the list."""
    shop(workshop, "MORE = ['LICENSE']\n")
    workshop.write("setup.cfg", "")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    unread = workshop.unread()
    assert {"README.md", "tests/test_a.py"} <= unread
    made_of = {"shop/__init__.py", "shop/a.py", "LICENSE", "pyproject.toml", "setup.cfg"}
    assert not unread & made_of
    assert not unread & {"backend.py", "helper.py"}
    again = workshop.run()
    assert again.returncode == 0, again.stderr
    assert workshop.unread() == unread


def test_a_back_end_that_starts_programs_may_have_read_anything(workshop: Workshop) -> None:
    """A setup.py may call a compiler."""
    shop(workshop)
    workshop.write("starts", "")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert workshop.unread() == set()


def test_a_link_that_the_wheel_is_made_by_is_not_passed_over(workshop: Workshop) -> None:
    """Another target of a symbolic link gives another wheel, like another content."""
    shop(workshop, "MORE = ['file', 'folder/data.txt']\n")
    workshop.write("data/data.txt", "")
    os.symlink("LICENSE", workshop.application / "file")
    os.symlink("data", workshop.application / "folder")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert not workshop.unread() & {"file", "folder", "LICENSE", "data/data.txt"}


def test_a_link_out_of_the_application_is_not_packed(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could lead to what the store has of another project."""
    monkeypatch.setenv("FILES", "app.py data")
    monkeypatch.setenv("PROJECT", "shop")
    workshop.write("app.py", "")
    workshop.write("data/own.txt", "")
    (workshop.application / "data" / "other.txt").symlink_to("own.txt")
    workshop.lock()
    assert workshop.run().returncode == 0
    (workshop.application / "data" / "far.txt").symlink_to(__file__)
    done = workshop.run()
    said = "builder: FILES has data/far.txt, a link to a file outside of the application"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, said)


def test_a_list_of_requirements_is_made_of_no_file(workshop: Workshop) -> None:
    """There is no wheel; the requirements count elsewhere."""
    workshop.write("requirements.in", "")
    workshop.lock()
    workshop.write("notes.txt", "")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert "notes.txt" in workshop.unread()


def test_a_build_that_fails_leaves_the_last_one(workshop: Workshop) -> None:
    """The wheel, its list and the list of unread files stay."""
    shop(workshop)
    assert workshop.run().returncode == 0
    before = workshop.files("app"), workshop.unread()
    workshop.write("backend.py", READER + "raise SystemExit('broken')\n")
    done = workshop.run()
    assert done.returncode == 1
    assert "broken" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("builder: the application's wheel cannot be built: ")
    assert (workshop.files("app"), workshop.unread()) == before
    assert set(os.listdir(workshop.wheelhouse)) == {"deps", "app", "unread.json"}


def test_the_same_source_gives_the_same_wheelhouse(workshop: Workshop, tmp_path: Path) -> None:
    """All files are identical, whatever the folder of the source."""
    shop(workshop)
    assert workshop.run().returncode == 0
    first = workshop.wheelhouse
    workshop.application = workshop.application.rename(tmp_path / "elsewhere")
    workshop.wheelhouse = tmp_path / "another wheelhouse"
    workshop.wheelhouse.mkdir()
    assert workshop.run().returncode == 0
    names = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert len(names) == 4
    for name in names:
        assert (first / name).read_bytes() == (workshop.wheelhouse / name).read_bytes()
