"""The store of downloaded and built files: each file's SHA-256 is checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.builder import store
from slipway.shared import files
from tests.unit.conftest import DEPLOY

SUM = hashlib.sha256(b"content").hexdigest()


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    """A store that does not exist yet."""
    return store.Store(tmp_path / "store")


def add(kept: Any, data: bytes = b"content", name: str = "one.whl", sum_: str = SUM) -> Path:
    """Add a file to the store, and return its path."""
    return Path(kept.add_file(name, {sum_, "0" * 64}, lambda place: place.write_bytes(data)))


def built(kept: Any, folder: Path, key: str = "key", data: bytes = b"content") -> Path:
    """Add a built wheel to the store, and return its path."""
    wheel = folder / "one-1.0-py3-none-any.whl"
    wheel.write_bytes(data)
    return Path(kept.add_built(key, wheel))


def test_a_file_is_found_by_its_sum(kept: Any) -> None:
    """It keeps its name."""
    assert kept.file(SUM) is None
    place = add(kept)
    assert kept.file(SUM) == place
    assert (place.name, place.read_bytes()) == ("one.whl", b"content")
    assert not kept.is_built(place)


def leftovers(kept: Any) -> list[Path]:
    """Return the incomplete files in the store."""
    return [path for path in kept.root.rglob("*") if path.name != "files"]


def test_a_file_with_another_sum_is_refused(kept: Any) -> None:
    """The file is not kept."""
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ValueError, match=r"one\.whl has the SHA-256") as refused:
        add(kept, b"other")
    says = f"one.whl has the SHA-256 {other}, which is not in the lock"
    assert str(refused.value) == says
    assert kept.file(SUM) is None
    assert kept.file(other) is None
    assert leftovers(kept) == []


def test_a_file_that_is_not_finished_is_not_kept(kept: Any) -> None:
    """The connection was lost during the download."""

    def fill(place: Path) -> None:
        place.write_bytes(b"content")
        raise ConnectionError

    with contextlib.suppress(ConnectionError):
        kept.add_file("one.whl", {SUM}, fill)
    assert kept.file(SUM) is None
    assert leftovers(kept) == []


def test_a_process_that_is_killed_leaves_nothing_to_be_taken_for_a_file(kept: Any) -> None:
    """The next process downloads the file as usual."""
    script = f"""\
import os, pathlib
from slipway.builder import store

def fill(place):
    place.write_bytes(b"content")
    os.kill(os.getpid(), 9)

store.Store(pathlib.Path({str(kept.root)!r})).add_file("one.whl", {{{SUM!r}}}, fill)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=DEPLOY).returncode == -9
    assert leftovers(kept), "it was killed in the middle"
    assert kept.file(SUM) is None
    assert add(kept).read_bytes() == b"content"
    assert kept.file(SUM) is not None


def test_a_file_that_was_damaged_is_not_used(kept: Any) -> None:
    """It is removed, and can be downloaded again."""
    place = add(kept)
    place.write_bytes(b"c0ntent")
    assert kept.file(SUM) is None
    assert not place.exists()
    assert add(kept) == kept.file(SUM)


def test_the_same_file_from_two_at_once_is_one(kept: Any) -> None:
    """The second process uses the first one's file."""

    def fill(place: Path) -> None:
        place.write_bytes(b"content")
        add(kept)

    assert kept.add_file("one.whl", {SUM}, fill) == kept.file(SUM)
    assert os.listdir(kept.root / "files") == [SUM]
    assert kept.file(SUM).read_bytes() == b"content"


def test_what_was_built_is_found_by_what_it_was_built_from(kept: Any, tmp_path: Path) -> None:
    """Other keys do not find it."""
    assert kept.built("key") is None
    place = built(kept, tmp_path)
    assert kept.built("key") == place
    assert kept.built("another key") is None
    assert kept.is_built(place)
    assert (place.name, place.read_bytes()) == ("one-1.0-py3-none-any.whl", b"content")
    assert built(kept, tmp_path) == place, "two builds at once give the same wheel"


@pytest.mark.parametrize("lost", ["content", "one-1.0-py3-none-any.whl", "sha256"])
def test_a_built_wheel_that_was_damaged_is_not_used(kept: Any, tmp_path: Path, lost: str) -> None:
    """After a change or a removed file, the wheel is built and kept again."""
    place = built(kept, tmp_path)
    if lost == "content":
        place.write_bytes(b"c0ntent")
    else:
        place.with_name(lost).unlink()
    assert kept.built("key") is None
    again = built(kept, tmp_path)
    assert again.read_bytes() == b"content"
    assert kept.built("key") == again


def test_a_folder_that_lost_its_file_is_filled_again(kept: Any) -> None:
    """A user may remove files and leave folders or files of their own."""
    for leftover in (False, True):
        place = add(kept)
        place.unlink()
        if leftover:
            place.with_name("one").touch()
            place.with_name("two").touch()
        assert kept.file(SUM) is None
        assert add(kept).read_bytes() == b"content"
        assert kept.file(SUM) is not None


def test_a_choice_is_remembered(kept: Any) -> None:
    """A later choice replaces it."""
    assert kept.choice("key") == ""
    for sum_ in (SUM, "0" * 64):
        kept.add_choice("key", sum_)
        assert kept.choice("key") == sum_
    assert kept.choice("another key") == ""


def test_an_answer_is_remembered(kept: Any) -> None:
    """None means that there is no answer; an empty list is an answer."""
    assert kept.answer("key").known is None
    asked = kept.answer("key")
    asked.remember([])
    assert asked.known == []
    assert kept.answer("key").known == []
    kept.answer("key").remember(["cffi>=1", "wheel"])
    assert kept.answer("key").known == ["cffi>=1", "wheel"]
    (kept.root / "answers" / "key").write_text('["cffi')
    assert kept.answer("key").known is None


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """After a failure the old file is still there."""
    place = tmp_path / "made on the way" / "text"
    files.write(place, "öne\n")
    assert place.read_text(encoding="utf-8") == "öne\n"
    with pytest.raises(UnicodeEncodeError):
        files.write(place, "two\udc80")
    assert place.read_text(encoding="utf-8") == "öne\n"


@given(st.lists(st.text()), st.lists(st.text()))
def test_a_digest_tells_its_parts_apart(one: list[str], other: list[str]) -> None:
    """Parts with the same text when joined give different digests."""
    assert (files.digest(*one) == files.digest(*other)) is (one == other)
    assert files.digest(one, other) != files.digest([*one, *other])
    assert files.digest(dict.fromkeys(one)) == files.digest(dict.fromkeys(reversed(one)))
