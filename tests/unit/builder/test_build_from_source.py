"""Builds from source, with real back ends and virtualenvs and a package index of the test."""

from __future__ import annotations

import gzip
import inspect
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from slipway.builder import build_from_source as backend
from slipway.builder import errors, sandbox_client, source_tree, store
from slipway.builder import package_index as index
from slipway.shared import lockfile
from tests.unit.builder.test_package_index import Pages, Serve, make_sdist, pin, pip_here, settings
from tests.unit.conftest import DEPLOY, make_wheel
from tests.unit.image.run.test_wheel_installer import pack

__all__ = ["pip_here"]  # a fixture


REAL_LIBRARIES = source_tree.libraries

# A back end that needs nothing but itself, and notes down what it was asked for.
MAKER = f"""\
from __future__ import annotations
import base64, hashlib, importlib.util, os, zipfile
from pathlib import Path

WHO = "in the tree"

{inspect.getsource(make_wheel)}
def note(what):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{{what}} {{Path('name').read_text()}}\\n")

def lines(name):
    return Path(name).read_text().splitlines() if Path(name).is_file() else []

def get_requires_for_build_wheel(settings=None):
    note("asked")
    return lines("asks")

def build_wheel(folder, settings=None, metadata=None):
    note("built")
    for name in lines("asks"):
        assert importlib.util.find_spec(name), name
    if Path("fails").is_file():
        raise SystemExit(Path("fails").read_text())
    if Path("starts").is_file():
        os.system("true")
    name, version = Path("name").read_text().split()
    return make_wheel(Path(folder), name, version, seen=WHO).name
"""


def pyproject(*requires: str, maker: str = "") -> str:
    """Return a pyproject.toml, whose back end is a requirement or in the tree itself."""
    where = f'build-backend = "{maker}"\n' if maker else 'build-backend = "own"\n'
    path = "" if maker else 'backend-path = ["."]\n'
    return f"[build-system]\nrequires = {list(requires)}\n{where}{path}"


def publish_source(
    pages: Pages, name: str, version: str = "1.0", requires: str = "", **files: str
) -> Any:
    """Write a source distribution with its own or a required back end, and return its pin."""
    words = requires.split()
    maker = "maker" if "maker" in words else ""
    tree = {"pyproject.toml": pyproject(*words, maker=maker), "name": f"{name} {version}", **files}
    if not maker:
        tree.setdefault("own.py", MAKER)
    return pin(make_sdist(pages.folder, name, version, tree))


def publish_maker(pages: Pages, version: str) -> Any:
    """Write a version of a back end, which puts its name into wheels, and return its pin."""
    text = MAKER.replace('"in the tree"', repr(f"maker {version}"))
    return pin(pack(pages.folder, "maker", version, {"maker.py": text}))


class Bench:
    """A package index, one store, and a list of the calls of back ends."""

    def __init__(self, pages: Pages, folder: Path) -> None:
        """Keep a package index and an empty folder."""
        self.pages = pages
        self.folder = folder
        self.notes = folder / "notes"
        self.environment = settings(pages, folder, NOTES=str(self.notes))
        self.store = store.Store(folder / "store")
        self.projects = 0
        self.sandbox = sandbox_client.Sandbox.beside(False, self.environment, folder / "ca")

    def builds(self, locking: bool = False, **pinned: list[Any]) -> Any:
        """Return the builds of another project, like a new process, with the same store."""
        self.projects += 1
        scratch = self.folder / f"scratch {self.projects}"
        scratch.mkdir()
        own = index.Index(self.store, self.environment)
        sets = {lockfile.build_set(words.split("_")): pins for words, pins in pinned.items()}
        pinned = {"[]": [], **sets}
        return backend.Builds(own, pinned, self.environment, scratch, self.sandbox, locking)

    def noted(self) -> list[str]:
        """Return the calls of back ends since the last call of this method, sorted."""
        text = self.notes.read_text() if self.notes.exists() else ""
        self.notes.write_text("")
        return sorted(text.splitlines())


@pytest.fixture
def bench(pages: Pages, tmp_path: Path) -> Iterator[Bench]:
    """A new bench."""
    found = Bench(pages, tmp_path)
    with found.sandbox:
        yield found


@pytest.fixture
def pages(pip_here: None, serve: Serve, tmp_path: Path) -> Pages:
    """A package index without any file."""
    return Pages(serve, tmp_path / "index")


@pytest.fixture(autouse=True)
def few_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the list of this machine's C libraries, which takes a while to read."""
    monkeypatch.setattr(backend, "libraries", lambda: ["zlib.h"])


def seen(wheel: Path) -> str:
    """Return the text in a wheel's only module."""
    with zipfile.ZipFile(wheel) as archive:
        (module,) = (name for name in archive.namelist() if name.endswith(".py"))
        found: dict[str, str] = {}
        exec(archive.read(module), found)
        return found["SEEN"]


def refused(builds: Any, pins: list[Any]) -> str:
    """Return the message about pins that cannot be built."""
    with pytest.raises(errors.Failure) as problem:
        builds.wheels(pins)
    return str(problem.value)


def test_sources_are_built_once_for_all_projects(bench: Bench) -> None:
    """The second project does not start a back end or make a virtualenv."""
    pins = [publish_source(bench.pages, name) for name in ("one", "two")]
    first = bench.builds().wheels(pins)
    assert bench.noted() == ["asked one 1.0", "asked two 1.0", "built one 1.0", "built two 1.0"]
    assert [path.name for path in first] == [
        *("one-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl")
    ]
    kept = [path.read_bytes() for path in first]
    bench.pages.asked.clear()
    assert bench.builds().wheels(pins) == first
    assert bench.noted() == []
    assert bench.pages.asked == []
    assert [path.read_bytes() for path in first] == kept


def test_wheels_come_in_the_order_of_their_pins(bench: Bench) -> None:
    """Downloaded wheels and built wheels are mixed."""
    pins = []
    for number in range(3):
        pins.append(publish_source(bench.pages, f"source{number}", filler="x" * 1000 * number))
        pins.append(pin(bench.pages.wheel(f"wheel{number}")))
    found = bench.builds().wheels(pins)
    assert [path.name.split("-")[0] for path in found] == [each.name for each in pins]
    assert [bench.store.is_built(path) for path in found] == [True, False] * 3


def test_a_lock_that_wants_no_wheel_of_a_name_has_it_built(bench: Bench) -> None:
    """The option does not apply to back ends."""
    maker = publish_maker(bench.pages, "1.0")
    publish_source(bench.pages, "one", requires="maker")
    wheel = bench.pages.wheel("one", seen="the index's")
    both = pin(wheel, bench.pages.folder / "one-1.0.tar.gz")
    (fetched,) = bench.builds(maker=[maker]).wheels([both])
    assert (seen(fetched), bench.noted()) == ("the index's", [])
    (built,) = bench.builds(maker=[maker]).wheels([both], ["--no-binary", ":all:"])
    assert seen(built) == "maker 1.0"


def test_another_dependency_builds_that_one_alone(bench: Bench) -> None:
    """The other wheels stay in the store."""
    pins = [publish_source(bench.pages, name) for name in ("one", "two")]
    bench.builds().wheels(pins)
    bench.noted()
    pins.insert(1, publish_source(bench.pages, "three"))
    assert len(bench.builds().wheels(pins)) == 3
    assert bench.noted() == ["asked three 1.0", "built three 1.0"]


def test_another_back_end_builds_again(bench: Bench) -> None:
    """The back end is an input of the wheel; the pins decide, not the newest version."""
    old, new = (publish_maker(bench.pages, version) for version in ("1.0", "2.0"))
    one = publish_source(bench.pages, "one", requires="maker")
    for maker, says in ((old, "maker 1.0"), (new, "maker 2.0")):
        (wheel,) = bench.builds(maker=[maker]).wheels([one])
        assert seen(wheel) == says
        assert bench.noted() == ["asked one 1.0", "built one 1.0"]
    (wheel,) = bench.builds(maker=[old]).wheels([one])
    assert (seen(wheel), bench.noted()) == ("maker 1.0", [])


def test_another_c_library_builds_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many packages use a library if it is installed; the other wheel is kept as well."""
    one = publish_source(bench.pages, "one")
    pins = [one, pin(bench.pages.wheel("two"))]
    first = bench.builds().wheels(pins)
    bench.noted()
    monkeypatch.setattr(backend, "libraries", lambda: ["libxml", "zlib.h"])
    assert bench.builds().wheels(pins) != first
    assert bench.noted() == ["built one 1.0"]
    monkeypatch.setattr(backend, "libraries", lambda: ["zlib.h"])
    assert bench.builds().wheels(pins) == first
    assert bench.noted() == []


def test_another_interpreter_or_system_builds_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They all share one store."""
    one = publish_source(bench.pages, "one")
    first = bench.builds().wheels([one])
    bench.noted()
    monkeypatch.setattr(lockfile, "system", lambda: "Other 9.9 elsewhere")
    assert bench.builds().wheels([one]) != first
    assert bench.noted() == ["asked one 1.0", "built one 1.0"]


def test_a_damaged_wheel_in_the_store_is_built_again(bench: Bench) -> None:
    """A damaged archive is downloaded again."""
    one = publish_source(bench.pages, "one")
    (wheel,) = bench.builds().wheels([one])
    bench.noted()
    good = wheel.read_bytes()
    wheel.write_bytes(b"something else")
    for archive in bench.store.root.glob("files/*/*.tar.gz"):
        archive.write_bytes(b"something else")
    assert bench.builds().wheels([one]) == [wheel]
    assert wheel.read_bytes() == good
    assert bench.noted() == ["built one 1.0"]


def test_what_a_back_end_asks_for_is_there_when_it_builds(bench: Bench) -> None:
    """The additional requirements have pins of their own; the back end is asked once."""
    needed = pin(bench.pages.wheel("needed"))
    one = publish_source(bench.pages, "one", asks="needed\n")
    assert len(bench.builds(needed=[needed]).wheels([one])) == 1
    assert bench.noted() == ["asked one 1.0", "built one 1.0"]
    assert len(bench.builds(needed=[needed]).wheels([one])) == 1
    assert bench.noted() == []


def test_a_back_end_may_have_to_be_built_itself(bench: Bench) -> None:
    """It has a back end of its own, and its wheel is kept like any other."""
    maker = publish_source(
        bench.pages, "maker", **{"own.py": MAKER.replace("make_wheel(Path(", "make(Path(") + MAKES}
    )
    one = publish_source(bench.pages, "one", requires="maker")
    (wheel,) = bench.builds(maker=[maker]).wheels([one])
    assert seen(wheel) == "a maker that was made"
    assert bench.noted() == [
        *("asked maker 1.0", "asked one 1.0", "built maker 1.0", "built one 1.0")
    ]


# What makes a wheel whose module is a back end again.
MAKES = '''
def make(folder, name, version, seen):
    """Write a wheel of this very file."""
    if name != "maker":
        return make_wheel(folder, name, version, seen="a maker that was made")
    made = make_wheel(folder, name, version)
    text = Path(__file__).read_text()
    data = dict()
    with zipfile.ZipFile(made) as archive:
        for path in archive.namelist():
            data[path] = archive.read(path).decode()
    data["maker.py"] = text
    with zipfile.ZipFile(made, "w") as archive:
        for path, content in data.items():
            archive.writestr(path, content)
    return made
'''


def test_two_may_need_the_same_back_end_from_source_at_once(bench: Bench) -> None:
    """One build waits for the other, and then uses its result."""
    slow = MAKER.replace('    note("built")', '    import time; time.sleep(0.2); note("built")')
    helper = publish_source(bench.pages, "helper", **{"own.py": slow})
    others = [pin(bench.pages.wheel(name)) for name in ("first", "second")]
    pins = [
        publish_source(bench.pages, "one", requires="helper first"),
        publish_source(bench.pages, "two", requires="helper second"),
        helper,
    ]
    builds = bench.builds(first_helper=[helper, others[0]], helper_second=[helper, others[1]])
    assert len(builds.wheels(pins)) == 3
    assert bench.noted().count("built helper 1.0") == 1


NEEDS_ITSELF = """\
import os, pathlib, sys
from slipway.builder import build_from_source as backend
from slipway.builder import errors, sandbox_client, store
from slipway.builder import package_index as index
from slipway.shared import lockfile
scratch = pathlib.Path(sys.argv[1])
pin, = lockfile.pins(sys.argv[2])
own = index.Index(store.Store(scratch / "store"), os.environ)
box = sandbox_client.Sandbox.beside(False, os.environ, scratch)
builds = backend.Builds(own, {'["maker"]': [pin]}, os.environ, scratch, box)
try:
    builds.wheels([pin])
except errors.Failure as problem:
    print(problem)
"""


def test_a_back_end_that_needs_itself_is_refused(bench: Bench, tmp_path: Path) -> None:
    """There is a message, and no deadlock."""
    maker = publish_source(bench.pages, "maker", requires="maker")
    command = [sys.executable, "-c", NEEDS_ITSELF, str(tmp_path), maker.text]
    with subprocess.Popen(
        command, cwd=DEPLOY, env=bench.environment, text=True, stdout=subprocess.PIPE
    ) as builder:
        try:
            said = builder.communicate(timeout=8)[0]
        except subprocess.TimeoutExpired:
            builder.kill()
            pytest.fail("it waits for itself")
    assert said.startswith("maker 1.0 cannot be built: ")
    assert "maker 1.0 is needed to build maker 1.0" in said


def test_everything_that_cannot_be_built_is_named(bench: Bench) -> None:
    """The output of the back ends is shown; successful builds are kept."""
    pins = [
        publish_source(bench.pages, "bad", fails="there is no libfoo"),
        publish_source(bench.pages, "good"),
        publish_source(bench.pages, "worse", fails="there is no libbar"),
    ]
    with pytest.raises(errors.Failure) as problem:
        bench.builds().wheels(pins)
    assert [line.partition(":")[0] for line in str(problem.value).splitlines()] == [
        *("bad 1.0 cannot be built", "worse 1.0 cannot be built")
    ]
    assert "there is no libfoo\n" in problem.value.output
    assert "there is no libbar\n" in problem.value.output
    bench.noted()
    assert len(bench.builds().wheels(pins[1:2])) == 1
    assert bench.noted() == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"pyproject.toml": "[build-system\n"}, "one 1.0 cannot be built: "),
        ({"pyproject.toml": "[build-system]\nrequires = 'x'\n"}, "one 1.0 cannot be built: "),
        ({"own.py": "import nothing_like_it\n"}, "one 1.0 cannot be built: "),
    ],
)
def test_a_source_that_is_wrong_is_named(bench: Bench, files: dict[str, str], says: str) -> None:
    """In a line."""
    said = refused(bench.builds(), [publish_source(bench.pages, "one", **files)])
    assert said.startswith(says)
    assert len(said.splitlines()) == 1


def test_only_fetching_starts_no_back_end(bench: Bench) -> None:
    """Wheels that were built before are returned, the others are left out."""
    wheel, one = pin(bench.pages.wheel("wheel")), publish_source(bench.pages, "one")
    found = bench.builds().wheels([one, wheel], only_fetch=True)
    assert [path.name for path in found] == ["wheel-1.0-py3-none-any.whl"]
    assert bench.noted() == []
    bench.builds().wheels([one])
    bench.noted()
    found = bench.builds().wheels([one, wheel], only_fetch=True)
    assert [path.name.split("-")[0] for path in found] == ["one", "wheel"]
    assert bench.noted() == []


def test_without_a_compiler_what_starts_a_program_is_tried_once(bench: Bench) -> None:
    """The program may be a compiler; the next project needs the builder without a try."""
    one = publish_source(bench.pages, "one", starts="")
    for noted in (["asked one 1.0", "built one 1.0"], []):
        builds = bench.builds()
        builds.without_compiler = True
        with pytest.raises(errors.NeedsCompiler):
            builds.wheels([one])
        assert bench.noted() == noted
    assert [path.name for path in bench.builds().wheels([one])] == ["one-1.0-py3-none-any.whl"]


def test_what_the_lock_does_not_pin_is_the_newest_and_said(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    """The message names the command that pins it, and is not printed by that command."""
    for version in ("1.0", "2.0"):
        publish_maker(bench.pages, version)
    one = publish_source(bench.pages, "one", requires="maker")
    builds = bench.builds()
    (wheel,) = builds.wheels([one])
    assert seen(wheel) == "maker 2.0"
    said = 'the lock pins no ["maker"]: using maker 2.0; make lock pins them\n'
    assert capfd.readouterr().err.count(said) == 1
    (found,) = builds.pinned['["maker"]']
    assert (found.name, found.version, len(found.hashes)) == ("maker", "2.0", 1)
    assert bench.builds(locking=True).pins_for({"maker"}) == [found]
    assert capfd.readouterr().err == ""


def test_requirements_that_do_not_hold_here_are_pinned_by_nothing(bench: Bench) -> None:
    """Some requirements apply to old interpreters only."""
    publish_maker(bench.pages, "1.0")
    builds = bench.builds(locking=True)
    assert builds.pins_for({"nothing; python_version < '3'"}) == []
    found = builds.pins_for({"nothing; python_version < '3'", "maker; python_version >= '3'"})
    assert [each.name for each in found] == ["maker"]


@pytest.mark.parametrize(
    "asks",
    [
        "evil @ https://evil.example/evil-1.0.tar.gz",
        "--find-links /tmp/evil",
        "maker\n-r other.txt",
    ],
)
def test_what_the_lock_does_not_pin_runs_no_code_outside_of_the_sandbox(
    bench: Bench, asks: str
) -> None:
    """Only releases of the package index with a wheel are used; make lock has the sandbox."""
    publish_maker(bench.pages, "1.0")
    with pytest.raises(errors.Failure, match="does not name a release of the package index"):
        bench.builds().pins_for({asks})


def test_a_back_end_without_a_wheel_is_left_to_make_lock(bench: Bench) -> None:
    """pip-compile would run its code to learn what it requires."""
    publish_source(bench.pages, "maker")
    one = publish_source(bench.pages, "one", requires="maker")
    said = refused(bench.builds(), [one])
    assert 'the lock pins no ["maker"], and there are no wheels for it: run make lock' in said
    assert bench.noted() == []
    (found,) = bench.builds(locking=True).pins_for({"maker"})
    assert (found.name, found.version) == ("maker", "1.0")


def test_nothing_of_a_build_is_left_in_the_scratch_folder(bench: Bench) -> None:
    """The folder is in the container's memory."""
    builds = bench.builds()
    builds.wheels([publish_source(bench.pages, "one")])
    refused(builds, [publish_source(bench.pages, "bad", fails="no")])
    assert not [path for path in builds.scratch.rglob("*") if path.is_file()]


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Write a source tree: `tree(pyproject_toml="…")`."""

    def write(**files: str) -> Path:
        folder = tmp_path / "tree"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
        return folder

    return write


def test_what_a_source_states_that_it_needs(tree: Callable[..., Path]) -> None:
    """Without a statement in pyproject.toml it is setuptools."""
    stated = pyproject("flit_core >=3.2,<4", "x")
    assert source_tree.build_requirements(tree(pyproject_toml=stated)) == {
        "flit_core >=3.2,<4",
        "x",
    }
    for text in ("[tool.black]\n", "[project]\nname = 'x'\n"):
        (asked,) = source_tree.build_requirements(tree(pyproject_toml=text))
        assert asked.startswith("setuptools")


@pytest.mark.parametrize(
    ("stated", "text", "wanted"),
    [
        ("setuptools >=61", "import os, pkg_resources", {"setuptools >=61", "setuptools<81"}),
        ("setuptools", "try:\n    from pkg_resources import x", {"setuptools", "setuptools<81"}),
        ("setuptools >=82", "import pkg_resources", {"setuptools >=82"}),
        ("setuptools <70", "import pkg_resources", {"setuptools <70"}),
        ("flit_core", "import pkg_resources", {"flit_core"}),
        ("setuptools", "# import pkg_resources", {"setuptools"}),
    ],
)
def test_what_setup_py_imports_of_an_older_setuptools_is_asked_for(
    tree: Callable[..., Path], stated: str, text: str, wanted: set[str]
) -> None:
    """An older version is added if the source allows any version of setuptools."""
    source = tree(pyproject_toml=pyproject(stated), setup_py=text)
    assert source_tree.build_requirements(source) == wanted


def test_a_source_is_known_by_what_says_how_it_is_built(tree: Callable[..., Path]) -> None:
    """A change of its modules does not matter."""
    known = {source_tree.configuration_of(tree(main_py="1"))}
    for name in ("pyproject_toml", "setup_py", "setup_cfg"):
        for text in ("", "1"):
            known.add(source_tree.configuration_of(tree(**{name: text})))
    assert len(known) == 7
    assert source_tree.configuration_of(tree(main_py="2")) in known


def test_an_archive_is_unpacked_without_the_folder_around_it(tmp_path: Path) -> None:
    """Tar and zip archives are supported."""
    tar = make_sdist(tmp_path, "one", "1.0", {"a/b.txt": "b", "c.txt": "c"})
    with zipfile.ZipFile(tmp_path / "one-1.0.zip", "w") as archive:
        for name in ("a/b.txt", "c.txt"):
            archive.writestr(f"one-1.0/{name}", name[-5])
    for number, source in enumerate((tar, tmp_path / "one-1.0.zip")):
        place = tmp_path / f"place{number}"
        place.mkdir()
        source_tree.extract(source, place)
        found = {p.relative_to(place).as_posix(): p.read_text() for p in place.rglob("*.txt")}
        assert found == {"a/b.txt": "b", "c.txt": "c"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a-1.0.zip", b"nothing"),
        ("a-1.0.tar.gz", b"nothing"),
        ("a-1.0.tar.gz", gzip.compress(b"nothing" * 99, mtime=0)),
        ("a-1.0.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3nothing"),
    ],
    ids=["no zip", "no tar", "no tar inside", "a broken stream"],
)
def test_an_archive_that_is_broken_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    """Both kinds of archives are checked."""
    archive = tmp_path / name
    archive.write_bytes(data)
    (tmp_path / "place").mkdir()
    with pytest.raises(errors.Failure, match=rf"^{re.escape(name)} cannot be unpacked: "):
        source_tree.extract(archive, tmp_path / "place")


def test_an_archive_that_is_cut_off_is_named(tmp_path: Path) -> None:
    """The beginning of the archive is valid."""
    archive = make_sdist(tmp_path, "one", "1.0", {f"{n}.txt": f"{n}" * 9999 for n in range(99)})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    (tmp_path / "place").mkdir()
    with pytest.raises(errors.Failure, match=r"^one-1\.0\.tar\.gz cannot be unpacked: "):
        source_tree.extract(archive, tmp_path / "place")


def test_an_archive_that_leads_outside_is_refused(tmp_path: Path) -> None:
    """Nothing is written outside the folder."""
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    archive = make_sdist(tmp_path, "out", "1.0", {"../../../victim": "x", "c.txt": "c"})
    with pytest.raises(errors.Failure, match=r"^out-1\.0\.tar\.gz cannot be unpacked: "):
        source_tree.extract(archive, place)
    assert not list(tmp_path.rglob("victim"))


@pytest.fixture
def found_libraries(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A function that returns the libraries in some folders."""

    def look(*places: Path) -> list[str]:
        monkeypatch.setattr(source_tree, "LIBRARIES", tuple(str(place) for place in places))
        found: list[str] = REAL_LIBRARIES()
        return found

    return look


def test_c_libraries_are_known_by_their_headers(
    found_libraries: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Files of pkg-config count as well; missing folders are ignored."""
    for name in ("include/zlib.h", "include/libxml/parser.h", "x86/pkgconfig/openssl.pc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    places = (tmp_path / "include", tmp_path / "*" / "pkgconfig", tmp_path / "nothing")
    assert found_libraries(*places) == ["libxml", "openssl.pc", "zlib.h"]
    (tmp_path / "include" / "zlib.h").write_text("another version")
    assert found_libraries(*places) == ["libxml", "openssl.pc", "zlib.h"]
    assert found_libraries() == []


def test_compilers_are_told_to_forget_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own flags come first."""
    monkeypatch.setenv("CFLAGS", "-march=native")
    monkeypatch.delenv("CXXFLAGS", raising=False)
    flags = source_tree.compiler_flags(Path("/a/tree"))
    assert flags["CFLAGS"].startswith("-march=native ")
    assert flags["CXXFLAGS"].startswith("-O2 ")
    assert "-ffile-prefix-map=/a/tree=." in flags["CFLAGS"].split()
    assert flags["PYTHONHASHSEED"] == "0"


def test_there_is_at_least_one_processor() -> None:
    """Only processors that this process may use are counted."""
    assert 1 <= backend.processors() <= (os.cpu_count() or 1)


def test_what_takes_the_compiler_longest_is_built_first(tmp_path: Path) -> None:
    """The kind of code counts, not the archive's size: some C++ comes before much text and C."""
    archives = [
        make_sdist(tmp_path, name, "1.0", {inside: text})
        for name, inside, text in (
            ("text", "manual.rst", "a page\n" * 99_999),
            ("c", "module.c", "int x;\n" * 999),
            ("cxx", "module.cpp", "#include <vector>\n"),
        )
    ]
    archives.append(tmp_path / "broken-1.0.tar.gz")
    archives[-1].write_bytes(b"nothing")
    archives.append(tmp_path / "rust-1.0.zip")
    with zipfile.ZipFile(archives[-1], "w") as packed:
        packed.writestr("src/lib.rs", "fn main() {}\n" * 9999)
    archives.sort(key=source_tree.effort, reverse=True)
    names = [path.name.partition("-")[0] for path in archives]
    assert names[:3] == ["rust", "cxx", "c"]
    assert source_tree.effort(archives[3]) == source_tree.effort(archives[4]) == 0


def test_the_newest_back_end_is_resolved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One result serves all sets with a lower bound; a set with an upper bound needs another."""
    asked = []

    def compile_lock(source: Path, wanted: list[str], output: Path, *_: Any) -> None:
        text = Path(source, wanted[0]).read_text().strip()
        asked.append(text)
        version = "70.0" if "<" in text else "84.2"
        output.write_text(f"setuptools=={version} --hash=sha256:{'0' * 64}\n")

    monkeypatch.setattr(backend, "compile_lock", compile_lock)
    builds = backend.Builds(mock.Mock(), {}, {}, tmp_path, mock.Mock())
    sets = ({"setuptools"}, {"setuptools>=77"}, {"Setuptools > 61"}, {"setuptools<80"})
    versions = [builds.resolve(each)[0].version for each in sets]
    assert versions == ["84.2", "84.2", "84.2", "70.0"]
    for each in ({"setuptools>=99"}, {"setuptools[core]"}, {"setuptools", "wheel"}):
        builds.resolve(each)
    assert len(asked) == 5
