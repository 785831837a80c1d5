"""What was found in a run image, in lines that say what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.build import image_check as check
from tests.conftest import Project

WHEELS = (
    "psycopg2-2.9.10-cp313-cp313-linux_x86_64.whl",
    "python_magic-0.4.27-py2.py3-none-any.whl",
)


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Any]:
    """Judge what was found, where nothing is wrong but what the test says."""
    (tmp_path / "deps").mkdir()
    for name in WHEELS:
        (tmp_path / "deps" / name).touch()

    def make(words: str = "", names: str = "psycopg2", **found: Any) -> Any:
        nothing: dict[str, Any] = {
            "missing": {},
            "used": [],
            "interpreter": [],
            "provided": [],
            "there": [],
        }
        everything = {**nothing, "problems": {}, "files": 1, **found}
        return check.Judge(everything, words.split(), tmp_path, names.split())

    return make


def test_missing_library_is_named_with_its_wheel_package_and_word(
    judge: Callable[..., Any],
) -> None:
    """Several of one wheel are one line, and one command."""
    missing = {"psycopg2": [["libpq.so.5", "psycopg2/_psycopg.so"], ["libGL.so.1", "x.so"]]}
    assert judge(missing=missing).unlinked() == {
        "psycopg2": [
            f"{WHEELS[0]} needs libpq and gl (not in the image: libpq.so.5 of Debian's libpq5,"
            " libGL.so.1 of Debian's libgl1): add libpq gl to NATIVE in deploy/settings.mk, or run:"
            " make native ADD='libpq gl'"
        ]
    }


def test_library_of_another_release_is_no_word(judge: Callable[..., Any]) -> None:
    """The release has it by another number: the wheel has to be built here."""
    found = {"missing": {"lxml": [["libxml2.so.2", "x.so"]]}, "there": ["libxml2.so.16"]}
    [line] = judge(**found).unlinked()["lxml"]
    assert "needs libxml2.so.2, and this release has libxml2.so.16" in line
    assert "--no-binary lxml" in line


def test_library_that_nobody_knows_is_to_be_looked_for(judge: Callable[..., Any]) -> None:
    """By the name that is asked for."""
    [line] = judge(missing={"x": [["libfrob.so.3", "x.so"]]}).unlinked()["x"]
    assert line.endswith("find its Debian package with: make native FIND=libfrob.so.3")


@pytest.mark.parametrize(
    ("there", "provided", "good"),
    [
        ([], [], False),
        (["libmagic.so.1"], [], True),
        ([], ["libmagic-1a2b3c4d.so.1.0.0"], True),
        (["libmagickless.so.1"], [], False),
    ],
)
def test_library_that_is_loaded_is_looked_for(
    judge: Callable[..., Any], there: list[str], provided: list[str], good: bool
) -> None:
    """In the system, and in the wheels themselves."""
    lines = judge(names="python-magic", there=there, provided=provided).unloaded()
    assert (not lines) is good
    if lines:
        assert lines["python-magic"][0].startswith(f"{WHEELS[1]} needs magic (loaded when it runs")


def test_psycopg_may_bring_its_library(judge: Callable[..., Any]) -> None:
    """One of its two others has it."""
    assert judge(names="psycopg").unloaded()
    assert not judge(names="psycopg psycopg-binary").unloaded()


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        ("libpq openssl cmake apt:x build:y boost", []),
        ("xslt libpq", ["xslt in NATIVE is needed by nothing in the image: you may remove it"]),
        ("magic", []),
    ],
)
def test_word_that_nothing_needs_is_said(
    judge: Callable[..., Any], words: str, unneeded: list[str]
) -> None:
    """Wheels, the interpreter and what is loaded need one; tools and headers are not judged."""
    found = {"used": ["libpq.so.5"], "interpreter": ["libssl.so.3"]}
    assert judge(words, "python-magic", **found).unneeded() == unneeded


LOADS = {"psycopg2": [["vlc", "libvlc.so.5"], ["frob"], ["opus", "c"], ["GL", "libGL.so.1"]]}


def test_what_sources_load_by_name_is_said(judge: Callable[..., Any]) -> None:
    """As what may be needed, where any of a call's names will do; it is not in vain in NATIVE."""
    there = ["libc.so.6", "libGL.so.1"]
    [line] = judge(loads=LOADS, there=there).optional(set())
    assert line == (
        f"{WHEELS[0]} needs vlc (its sources load vlc, which is not in the image): add vlc to"
        " NATIVE in deploy/settings.mk, or run: make native ADD=vlc"
    )
    [line] = judge(loads=LOADS, there=there[:1]).optional(set())
    assert line == (
        f"{WHEELS[0]} may load vlc, GL when it runs, which the image does not have: add those of"
        " vlc gl to NATIVE in deploy/settings.mk that it is to use"
    )
    assert judge(loads=LOADS, there=[*there, "libvlc.so.5"]).optional(set()) == []
    assert judge(loads=LOADS, there=there).optional({"psycopg2"}) == []
    assert judge("vlc gl", loads=LOADS).unneeded() == []


@pytest.mark.parametrize(
    ("kind", "said", "lacks", "word"),
    [
        ("other", "Exception: Could not find the library.", None, "vlc"),
        ("OSError", "OSError: no backend", None, "vlc"),
        ("ModuleNotFoundError", "No module named 'x'", "x", ""),
    ],
)
def test_failed_import_is_explained_by_what_its_sources_load(
    judge: Callable[..., Any], kind: str, said: str, lacks: str | None, word: str
) -> None:
    """Authors say it in their own words, of which some name no library."""
    entry = {"module": "m", "kind": kind, "said": [said], "lacks": lacks}
    found, notes = judge(
        loads=LOADS, there=["libc.so.6", "libGL.so.1"], problems={"psycopg2": [entry]}
    ).unimported(set())
    assert bool(found) == bool(word)
    assert f"({said}): add vlc to NATIVE" in found[0] if word else notes


@pytest.mark.parametrize(
    ("problem", "wrong", "note"),
    [
        (("OSError", "OSError: cannot load library 'libpango-1.0.so.0'"), "", ""),
        (("ImportError", "ImportError: libGL.so.1: cannot open shared object file"), "ADD=gl", ""),
        (("ImportError", "ImportError: Failed: Bad git executable."), "ADD=apt:git", ""),
        (("other", "GitError: invalid argument: 'file || path'"), "apt:ca-certificates", ""),
        (("ImportError", "ImportError: cannot import name 'x'"), "cannot be imported", ""),
        (("ImportError", "x.so: undefined symbol: PyPyModule_New"), "for another Python", ""),
        (("ImportError", "x.so: undefined symbol: foo_new"), "cannot be imported", ""),
        (("crash", "ended by signal 11"), "ended by signal 11", ""),
        (("ModuleNotFoundError", "No module named 'uwsgi'", "uwsgi"), "", "cannot be imported"),
        (("ModuleNotFoundError", "No module named 'imp'", "imp"), "or a newer psycopg2", ""),
        (("ModuleNotFoundError", "No", "pkg_resources"), "add setuptools<81 to the", ""),
        (("ModuleNotFoundError", "No", "telnetlib"), "add standard-telnetlib to the", ""),
        (("ModuleNotFoundError", "No module", "_tkinter"), "ADD=apt:python3-tk", ""),
        (("other", "RuntimeError: no display"), "", "RuntimeError: no display"),
    ],
)
def test_failed_import_is_wrong_or_may_be_meant(
    judge: Callable[..., Any], problem: tuple[str, ...], wrong: str, note: str
) -> None:
    """A library or a crash is never meant; a module of an extra may be."""
    kind, said, *lacks = problem
    entry = {"module": "m", "kind": kind, "said": [said], "lacks": lacks[0] if lacks else None}
    found, notes = judge(problems={"psycopg2": [entry]}).unimported(set())
    assert len(found) + len(notes) == 1
    if wrong:
        assert wrong in found[0]
    if note:
        assert note in notes[0]
    assert judge(problems={"psycopg2": [entry]}).unimported({"psycopg2"}) == ([], [])


DOCKER = """\
[ "$1" = run ] || exit 1
cat >/dev/null
echo "$@" >'{log}'
cat '{found}'
"""


def test_image_is_looked_at_hardened(
    project: Project, program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """Without a network, a volume or an option of the user's, and by the image's interpreter."""
    found = {"missing": {}, "used": [], "interpreter": ["libssl.so.3"], "provided": [], "there": []}
    (tmp_path / "found").write_text(json.dumps({**found, "problems": {}, "files": 7}))
    stub = program("docker", DOCKER.format(log=tmp_path / "log", found=tmp_path / "found"))
    settings = project.path / "deploy" / "settings.mk"
    settings.write_text(f"{settings.read_text()}DOCKER := {stub}\nVOLUMES := shop-files:/files\n")
    listing = project.path / "wheelhouse" / "python3" / "deps" / "requirements.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text(f"idna==3.10 --hash=sha256:{'0' * 64}\n")
    done = project.run("deploy/check.py")
    assert done.returncode == 0, done.stdout
    assert "1 dependencies, 7 compiled files: all libraries are there" in done.stdout
    words = (tmp_path / "log").read_text().split()
    assert {"--read-only", "none", "shop-run", "/appenv/bin/python", "-I"} <= {*words}
    assert "--volume" not in words
