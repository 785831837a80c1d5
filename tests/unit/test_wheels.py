"""Making a wheelhouse: real pip, real wheels, and an index that nobody may ask."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.conftest import DEPLOY, make_wheel
from tests.unit.test_network import CERTIFICATE

lockfile = importlib.import_module("lockfile")
wheels = importlib.import_module("wheels")

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
    """An application, an empty wheelhouse, and wheels that a lock may name."""

    def __init__(self, folder: Path) -> None:
        """Make the folders."""
        self.application = folder / "my application"
        self.wheelhouse = folder / "wheelhouse"
        self.index = folder / "index"
        self.ca = folder / "ca"
        self.cache = folder / "cache"
        for each in (self.application, self.wheelhouse, self.index, self.ca):
            each.mkdir()

    def locked(self, *names: str, header: str = "") -> str:
        """Publish wheels of these names, and give their pins."""
        published = [make_wheel(self.index, name, "2.0") for name in names]
        return f"{header}{wheels.sums(published)}"

    def lock(self, *names: str) -> None:
        """Lock the application to these names."""
        header = lockfile.HEADER.format(interpreter=lockfile.interpreter()) + "\n"
        self.write("requirements.txt", self.locked(*names, header=header))

    def write(self, name: str, text: str) -> Path:
        """Write a file of the application."""
        path = self.application / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def distribution(self, *requires: str) -> None:
        """Make the application one that a wheel can be built of."""
        self.write("pyproject.toml", PYPROJECT)
        self.write("backend.py", BACKEND)
        self.write("requires", "\n".join(requires))

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run wheels.py as the builder's entry point does, without any index."""
        return subprocess.run(
            [
                *(sys.executable, str(DEPLOY / "wheels.py"), *map(str, arguments)),
                *("--application", str(self.application), "--wheelhouse", str(self.wheelhouse)),
                *("--ca", str(self.ca), "--cache", str(self.cache)),
            ],
            env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)},
            capture_output=True,
            text=True,
        )

    def files(self, part: str) -> dict[str, int]:
        """Give the files in a part of the wheelhouse, and which files they are."""
        return {path.name: path.stat().st_ino for path in (self.wheelhouse / part).iterdir()}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """An empty one."""
    return Workshop(tmp_path)


def test_a_list_of_requirements_gives_exactly_its_wheels(workshop: Workshop) -> None:
    """Both folders list what they hold, with its sums, and nothing else is there."""
    workshop.write("requirements.in", "one\ntwo\n")
    workshop.lock("one", "two-b")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert set(workshop.files("deps")) == {
        *("requirements.txt", "one-2.0-py3-none-any.whl", "two_b-2.0-py3-none-any.whl"),
    }
    assert set(workshop.files("app")) == {"requirements.txt"}
    assert set(os.listdir(workshop.wheelhouse)) == {"deps", "app"}
    listing = (workshop.wheelhouse / "deps" / "requirements.txt").read_text()
    assert [pin.name for pin in lockfile.pins(listing)] == ["one", "two-b"]


def test_the_same_lock_builds_nothing_twice(workshop: Workshop) -> None:
    """A comment or another order of lines in the file makes no other lock."""
    workshop.write("requirements.in", "one\n")
    workshop.lock("one")
    assert workshop.run().returncode == 0
    before = workshop.files("deps")
    lock = workshop.application / "requirements.txt"
    lock.write_text(lock.read_text() + "    # via somebody\n")
    done = workshop.run()
    assert done.returncode == 0, done.stderr
    assert "1 dependencies are built already" in done.stderr
    assert workshop.files("deps") == before


def test_another_lock_leaves_no_stale_wheel(workshop: Workshop) -> None:
    """The folder is made anew."""
    workshop.write("requirements.in", "one\n")
    workshop.lock("one")
    assert workshop.run().returncode == 0
    workshop.lock("two")
    assert workshop.run().returncode == 0
    assert set(workshop.files("deps")) == {"requirements.txt", "two-2.0-py3-none-any.whl"}


def test_a_download_with_another_sum_leaves_the_wheelhouse_as_it_was(workshop: Workshop) -> None:
    """Nothing half-built takes the place of what was good."""
    workshop.write("requirements.in", "one\n")
    workshop.lock("one")
    assert workshop.run().returncode == 0
    before = workshop.files("deps"), workshop.files("app")
    workshop.lock("one", "two")
    make_wheel(workshop.index, "two", "2.0", seen="something else")
    done = workshop.run()
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert (
        done.stderr.endswith("pip failed with status 1; see above\n") or "see above" in done.stderr
    )
    assert (workshop.files("deps"), workshop.files("app")) == before


def test_the_application_is_built_outside_its_tree(workshop: Workshop) -> None:
    """The source is only read; what an earlier checkout left there is not packed."""
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
    assert seen == {*kept, *own}


def test_what_the_application_asks_for_must_be_locked(workshop: Workshop) -> None:
    """Each requirement that holds here and is not locked is named, and the command to run."""
    workshop.distribution(
        *("one>=2", "two<2", "three", "Four.B ; python_version < '3'", "five ; extra == 'x'")
    )
    workshop.lock("one", "two")
    done = workshop.run()
    assert done.returncode == 1
    assert done.stderr.endswith(
        "wheels: the lock does not have two<2, three, which the application asks for:"
        " run make lock\n"
    )
    assert "app" not in os.listdir(workshop.wheelhouse)


def test_a_lock_of_another_interpreter_is_asked_for_anew(workshop: Workshop) -> None:
    """Status 3 lets the scripts make a lock."""
    workshop.write("requirements.in", "one\n")
    header = lockfile.HEADER.format(interpreter="Other 9.9") + "\n"
    workshop.write("requirements.txt", workshop.locked("one", header=header))
    done = workshop.run("--locked")
    assert done.returncode == 3
    assert f"is locked for Other 9.9 and this is {lockfile.interpreter()}" in done.stderr


@pytest.mark.parametrize("name", ["requirements.in", "requirements.txt", "pyproject.toml"])
def test_a_missing_lock_is_asked_for(workshop: Workshop, name: str) -> None:
    """Status 3, for every kind of application."""
    workshop.write(name, "[project]\n" if name.endswith("toml") else "one\n")
    lock = "requirements.lock" if name == "requirements.txt" else "requirements.txt"
    done = workshop.run("--locked")
    assert (done.returncode, done.stderr) == (3, f"wheels: there is no lock ({lock}) yet\n")


def arrange_no_application(workshop: Workshop) -> None:
    """Mount nothing."""
    workshop.application.rmdir()


def arrange_no_wheelhouse(workshop: Workshop) -> None:
    """Mount no place for the wheels."""
    workshop.wheelhouse.rmdir()


def arrange_line_without_hash(workshop: Workshop) -> None:
    """Edit a lock by hand."""
    workshop.lock("one")
    lock = workshop.application / "requirements.txt"
    lock.write_text(lock.read_text() + "two==2.0\n")


def arrange_utf_16(workshop: Workshop) -> None:
    """Let PowerShell write the requirements."""
    (workshop.application / "requirements.txt").write_bytes("one==1\n".encode("utf-16"))


def arrange_der(workshop: Workshop) -> None:
    """Put a certificate there that is none."""
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
    """The last line says what to change; nothing is left in the wheelhouse to be taken for good."""
    arrange(workshop)
    done = workshop.run()
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("wheels: ")
    assert says in last
    assert "Traceback" not in done.stderr
    assert not (workshop.wheelhouse / "deps").exists()


def test_a_lock_of_nothing_is_refused(workshop: Workshop) -> None:
    """`make lock` in an empty repository says what is missing, and prints no lock."""
    done = workshop.run("lock")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is nothing to lock: write a pyproject.toml" in done.stderr


def test_the_interpreter_is_named_as_locks_name_it() -> None:
    """venv.sh names folders by it."""
    said = subprocess.check_output([sys.executable, DEPLOY / "wheels.py", "interpreter"], text=True)
    assert said == lockfile.interpreter() + "\n"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("attrs-24.2.0-py3-none-any.whl", ("attrs", "24.2.0")),
        ("zope.interface-7.0-1build-cp311-cp311-linux_x86_64.whl", ("zope-interface", "7.0")),
        ("PyYAML-6.0.2-pp311-pypy311_pp73-linux_x86_64.whl", ("pyyaml", "6.0.2")),
        ("torch-2.0.0+cu118-cp310-cp310-linux_x86_64.whl", ("torch", "2.0.0+cu118")),
    ],
)
def test_a_wheels_name_and_version_are_in_its_file_name(
    file: str, expected: tuple[str, str]
) -> None:
    """Whatever else is in the name."""
    assert wheels.wheel_name(Path("somewhere", file)) == expected


def test_sums_are_in_the_order_of_names(tmp_path: Path) -> None:
    """The same wheels make the same list, which pip can check."""
    made = [make_wheel(tmp_path, name, "1.0") for name in ("b", "A", "c")]
    assert wheels.sums(made) == wheels.sums(made[::-1])
    assert [pin.name for pin in lockfile.pins(wheels.sums(made))] == ["a", "b", "c"]
    assert wheels.sums(made[:1]) == (
        f"b==1.0 --hash=sha256:{hashlib.sha256(made[0].read_bytes()).hexdigest()}\n"
    )


def test_a_folder_is_whole_only_as_its_own_list_says(tmp_path: Path) -> None:
    """A wheel more, less or changed, another header, or no list: it is built again."""
    one, two = (make_wheel(tmp_path, name, "1.0") for name in ("one", "two"))
    listing = tmp_path / "requirements.txt"
    assert not wheels.whole(tmp_path, "# x\n")
    listing.write_text("# x\n" + wheels.sums([one, two]))
    assert wheels.whole(tmp_path, "# x\n")
    assert not wheels.whole(tmp_path, "# y\n")
    kept = two.read_bytes()
    two.write_bytes(kept + b"\0")
    assert not wheels.whole(tmp_path, "# x\n")
    two.unlink()
    assert not wheels.whole(tmp_path, "# x\n")
    two.write_bytes(kept)
    make_wheel(tmp_path, "three", "1.0")
    assert not wheels.whole(tmp_path, "# x\n")


def test_a_new_folder_takes_the_old_ones_place_whole(tmp_path: Path) -> None:
    """Also after a build that was killed left its own folders behind."""
    place = tmp_path / "house" / "deps"
    for leftover in (".new-deps", ".old-deps"):
        (tmp_path / "house" / leftover).mkdir(parents=True)
        (tmp_path / "house" / leftover / "half").touch()
    for name in ("first", "second"):
        with wheels.replacing(place) as new:
            assert list(new.iterdir()) == []
            (new / name).touch()
        assert [path.name for path in place.iterdir()] == [name]
    assert os.listdir(tmp_path / "house") == ["deps"]


def test_a_new_folder_that_is_not_finished_vanishes(tmp_path: Path) -> None:
    """What was there before stays."""
    (tmp_path / "deps").mkdir()
    (tmp_path / "deps" / "good").touch()
    with contextlib.suppress(wheels.Failure), wheels.replacing(tmp_path / "deps") as new:
        (new / "half").touch()
        raise wheels.Failure
    assert [path.name for path in tmp_path.rglob("*")] == ["deps", "good"]


def test_a_wheels_requirements_are_read_from_its_metadata(tmp_path: Path) -> None:
    """Markers and extras included; a vendored package's metadata is not the wheel's."""
    asked = ["attrs>=22", "café; extra == 'x'"]
    wheel = make_wheel(tmp_path, "shop", "1.0", asked)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("shop/_vendor/old-1.dist-info/METADATA", "Requires-Dist: nothing\n")
    assert wheels.requirements_of(wheel) == asked
    assert wheels.requirements_of(make_wheel(tmp_path, "plain", "1.0")) == []


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
    """What does not hold for this interpreter, or belongs to an extra, is not asked for."""
    lock = "one==2.0 --hash=sha256:aa\npre==1.0rc1 --hash=sha256:bb\n"
    found = wheels.missing_from_lock([requirement], lock)
    assert bool(found) is missing


def test_compiled_wheels_depend_on_interpreter_and_system() -> None:
    """What a wheelhouse was made for is in its list: a new base image builds it anew."""
    assert wheels.system().startswith(lockfile.interpreter() + " ")
    assert os.uname().machine.replace("_", "-") in wheels.system().replace("_", "-")
