"""The interpreter is one line of the settings, and a change of it moves no pin."""

from __future__ import annotations

import re

import pytest

from tests.conftest import Baker
from tests.containers.laptop import SESSION, Laptop, Shipped, answer_of, free_port


def pins_of(lock: str) -> tuple[set[str], dict[str, list[str]]]:
    """Return the pins of a lock, and its pins of back ends by the requirement set."""
    back_ends: dict[str, list[str]] = {}
    wanted: list[str] = []
    for line in lock.splitlines():
        if found := re.fullmatch(r"# To build what asks for (.*):", line):
            wanted = [found[1]]
            back_ends[found[1]] = []
        elif wanted and (found := re.match(r"#   (\S+==\S+) ", line)):
            back_ends[wanted[0]].append(found[1])
    return set(re.findall(r"^[a-z0-9.-]+==\S+", lock, re.M)), back_ends


@pytest.mark.parametrize("shipped", ["PyPy"], indirect=True)
def test_interpreter_is_one_line_in_the_settings(
    generate: Baker, laptop: Laptop, shipped: Shipped
) -> None:
    """From PyPy to CPython: one line changed, and a lock for it is made with the same pins."""
    project = generate(project=f"switch-{SESSION}", python="PyPy")
    lock = shipped.project.read("requirements.txt")
    (project.path / "requirements.txt").write_text(lock)
    settings = project.read("deploy/settings.mk")
    assert "\nPYTHON := pypy3\n" in settings
    (project.path / "deploy" / "settings.mk").write_text(settings.replace("pypy3", "python3"))
    port = free_port()
    try:
        said = laptop.make(project, "wheels", "image", "run", f"PORT={port}")
        assert "is locked for PyPy 3.11 and this is CPython" in said
        assert answer_of(f"127.0.0.1:{port}") == "Hello, world!"
    finally:
        laptop.make(project, "stop")
    pins, back_ends = pins_of(lock)
    pins_now, back_ends_now = pins_of(project.read("requirements.txt"))
    assert pins <= pins_now, "a change of interpreter moves no pin"
    assert pins_now - pins, "cffi is part of PyPy, and is not of CPython"
    assert back_ends_now, "the application is built from source with either"
    for wanted in back_ends_now:
        assert back_ends_now[wanted] == back_ends[wanted], "nor that of a back end"
