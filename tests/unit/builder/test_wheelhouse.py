"""A folder of wheels: listed with their SHA-256, and complete at all times."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.builder import errors, wheelhouse
from slipway.shared import lockfile
from tests.unit.conftest import DEPLOY, make_wheel


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
    """The rest of the name does not matter."""
    assert wheelhouse.name_of(Path("somewhere", file)) == expected


def test_sums_are_in_the_order_of_names(tmp_path: Path) -> None:
    """The same wheels give the same list, which pip can check."""
    made = [make_wheel(tmp_path, name, "1.0") for name in ("b", "A", "c")]
    assert wheelhouse.listing(made) == wheelhouse.listing(made[::-1])
    assert [pin.name for pin in lockfile.pins(wheelhouse.listing(made))] == ["a", "b", "c"]
    assert wheelhouse.listing(made[:1]) == (
        f"b==1.0 --hash=sha256:{hashlib.sha256(made[0].read_bytes()).hexdigest()}\n"
    )


def test_a_folder_is_whole_only_as_its_own_list_says(tmp_path: Path) -> None:
    """An added, missing or changed wheel, another header or a missing list are noticed."""
    two = [make_wheel(tmp_path, name, "1.0") for name in ("one", "two")][1]
    assert not wheelhouse.is_whole(tmp_path, "# x\n")
    wheelhouse.list_in(tmp_path, "# x\n")
    assert wheelhouse.is_whole(tmp_path, "# x\n")
    assert not wheelhouse.is_whole(tmp_path, "# y\n")
    assert not wheelhouse.is_whole(tmp_path, "")
    assert not wheelhouse.is_whole(tmp_path, "# x\n# z\n")
    kept = two.read_bytes()
    two.write_bytes(kept + b"\0")
    assert not wheelhouse.is_whole(tmp_path, "# x\n")
    two.unlink()
    assert not wheelhouse.is_whole(tmp_path, "# x\n")
    two.write_bytes(kept)
    make_wheel(tmp_path, "three", "1.0")
    assert not wheelhouse.is_whole(tmp_path, "# x\n")


def test_the_list_names_what_the_folder_has(tmp_path: Path) -> None:
    """The list follows the header; an empty folder has an empty list."""
    wheelhouse.list_in(tmp_path, "# x\n")
    assert (tmp_path / "requirements.txt").read_text() == "# x\n"
    one = make_wheel(tmp_path, "one", "1.0")
    wheelhouse.list_in(tmp_path, "# x\n")
    assert (tmp_path / "requirements.txt").read_text() == "# x\n" + wheelhouse.listing([one])


def without_renameat2(patch: pytest.MonkeyPatch) -> None:
    """Replace the C library by one without the function, as on macOS."""
    patch.setattr(ctypes, "CDLL", lambda *arguments, **more: object())


def with_a_file_system_that_cannot(patch: pytest.MonkeyPatch) -> None:
    """Replace the C library by one that refuses, as on a network's file system."""

    class Libc:
        """A C library whose function fails."""

        def renameat2(self, *arguments: object) -> int:
            """Do nothing."""
            return -1

    patch.setattr(ctypes, "CDLL", lambda *arguments, **more: Libc())


ways = pytest.mark.parametrize(
    "way", [lambda patch: None, without_renameat2, with_a_file_system_that_cannot]
)


@ways
def test_a_new_folder_takes_the_old_ones_place_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Folders that a killed build left do not matter."""
    way(monkeypatch)
    place = tmp_path / "house" / "deps"
    for leftover in (".new-deps", ".old-deps"):
        (tmp_path / "house" / leftover).mkdir(parents=True)
        (tmp_path / "house" / leftover / "half").touch()
    for name in ("first", "second"):
        with wheelhouse.replacing(place) as new:
            assert list(new.iterdir()) == []
            (new / name).touch()
        assert [path.name for path in place.iterdir()] == [name]
    assert os.listdir(tmp_path / "house") == ["deps"]


def test_a_new_folder_that_is_not_finished_vanishes(tmp_path: Path) -> None:
    """The old folder stays."""
    (tmp_path / "deps").mkdir()
    (tmp_path / "deps" / "good").touch()
    with contextlib.suppress(errors.Failure), wheelhouse.replacing(tmp_path / "deps") as new:
        (new / "half").touch()
        raise errors.Failure("it cannot be built")
    assert [path.name for path in tmp_path.rglob("*")] == ["deps", "good"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has renameat2")
def test_two_folders_change_places_at_once(tmp_path: Path) -> None:
    """Nothing changes if one of the folders does not exist."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was-{name}").touch()
    assert wheelhouse.exchange(tmp_path / "one", tmp_path / "two")
    assert os.listdir(tmp_path / "one") == ["was-two"]
    assert os.listdir(tmp_path / "two") == ["was-one"]
    assert not wheelhouse.exchange(tmp_path / "one", tmp_path / "three")
    assert os.listdir(tmp_path / "one") == ["was-two"]


KILLED = """\
import os, pathlib, sys
from slipway.builder import wheelhouse

place, wanted = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rename, done = pathlib.Path.rename, []

def renamed(self, target):
    if len(done) == wanted:
        os.kill(os.getpid(), 9)
    done.append(self)
    return rename(self, target)

pathlib.Path.rename = renamed
wheelhouse.exchange = lambda one, other: False
with wheelhouse.replacing(place) as new:
    (new / "new").touch()
"""


@pytest.mark.parametrize("renames", [0, 1])
def test_a_put_that_was_killed_is_repaired(tmp_path: Path, renames: int) -> None:
    """Between its renames there is no folder; the next build restores the old one."""
    place = tmp_path / "deps"
    place.mkdir()
    (place / "old").touch()
    killed = subprocess.run([sys.executable, "-c", KILLED, place, str(renames)], cwd=DEPLOY)
    assert killed.returncode == -9
    assert place.exists() is (renames == 0)
    with contextlib.suppress(errors.Failure), wheelhouse.replacing(place):
        assert os.listdir(place) == ["old"]
        raise errors.Failure("it cannot be built")
    assert os.listdir(place) == ["old"]
    assert os.listdir(tmp_path) == ["deps"]


def test_what_is_there_is_not_put_back_over(tmp_path: Path) -> None:
    """A put that was killed at its end leaves an old folder that is not needed."""
    for name in ("deps", ".old-deps"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"in {name}").touch()
    wheelhouse.recover(tmp_path / "deps")
    assert os.listdir(tmp_path / "deps") == ["in deps"]
    wheelhouse.recover(tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_only_one_build_is_at_work_in_a_folder(tmp_path: Path) -> None:
    """The second build reports that it waits, and continues after the first one."""
    script = """\
import pathlib, sys
from slipway.builder import wheelhouse
with wheelhouse.locked(pathlib.Path(sys.argv[1])):
    print("at work")
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with wheelhouse.locked(tmp_path):
        other = subprocess.Popen(
            command, cwd=DEPLOY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert other.stderr
        said = other.stderr.readline()
        assert said == "builder: waiting for another build in this wheelhouse to finish\n"
        assert other.poll() is None
    assert other.communicate() == ("at work\n", "")
    assert os.listdir(tmp_path) == []


def test_a_wheels_requirements_are_read_from_its_metadata(tmp_path: Path) -> None:
    """Markers and extras are included; the metadata of a vendored package does not count."""
    asked = ["attrs>=22", "café; extra == 'x'"]
    wheel = make_wheel(tmp_path, "shop", "1.0", asked)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("shop/_vendor/old-1.dist-info/METADATA", "Requires-Dist: nothing\n")
    assert wheelhouse.requirements_of(wheel) == asked
    assert wheelhouse.requirements_of(make_wheel(tmp_path, "plain", "1.0")) == []
