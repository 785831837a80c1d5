"""The copy of the lock for the run image's build, and which built wheels are believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.building import lock_copy

ONE, TWO = "1" * 64, "2" * 64
LOCK = f"one==1.0 \\\n    --hash=sha256:{ONE}  # a comment\ntwo==2.0 --hash=sha256:{TWO}\n"


def told(*events: Mapping[str, Any]) -> dict[str, str]:
    """Return the built wheels after some events of the builder."""
    built = lock_copy.Built()
    for event in events:
        built.read(event)
    return built.sums


def test_wheels_of_sources_are_believed() -> None:
    """Their checksums come after their names."""
    sources = {"event": "sources", "names": ["one"]}
    assert told(sources, {"event": "built", "sums": {"one": ONE}}) == {"one": ONE}
    assert told(sources) == {}


def test_a_build_cannot_add_a_pin_that_the_index_has_a_wheel_of() -> None:
    """It writes later than the builder itself, whatever it writes."""
    events = [{"event": "sources", "names": names} for names in (["one"], ["one", "two"])]
    built = {"event": "built", "sums": {"one": ONE, "two": TWO}}
    assert told(*events, built) == {"one": ONE}
    assert told(built) == {}, "nothing was a source distribution"


def test_what_is_no_checksum_is_not_believed() -> None:
    """It would be written into a file of pins."""
    sources = {"event": "sources", "names": ["one"]}
    assert told(sources, {"event": "built", "sums": {"one": f"{ONE} two==1"}}) == {}
    assert told(sources, {"event": "built", "sums": {"one": 1}}) == {}


def test_the_copy_has_the_pins_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed comment makes no new layer; a lock that the builder refuses has no pins."""
    monkeypatch.setattr(lock_copy, "FOLDER", tmp_path / ".deploy" / "pins")
    lock_copy.write(LOCK, {"two": ONE, "three": TWO})
    pins, built = tmp_path / ".deploy/pins/requirements.txt", tmp_path / ".deploy/pins/built.txt"
    assert pins.read_text() == f"one==1.0 --hash=sha256:{ONE}\ntwo==2.0 --hash=sha256:{TWO}\n"
    assert built.read_text() == f"two==2.0 --hash=sha256:{ONE}\n"
    lock_copy.write("one\n", {})
    assert (pins.read_text(), built.read_text()) == ("", "")


@pytest.mark.parametrize(
    ("built", "dependencies", "own", "foreign"),
    [
        ({}, {ONE: "one-1.0-py3-none-any.whl", TWO: "Two-2.0-py3-none-any.whl"}, [], ""),
        ({"one": "3" * 64}, {"3" * 64: "one-1.0-cp313-cp313-linux_x86_64.whl"}, [], ""),
        ({}, {"3" * 64: "one-1.0-py3-none-any.whl"}, [], "one-1.0-py3-none-any.whl"),
        ({"one": "3" * 64}, {ONE: "one-1.0-py3-none-any.whl"}, [], "one-1.0-py3-none-any.whl"),
        ({}, {ONE: "two-2.0-py3-none-any.whl"}, [], "two-2.0-py3-none-any.whl"),
        ({}, {ONE: "three-1.0-py3-none-any.whl"}, [], "three-1.0-py3-none-any.whl"),
        ({}, {}, ["shop-1.0-py3-none-any.whl"], ""),
        ({}, {}, ["One-9.0-py3-none-any.whl"], "One-9.0-py3-none-any.whl"),
    ],
)
def test_a_wheel_that_the_lock_does_not_allow_is_named(
    built: dict[str, str], dependencies: dict[str, str], own: list[str], foreign: str
) -> None:
    """By its checksum under its own name; the application's own wheel replaces no dependency."""
    wheels = {sum_: Path("deps", name) for sum_, name in dependencies.items()}
    assert lock_copy.foreign(LOCK, built, wheels, [Path("app", name) for name in own]) == foreign
