"""TZ in deploy/run.env: a name that nobody knows is refused, since it would silently be UTC."""

from __future__ import annotations

import pytest

from slipway.laptop.docker import time_zone
from tests.unit.conftest import Program


@pytest.mark.parametrize(
    ("zone", "status", "asked"),
    [
        ("Europe/Berln", 1, True),
        (":US/Nowhere", 1, True),
        ("Mars/Olympus", 0, True),
        ("Mars/Olympus", 125, True),
        ("Europe/Berlin", 1, False),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 1, False),
        ("<+0330>-3:30", 1, False),
        ("", 1, False),
    ],
)
def test_an_unknown_time_zone_is_refused(
    program: Program, zone: str, status: int, asked: bool
) -> None:
    """The image decides, and is asked only about names that this machine does not know either."""
    docker = program("docker", f'echo "$*" >>"$0.log"; exit {status}')
    found = time_zone.problem(str(docker), "shop-run", {"TZ": zone.encode()})
    assert docker.with_name("docker.log").exists() == asked
    assert bool(found) == (asked and status == 1)
    if found:
        assert f"TZ is {zone.lstrip(':')!r}, which the image does not have" in found
        assert "write a name such as Europe/Berlin" in found


def test_without_the_variable_nothing_is_asked() -> None:
    """Most applications have none."""
    assert time_zone.problem("false", "shop-run", {"LANG": b"C"}) == ""
