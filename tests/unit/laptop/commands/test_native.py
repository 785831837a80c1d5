"""NATIVE in settings.mk: words added to it, by hand and by what a build says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.laptop.commands import native as words
from slipway.laptop.settings import make_syntax
from slipway.shared.native import pyproject_external as external
from tests.conftest import Project


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("NATIVE :=\nPORT := 1\n", "NATIVE := libpq xml2\nPORT := 1\n"),
        ("NATIVE := openssl\n", "NATIVE := openssl libpq xml2\n"),
        ("NATIVE = openssl # why\n", "NATIVE = openssl libpq xml2 # why\n"),
        (
            "NATIVE := a \\\n    b\nPORT := 1\n",
            "NATIVE := a \\\n    b\nNATIVE += libpq xml2\nPORT := 1\n",
        ),
        ("NATIVE := a\nNATIVE += b\n", "NATIVE := a\nNATIVE += b libpq xml2\n"),
        ("# NATIVE := a\nPORT := 1\n", "# NATIVE := a\nPORT := 1\n\nNATIVE := libpq xml2\n"),
    ],
)
def test_words_are_added_to_the_line(text: str, after: str) -> None:
    """Nothing else changes, and what was there stays; the settings read it so."""
    assert words.with_words(text, ["libpq", "xml2"]) == after
    assert make_syntax.parse(after, {})["NATIVE"][0].split()[-2:] == ["libpq", "xml2"]


def run(project: Project, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run words.py in a project."""
    return project.run(sys.executable, "deploy/words.py", *arguments, **environment)


def test_word_is_written_once(project: Project) -> None:
    """By whatever name it is there."""
    done = run(project, "add", "libpq-dev", "apt:libaio-dev")
    assert done.stdout == "words.py: added libpq-dev apt:libaio-dev: make image\n"
    assert "NATIVE := openssl libpq-dev apt:libaio-dev\n" in project.read("deploy/settings.mk")
    assert "NATIVE has that already" in run(project, "add", "postgresql", "ssl").stdout


def test_unknown_word_is_not_written(project: Project) -> None:
    """The nearest names are said."""
    before = project.read("deploy/settings.mk")
    done = run(project, "add", "libpg")
    assert done.returncode == 1
    assert "libpq? A Debian package is named as apt:PACKAGE" in done.stdout
    assert project.read("deploy/settings.mk") == before


BUILD = """\
case " $NATIVE " in
*" libpq "*) ;;
*) echo "wheels: a needs libpq (x): add libpq to NATIVE, or run: make native ADD=libpq"; exit 1 ;;
esac
case " $NATIVE " in
*" magic "*) ;;
*) echo "check: b needs magic (x), run: make native ADD=magic" >&2; exit 1 ;;
esac
echo "words.py: d loads usb when it runs, run: make native ADD=usb"
case " $NATIVE " in
*" zbar "*) ;;
*) echo "check: c needs zbar (its sources load zbar), run: make native ADD=zbar" ;;
esac
echo "made $* with$NATIVE_AUTO $NATIVE"
"""


def test_auto_adds_what_is_missing_until_it_is_made(project: Project) -> None:
    """One after another, and all are written; also what the image was made without."""
    (project.path / "deploy" / "build.sh").write_text(f"#!/bin/sh\n{BUILD}")
    done = run(project, "auto", "wheels", "image", NATIVE="auto", DEPLOY_OVERRIDES="NATIVE")
    assert done.returncode == 0, done.stdout
    assert "made wheels image with openssl libpq magic zbar" in done.stdout
    assert done.stdout.endswith("added to NATIVE in deploy/settings.mk: libpq magic zbar\n")
    assert "NATIVE := openssl libpq magic zbar\n" in project.read("deploy/settings.mk")


def test_auto_ends_where_no_word_helps(project: Project) -> None:
    """A failure that says no word, or one that is there already, is a failure."""
    build = project.path / "deploy" / "build.sh"
    build.write_text("#!/bin/sh\necho 'run: make native ADD=ssl'\nexit 7\n")
    assert run(project, "auto").returncode == 7


def test_what_the_lock_loads_is_said(project: Project) -> None:
    """Libraries that no compiler asks for, unless NATIVE has them."""
    lock = f"python-magic==0.4.27 --hash=sha256:{'0' * 64}\n"
    (project.path / "requirements.txt").write_text(lock)
    assert "python-magic loads magic when it runs" in run(project, "loaded").stdout
    assert run(project, "loaded", NATIVE="libmagic1", DEPLOY_OVERRIDES="NATIVE").stdout == ""


@pytest.mark.parametrize(
    ("listing", "package"),
    [
        ("usr/include/yaml.h libdevel/libyaml-dev\n", "libyaml-dev"),
        (
            "usr/include/a/yaml.h libdevel/liba-dev\nusr/include/yaml.h libdevel/libyaml-dev",
            "libyaml-dev",
        ),
        ("usr/include/x.h libdevel/libx-longer-dev,libdevel/libx-dev", "libx-dev"),
        ("", ""),
    ],
)
def test_package_is_the_plainest_that_has_the_file(listing: str, package: str) -> None:
    """The nearest to where everybody looks."""
    assert words.best_package(listing) == package


def test_program_is_looked_for_where_programs_are() -> None:
    """Not as a library that goes by the same name."""
    assert words.patterns_for("bin/proj") == ["usr/bin/proj", "usr/sbin/proj"]


EXTERNAL = """\
[project]
name = "x"
[external]
build-requires = [
  "dep:virtual/compiler/c", # a compiler [of C]
  "dep:virtual/compiler/rust",
]
host-requires = ["dep:generic/libpq", 'pkg:generic/openssl@>=3', "dep:generic/frob"]
dependencies = ["dep:generic/libmagic; sys_platform == 'linux'"]
[tool.x]
dependencies = ["dep:generic/zlib"]
"""


def test_external_table_is_read() -> None:
    """PEP 725's names become words; what is always there needs none, and the rest is named."""
    assert external.words(EXTERNAL) == (["rust", "libpq", "openssl", "magic"], ["dep:generic/frob"])


@pytest.mark.parametrize(
    "text", ["", "[project]\nname = 'external'\n", "[external]\n", "[external.x]\na = ['b']\n"]
)
def test_no_external_table_is_nothing(text: str) -> None:
    """Whatever else has that name."""
    assert external.words(text) == ([], [])


def test_external_table_is_part_of_native(
    project: Project, program: Callable[[str, str], Path]
) -> None:
    """Beside the words of the settings, each once."""
    (project.path / "pyproject.toml").write_text(EXTERNAL)
    said = project.run(sys.executable, "deploy/settings.py").stdout
    assert "export NATIVE='openssl rust libpq magic'" in said
    said = project.run(
        sys.executable, "deploy/settings.py", NATIVE="auto zlib", DEPLOY_OVERRIDES="NATIVE"
    ).stdout
    assert "export NATIVE='zlib openssl rust libpq magic'" in said
    assert "export NATIVE_AUTO=yes" in said
