"""Locks, made by the real pip-compile with a package index of the test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from packaging.requirements import Requirement

from slipway.builder import errors, source_tree
from slipway.builder import make_lock as locking
from slipway.shared import lockfile
from slipway.shared.native.build_errors import Diagnosis
from tests.unit.builder.test_build_from_source import (
    MAKER,
    Bench,
    bench,
    few_libraries,
    pages,
    publish_maker,
    publish_source,
    pyproject,
)
from tests.unit.builder.test_package_index import Pages, pin, pip_here, sum_of

__all__ = ["bench", "few_libraries", "pages", "pip_here"]  # fixtures


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """An application without files."""
    folder = tmp_path / "my application"
    folder.mkdir()
    return folder


def write(application: Path, **files: str) -> None:
    """Write files; `requirements_in` stands for requirements.in."""
    for name, text in files.items():
        (application / name.replace("_", ".")).write_text(text, encoding="utf-8")


def lock(bench: Bench, application: Path, present: str = "", upgrade: bool = False) -> str:
    """Return a lock as `make lock` and `make upgrade` make it, each like a new process."""
    builds = bench.builds(locking=True)
    builds.pinned = {} if upgrade else lockfile.build_pins(present)
    made: str = locking.make(application, present, upgrade, builds)
    return made


def pinned(text: str) -> dict[str, str]:
    """Return the versions of a lock's pins."""
    return {pin.name: pin.version for pin in lockfile.pins(text)}


def back_ends(text: str) -> dict[str, dict[str, str]]:
    """Return the versions of a lock's back ends, by their requirement set."""
    return {
        wanted: {pin.name: pin.version for pin in pins}
        for wanted, pins in lockfile.build_pins(text).items()
    }


def test_names_on_several_indexes_are_pointed_out(capfd: pytest.CaptureFixture[str]) -> None:
    """In one line, however many there are."""
    locking.point_out_several([])
    assert capfd.readouterr().err == ""
    locking.point_out_several([f"p{number}" for number in range(90)])
    said = capfd.readouterr().err
    assert said.startswith("builder: several package indexes have p0, p1, ")
    assert "p9 ...: pip takes the highest version" in said
    assert said.count("\n") == 1


WORKSPACE = """\
[project]
name = "shop"
version = "1"
dependencies = ["common", "one"]
[tool.uv.sources]
common = { workspace = true }
"""


def test_a_package_of_the_workspace_is_never_asked_of_the_package_index(
    bench: Bench, application: Path
) -> None:
    """A stranger owns its name there. The refusal says so, before anything is asked."""
    bench.pages.wheel("common", version="99")
    bench.pages.wheel("one")
    write(application, pyproject_toml=WORKSPACE)
    with pytest.raises(errors.Failure, match=r"pyproject\.toml takes common from the workspace"):
        lock(bench, application)
    assert bench.pages.asked == []


def test_a_lock_keeps_its_pins_until_they_are_to_move(bench: Bench, application: Path) -> None:
    """This applies to back ends and dependencies; all pins have hashes."""
    publish_maker(bench.pages, "1.0")
    publish_source(bench.pages, "source", requires="maker")
    bench.pages.wheel("one", requires=["source"])
    write(application, requirements_in="one\n")
    first = lock(bench, application)
    assert first.startswith(lockfile.HEADER.format(interpreter=lockfile.interpreter()) + "\n")
    assert pinned(first) == {"one": "1.0", "source": "1.0"}
    assert back_ends(first) == {'["maker"]': {"maker": "1.0"}}
    assert all(pin.sums for pin in lockfile.pins(first))

    publish_maker(bench.pages, "2.0")
    bench.pages.wheel("one", "2.0", requires=["source"])
    assert lock(bench, application, first) == first

    moved = lock(bench, application, first, upgrade=True)
    assert pinned(moved) == {"one": "2.0", "source": "1.0"}
    assert back_ends(moved) == {'["maker"]': {"maker": "2.0"}}
    assert "maker==1.0" not in moved


def test_a_pin_of_another_interpreter_is_kept(bench: Bench, application: Path) -> None:
    """After a change of PYTHON, the new interpreter may need the same package."""
    bench.pages.wheel("one")
    write(application, requirements_in="one\n")
    present = lock(bench, application).replace("one==1.0 ", "one==1.0 ; os_name == 'other' ")
    assert "; os_name" in present
    bench.pages.wheel("one", "1.1")
    assert pinned(lock(bench, application, present)) == {"one": "1.0"}


def test_back_ends_that_nobody_needs_any_more_are_not_pinned(
    bench: Bench, application: Path
) -> None:
    """A new back end replaces the old ones."""
    for version in ("1.0", "2.0"):
        publish_maker(bench.pages, version)
    old = lockfile.Pin("maker", "1.0", "", ("sha256:" + "0" * 64,))
    sets = {'["maker"]': [old], '["nobody", "needs"]': [old]}
    publish_source(bench.pages, "source", requires="maker")
    bench.pages.wheel("extra")
    publish_source(bench.pages, "other", requires="extra")
    write(application, requirements_in="other\n")
    made = lock(bench, application, lockfile.with_build_pins("", sets))
    assert back_ends(made) == {'["extra"]': {"extra": "1.0"}}


def test_a_lock_that_wants_no_wheel_pins_what_builds_instead(
    bench: Bench, application: Path
) -> None:
    """This works from the first time."""
    publish_maker(bench.pages, "1.0")
    publish_source(bench.pages, "one", requires="maker")
    bench.pages.wheel("one")
    write(application, requirements_in="--no-binary one\none\n")
    made = lock(bench, application)
    assert lockfile.options(made) == ["--no-binary", "one"]
    assert back_ends(made) == {'["maker"]': {"maker": "1.0"}}


def test_the_applications_own_back_end_is_pinned(bench: Bench, application: Path) -> None:
    """Its additional requirements are pinned in a set of their own."""
    for name in ("first", "second"):
        bench.pages.wheel(name)
    stated = "[project]\nname = 'shop'\nversion = '1.0'\n" + pyproject("first")
    write(application, pyproject_toml=stated, own_py=MAKER, name="shop 1.0", asks="second\n")
    before = {path: path.read_bytes() for path in application.iterdir()}
    made = lock(bench, application)
    assert back_ends(made) == {
        '["first"]': {"first": "1.0"},
        '["first", "second"]': {"first": "1.0", "second": "1.0"},
    }
    assert {path: path.read_bytes() for path in application.iterdir()} == before


def test_a_back_end_that_comes_as_source_has_its_own_pinned(
    bench: Bench, application: Path
) -> None:
    """The chain ends with a wheel or a back end without requirements."""
    last = pin(bench.pages.wheel("last"))
    middle = publish_source(bench.pages, "middle", requires="last")
    publish_source(bench.pages, "one", requires="middle")
    write(application, requirements_in="one\n")
    sets = {'["last"]': [last], '["middle"]': [middle], '["nobody", "needs"]': [last]}
    made = lock(bench, application, lockfile.with_build_pins("", sets))
    assert back_ends(made) == {'["last"]': {"last": "1.0"}, '["middle"]': {"middle": "1.0"}}


def test_a_source_that_cannot_say_what_it_needs_is_locked_as_far_as_it_does(
    bench: Bench, application: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A C library may be missing while the lock is made: `make wheels` reports it."""
    bench.pages.wheel("first")
    silent = MAKER.replace('note("asked")', 'raise SystemExit("no libfoo")')
    one = publish_source(bench.pages, "one", requires="first", **{"own.py": silent})
    builds = bench.builds(locking=True)
    assert locking.needed_sets([one], [], application, builds) == {'["first"]'}
    assert [pin.name for pin in builds.pinned['["first"]']] == ["first"]
    assert "libfoo" not in capfd.readouterr().err


def test_nothing_to_lock_is_said(bench: Bench, application: Path) -> None:
    """The message states which file to write."""
    write(application, README_md="a shop")
    with pytest.raises(errors.Failure, match=r"there is nothing to build: write a pyproject\.toml"):
        lock(bench, application)


def test_an_empty_list_is_a_lock_of_nothing(bench: Bench, application: Path) -> None:
    """An application may have no requirements, or no longer have any."""
    write(application, requirements_in="# nothing yet\n")
    made = lock(bench, application)
    assert pinned(made) == {}
    assert lockfile.is_lock(made)
    present = made + f"one==1.0 --hash=sha256:{'0' * 64}\n"
    assert pinned(lock(bench, application, present)) == {}


def test_the_application_is_copied_without_what_is_no_part_of_it(
    application: Path, tmp_path: Path
) -> None:
    """Symbolic links are kept; files of an earlier build are left out."""
    kept = ["shop/__init__.py", "build/keep.txt", "build/tools/x", "shop/build/lib/y.py"]
    left_out = ["build/lib/old.py", "build/lib.linux-x86_64/old.py", "build/bdist.linux/x"]
    for name in (*kept, *left_out, ".git/config", "venv/x", "shop/__pycache__/a.pyc"):
        (application / name).parent.mkdir(parents=True, exist_ok=True)
        (application / name).touch()
    (application / "link").symlink_to("shop")
    (application / "broken").symlink_to("nothing")
    source = locking.copy_source(application, tmp_path / "scratch")
    found = {p.relative_to(source).as_posix() for p in source.rglob("*") if not p.is_dir()}
    assert found == {*kept, "broken"}
    assert (source / "link").is_symlink()
    assert (application / "build" / "lib" / "old.py").exists()


def test_sets_are_named_in_their_one_way(bench: Bench, tmp_path: Path) -> None:
    """A source tree has one set, or two if its back end has more requirements."""
    found: dict[str, Any] = {}
    bench.pages.wheel("a")
    for name, asks in (("one", ""), ("two", "a\n")):
        tree = tmp_path / name
        tree.mkdir()
        write(tree, pyproject_toml=pyproject(), own_py=MAKER, name=f"{name} 1.0", asks=asks)
        found[name] = locking.sets_of(source_tree.tree_at(tree), bench.builds(locking=True))
    assert found == {"one": {"[]"}, "two": {"[]", '["a"]'}}


def test_what_others_bring_is_refused_on_pypy_before_it_is_compiled(
    bench: Bench, application: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is refused when pip starts with it, before the compiler is installed."""
    said = [
        "  Collecting shop-tools[all]==1.0",
        "  Collecting PyArrow>=7",
        "Failed to build 'pyarrow'",
    ]

    def cannot(*_: object) -> None:
        raise errors.Failure("no lock", said)

    monkeypatch.setattr(bench.sandbox, "lock", cannot)
    write(application, requirements_in="shop-tools[all]\n")

    def lock_without_compiler() -> None:
        builds = bench.builds(locking=True)
        builds.without_compiler = True
        locking.make(application, "", False, builds)

    with pytest.raises(errors.NeedsCompiler):
        lock_without_compiler()
    monkeypatch.setattr(lockfile, "interpreter", lambda: "PyPy 3.11")
    with pytest.raises(errors.Failure, match=r"^pyarrow does not work on PyPy: write PYTHON"):
        lock_without_compiler()


def test_back_end_that_imports_pkg_resources_gets_a_setuptools_that_has_it(
    bench: Bench, application: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older setuptools is used only after a failure."""
    limits = []

    def lock(*arguments: Any) -> str:
        limits.append("".join(arguments[5:]))
        if not limits[-1]:
            raise errors.Failure(
                "no lock", ["ModuleNotFoundError: No module named 'pkg_resources'"]
            )
        return ""

    monkeypatch.setattr(bench.sandbox, "lock", lock)
    write(application, requirements_in="ssdeep\n")
    assert locking.make(application, "", False, bench.builds(locking=True)).startswith("# ")
    assert limits == ["", "setuptools<81\n"]


@pytest.fixture
def on_pypy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the name of this interpreter by that of PyPy, which refuses some packages."""
    monkeypatch.setattr(lockfile, "interpreter", lambda: "PyPy 3.11")


@pytest.mark.parametrize("name", lockfile.not_on_pypy())
@pytest.mark.usefixtures("on_pypy")
def test_what_does_not_work_on_pypy_is_refused_before_anything_is_fetched(
    bench: Bench, application: Path, name: str
) -> None:
    """The name is enough, in any spelling: the package index of this test is empty."""
    write(application, requirements_in=f"{name.replace('-', '_').title()}[x] >= 1\n")
    use = lockfile.not_on_pypy()[name]
    with pytest.raises(errors.Failure) as failure:
        lock(bench, application)
    said = str(failure.value)
    assert said.startswith(f"{name} does not work on PyPy: ")
    assert said.endswith("write PYTHON := python3 into deploy/settings.mk")
    assert f"use {use} instead, or " in said if use else "use" not in said
    assert name not in use.split()


HAS = "ERROR: Could not find a version that satisfies the requirement {} (from versions: {})\n"


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (
            [
                "ERROR: Ignored the following versions that require a different python version:"
                " 2.8.0 Requires-Python ~=3.8,<3.12; 2.9.0 Requires-Python ~=3.8,<3.13\n",
                HAS.format("shop==2.8.0", "1.0, 3.0"),
            ],
            "shop==2.8.0 requires Python ~=3.8,<3.12, and this is CPython",
        ),
        ([HAS.format("shpo", "none")], "the package index has no shpo for CPython"),
        (
            [HAS.format("shop>=9 (from mall)", "1, 2, 3, 4, 5, 6")],
            "the package index has no shop>=9; it has 2, 3, 4, 5, 6",
        ),
        (["WARNING: Retrying (Retry(total=4\n", HAS.format("shop", "none")], ""),
        (
            ["pip._internal.exceptions.network.ConnectionFailedError: <connection-failed>\n"],
            "the connection to the package index was lost: run this again",
        ),
        (["Failed to build 'shop'\n"], ""),
    ],
)
def test_a_package_of_which_no_version_will_do_is_named(output: list[str], says: str) -> None:
    """The message has the required Python, the existing versions, or that there are none."""
    said = locking.why_not_found(output)
    assert said.startswith(says)
    assert bool(said) == bool(says)


def test_package_without_a_source_is_no_misspelled_one(application: Path) -> None:
    """The option --no-binary hides its wheels."""
    write(application, requirements_in="pyzbar\nlxml\n--no-binary PyZBar,lxml\n")
    names = locking.names_without_wheels(application, ["requirements.in"])
    assert names == {"pyzbar", "lxml"}
    said = locking.why_not_found([HAS.format("pyzbar>=0.1", "none")], names)
    assert said.startswith(
        "the package index has no source distribution of pyzbar>=0.1, which --no-binary"
    )
    assert "leave pyzbar out of --no-binary" in said


def test_index_that_is_lost_while_a_back_end_is_fetched_is_no_failed_build() -> None:
    """The last message of pip is about a build."""
    said = [
        "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by\n",
        "FailedToPrepareCandidate: Failed to build 'x' when installing build dependencies for x\n",
    ]
    assert locking.why_not_built(said) == Diagnosis(
        "the connection to the package index was lost: run this again"
    )


def test_what_works_on_a_newer_pypy_is_refused_on_older_ones_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An interpreter other than PyPy has the full list."""
    assert "gmpy2" in lockfile.not_on_pypy()
    for version, works in (((7, 3, 19, "final", 0), False), ((8, 0, 1, "final", 0), True)):
        monkeypatch.setattr(sys, "pypy_version_info", version, raising=False)
        assert ("gmpy2" not in lockfile.not_on_pypy()) is works
        assert "uvloop" in lockfile.not_on_pypy()


class Shelf:
    """A package index with the requirements of distributions."""

    has: ClassVar = {
        "shop": ["till[fast]>=1", "mail; extra == 'post'", "grpcio; extra == 'post'"],
        "till": ["orjson; extra == 'fast'", "shop", "msgspec; python_version < '3'"],
    }

    def requirements_of_newest(self, name: str) -> list[str]:
        """Return the requirements; fail for unknown names, as a package index may."""
        return self.has[name]


def test_what_is_brought_along_is_found_without_building_it() -> None:
    """Indirect requirements and extras are included once; a missing answer is no failure."""
    shelf: Any = Shelf()
    found = [str(each) for each in locking.indirect_requirements([Requirement("shop")], shelf)]
    assert found == ["till[fast]>=1", 'orjson; extra == "fast"', "shop"]
    more = locking.indirect_requirements([Requirement("shop[post]")], shelf)
    assert [each.name for each in more][:3] == ["till", "mail", "grpcio"]


def test_of_a_wheel_only_what_it_says_of_itself_is_fetched(bench: Bench, pages: Pages) -> None:
    """This needs a package index with metadata files."""
    wheel = pages.wheel("shop")
    pages.fragments[wheel.name] = f'#sha256={sum_of(wheel)}" data-core-metadata="true'
    pages.first[f"{wheel.name}.metadata"] = [
        b"Name: shop\nRequires-Dist: six\nRequires-Dist: idna\n"
    ]
    assert bench.builds(locking=True).index.requirements_of_newest("shop") == ["six", "idna"]
    assert pages.fetched() == [f"{wheel.name}.metadata"]
