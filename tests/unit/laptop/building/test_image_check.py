"""What was found in a run image, as messages and as data that say what to do about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop import console
from slipway.laptop.building import image_check
from slipway.laptop.settings import load
from slipway.shared.native.build_errors import Diagnosis
from tests.conftest import Project
from tests.unit.conftest import stand_in

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
        return image_check.Judge(everything, words.split(), tmp_path, names.split())

    return make


def test_missing_library_is_named_with_its_wheel_package_and_word(
    judge: Callable[..., Any],
) -> None:
    """Several of one wheel are one line, and one command; as data they are library names."""
    missing = {"psycopg2": [["libpq.so.5", "psycopg2/_psycopg.so"], ["libGL.so.1", "x.so"]]}
    assert judge(missing=missing).unlinked() == {
        "psycopg2": [
            Diagnosis(
                f"{WHEELS[0]} needs libpq and gl (not in the image: libpq.so.5 of Debian's libpq5,"
                " libGL.so.1 of Debian's libgl1): add libpq gl to NATIVE in deploy/settings.mk, or"
                " run: make native ADD='libpq gl'",
                add=("libpq", "gl"),
            )
        ]
    }


def test_library_of_another_release_is_no_word(judge: Callable[..., Any]) -> None:
    """The release has it by another number: the wheel has to be built here."""
    found = {"missing": {"lxml": [["libxml2.so.2", "x.so"]]}, "there": ["libxml2.so.16"]}
    [diagnosis] = judge(**found).unlinked()["lxml"]
    assert "needs libxml2.so.2, but this Debian release has libxml2.so.16" in diagnosis.message
    assert "--no-binary lxml" in diagnosis.message
    assert (diagnosis.add, diagnosis.find) == ((), ())


def test_library_that_nobody_knows_is_to_be_looked_for(judge: Callable[..., Any]) -> None:
    """By the name that is asked for."""
    [diagnosis] = judge(missing={"x": [["libfrob.so.3", "x.so"]]}).unlinked()["x"]
    assert diagnosis.message.endswith("Debian package with: make native FIND=libfrob.so.3")
    assert (diagnosis.add, diagnosis.find) == ((), ("libfrob.so.3",))


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
        [diagnosis] = lines["python-magic"]
        assert diagnosis.message.startswith(f"{WHEELS[1]} needs magic (loaded when it runs")
        assert diagnosis.add == ("magic",)


def test_psycopg_may_bring_its_library(judge: Callable[..., Any]) -> None:
    """One of its two others has it."""
    assert judge(names="psycopg").unloaded()
    assert not judge(names="psycopg psycopg-binary").unloaded()


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        ("libpq openssl cmake apt:x build:y boost", []),
        ("xslt libpq", ["nothing in the image needs xslt: you may remove it from NATIVE"]),
        ("magic", []),
    ],
)
def test_word_that_nothing_needs_is_said(
    judge: Callable[..., Any], words: str, unneeded: list[str]
) -> None:
    """Wheels, the interpreter and what is loaded need one; tools and headers are not judged."""
    found = {"used": ["libpq.so.5"], "interpreter": ["libssl.so.3"]}
    expected = [Diagnosis(line) for line in unneeded]
    assert judge(words, "python-magic", **found).unneeded() == expected


LOADS = {"psycopg2": [["vlc", "libvlc.so.5"], ["frob"], ["opus", "c"], ["GL", "libGL.so.1"]]}


def test_what_sources_load_by_name_is_said(judge: Callable[..., Any]) -> None:
    """As what may be needed, where any of a call's names will do; it is not in vain in NATIVE."""
    there = ["libc.so.6", "libGL.so.1"]
    [diagnosis] = judge(loads=LOADS, there=there).optional(set())
    assert diagnosis.add == ("vlc",)
    assert diagnosis.message == (
        f"{WHEELS[0]} needs vlc (its sources load vlc, which is not in the image): add vlc to"
        " NATIVE in deploy/settings.mk, or run: make native ADD=vlc"
    )
    [diagnosis] = judge(loads=LOADS, there=there[:1]).optional(set())
    assert diagnosis.add == (), "of several, many are not used"
    assert diagnosis.message == (
        f"{WHEELS[0]} may load vlc, GL when it runs, which the image does not have: add those of"
        " vlc gl to NATIVE in deploy/settings.mk that the application uses"
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
    assert f"({said}): add vlc to NATIVE" in found[0].message if word else notes
    assert [each.add for each in found] == ([(word,)] if word else [])


@pytest.mark.parametrize(
    ("problem", "wrong", "note"),
    [
        (("OSError", "OSError: cannot load library 'libpango-1.0.so.0'"), "", ""),
        (("ImportError", "ImportError: libGL.so.1: cannot open shared object file"), "ADD=gl", ""),
        (("ImportError", "ImportError: Failed: Bad git executable."), "ADD=apt:git", ""),
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
        assert wrong in found[0].message
    if note:
        assert note in notes[0].message
    assert judge(problems={"psycopg2": [entry]}).unimported({"psycopg2"}) == ([], [])


DOCKER = """\
[ "$1" = run ] || exit 1
cat >/dev/null
echo "$@" >'{log}'
cat '{found}'
"""
NOTHING: dict[str, Any] = {
    "missing": {},
    "used": [],
    "interpreter": ["libssl.so.3"],
    "provided": [],
    "there": [],
    "problems": {},
    "files": 7,
}


@pytest.fixture
def checked(
    project: Project,
    program: Callable[[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    """A project with a wheelhouse, and an image in which nothing is wrong."""
    (tmp_path / "found").write_text(json.dumps(NOTHING))
    stub = program("docker", DOCKER.format(log=tmp_path / "log", found=tmp_path / "found"))
    settings = project.path / "deploy" / "settings.mk"
    settings.write_text(f"{settings.read_text()}DOCKER := {stub}\nVOLUMES := shop-files:/files\n")
    listing = project.path / "wheelhouse" / "python3" / "deps" / "requirements.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text(f"idna==3.10 --hash=sha256:{'0' * 64}\n")
    stand_in(monkeypatch, project.path)
    return project


def test_image_is_looked_at_hardened(
    checked: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network, a volume or an option of the user's, and by the image's interpreter."""
    report = image_check.check(load.load())
    assert report.wrong == ()
    report.show()
    says = "slipway: check: 1 dependencies, 7 compiled files: all libraries are there, and all"
    assert says in capsys.readouterr().out
    line = (tmp_path / "log").read_text()
    assert {"--read-only", "none", "shop-run", "/appenv/bin/python", "-I"} <= {*line.split()}
    assert "--volume" not in line
    folder = checked.path / "deploy" / "slipway" / "image" / "check"
    assert f"source={folder}" in line.replace('"', "")
    assert ",target=/mnt/slipway/image/check,readonly" in line
    image_check.check(load.load(), "sha256:0")
    assert " sha256:0 " in (tmp_path / "log").read_text()


def test_what_would_help_is_data(
    checked: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Library names and files of notes and of problems, each once; messages are for people."""
    missing = {"idna": [["libpq.so.5", "x.so"], ["libfrob.so.3", "x.so"]]}
    missing["attrs"] = missing["idna"]
    found = {**NOTHING, "missing": missing, "interpreter": []}
    (tmp_path / "found").write_text(json.dumps(found))
    report = image_check.check(load.load())
    assert (report.add, report.find) == (["libpq"], ["libfrob.so.3"])
    report.show()
    shown = capsys.readouterr()
    note = "nothing in the image needs openssl: you may remove it from NATIVE"
    assert shown.out == f"slipway: check: note: {note}\n"
    assert shown.err.count("slipway: check: ") == len(report.wrong) == 4


def test_last_line_does_not_contradict_a_note(
    checked: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module that cannot be imported may be meant, but not all modules import then."""
    problem = {"module": "idna.x", "kind": "ModuleNotFoundError", "said": ["No"], "lacks": "uwsgi"}
    (tmp_path / "found").write_text(json.dumps({**NOTHING, "problems": {"idna": [problem]}}))
    image_check.check(load.load()).show()
    note, last = capsys.readouterr().out.splitlines()
    assert note == "slipway: check: note: idna: idna.x cannot be imported: No"
    assert last.endswith("1 dependencies, 7 compiled files: no problem, and 1 note, see above")


def test_image_that_cannot_be_checked_is_said_in_a_line(
    checked: Project, program: Callable[[str, str], Path]
) -> None:
    """There is none yet, or the engine does not run it."""
    program("docker", "echo no such image >&2; exit 125")
    with pytest.raises(console.Failed, match="the image cannot be checked: no such image"):
        image_check.check(load.load())
    shutil.rmtree(checked.path / "wheelhouse")
    with pytest.raises(console.Failed, match="there is no image yet: run make image"):
        image_check.check(load.load())
