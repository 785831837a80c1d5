"""The list of files that a back end reads, recorded by the audit hook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.builder import __main__ as wheels
from tests.unit.conftest import DEPLOY


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree beside another folder."""
    place = tmp_path / "a tree"
    (place / "shop").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "shop/__init__.py", "shop/a.py", "shop/ü.txt"):
        (place / name).write_text("", encoding="utf-8")
    (tmp_path / "a tree beside").mkdir()
    (tmp_path / "a tree beside" / "other").touch()
    return place


def listen(tree: Path, script: str, on: bool = True) -> bytes | None:
    """Run a script with the audit hook in a tree, and return the list if there is one."""
    output = tree.with_name("reads")
    environment = {name: text for name, text in os.environ.items() if "READS" not in name}
    if on:
        environment.update(READS_OF=str(tree), READS_TO=str(output))
    start = f"""\
import os, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(DEPLOY)!r})
from slipway.builder import record_file_access
"""
    command = [sys.executable, "-c", start + script]
    subprocess.run(command, cwd=tree, env=environment, check=True)
    return output.read_bytes() if output.exists() else None


def read(tree: Path, script: str) -> set[str]:
    """Return the files of a tree that a script may have read."""
    listen(tree, script)
    files = {
        path.relative_to(tree).as_posix()
        for path in tree.rglob("*")
        if path.is_file() or path.is_symlink()
    }
    found: set[str] = wheels.read_files(tree.with_name("reads"), files)
    return found


@pytest.mark.parametrize(
    "script",
    [
        "open('shop/a.py').close()",
        "open(b'shop/a.py').close()",
        "Path('shop', 'a.py').read_bytes()",
        "open(os.path.abspath('shop/a.py')).close()",
        "open('shop/../shop/./a.py').close()",
        "os.close(os.open('shop/a.py', os.O_RDONLY))",
        "os.chdir('shop'); open('a.py').close()",
        "sys.path.insert(0, 'shop'); import a",
        "import runpy; runpy.run_path('shop/a.py')",
        "import shutil; shutil.copy('shop/a.py', '..')",
        "import threading as t; x = t.Thread(target=open, args=['shop/a.py']); x.start(); x.join()",
        "child = os.fork()\nif child: os.waitpid(child, 0)\nelse: open('shop/a.py').close()",
    ],
)
def test_a_file_that_is_read_is_named(tree: Path, script: str) -> None:
    """All ways of reading count; no other file is in the list."""
    assert read(tree, script) == {"shop/a.py"}


def test_each_file_is_named_once(tree: Path) -> None:
    """The script reads the file several times."""
    listed = listen(tree, "for n in (1, 2): open('README.md').close(); open('shop/ü.txt').close()")
    assert listed is not None
    assert listed.count(b"README.md") == listed.count("shop/ü.txt".encode()) == 1


@pytest.mark.parametrize(
    "script",
    [
        "pass",
        "open('../a tree beside/other').close()",
        "open(os.devnull).close()",
        "open(os.dup(1), 'w').close()",
        "subprocess.run(['git', '--version'], stdout=subprocess.DEVNULL)",
        "subprocess.run(['uname'], stdout=subprocess.DEVNULL)",
        "os.listdir('shop'); os.stat('shop/a.py'); Path('README.md').exists()",
    ],
)
def test_what_is_not_read_is_not_named(tree: Path, script: str) -> None:
    """Files in other folders and files that were only searched for are not in the list."""
    assert read(tree, script) == set()
    assert listen(tree, script) == b"", "the list is there, and empty"


@pytest.mark.parametrize(
    "script",
    [
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.spawnv(os.P_WAIT, '/bin/true', ['true'])",
        "os.execv('/bin/true', ['true'])",
        "os.popen('true').read()",
    ],
)
def test_another_program_may_have_read_anything(tree: Path, script: str) -> None:
    """A setup.py may call a compiler."""
    everything = {"pyproject.toml", "README.md", "shop/__init__.py", "shop/a.py", "shop/ü.txt"}
    assert read(tree, script) == everything


def test_without_a_list_everything_counts_as_read(tree: Path) -> None:
    """The process of a back end may never start Python."""
    assert wheels.read_files(tree / "no list", {"a", "b"}) == {"a", "b"}


def test_a_tree_behind_a_link_is_the_tree(tree: Path) -> None:
    """Temporary folders are symbolic links on some systems."""
    link = tree.with_name("link")
    link.symlink_to(tree)
    assert read(link, "open('README.md').close()") == {"README.md"}
    assert read(link, f"open({str(tree / 'shop' / 'a.py')!r}).close()") == {
        *("README.md", "shop/a.py")
    }


@pytest.mark.parametrize("name", ["a b", "ü", "a\nb", "a\x0bb", "a\u2028b", "aÿ"])
def test_any_name_is_understood(tree: Path, name: str) -> None:
    """A name may contain a line end."""
    (tree / name).touch()
    assert name in read(tree, f"open({name!r}).close()")


def test_a_name_that_is_no_text_is_understood(tree: Path) -> None:
    """Names on file systems are bytes."""
    name = os.fsdecode(b"a\xff")
    (tree / name).touch()
    assert read(tree, "open(b'a\\xff').close()") == {name}


def test_nothing_is_done_unasked(tree: Path) -> None:
    """Other builds use the same virtualenv."""
    assert listen(tree, "open('README.md').close()", on=False) is None
