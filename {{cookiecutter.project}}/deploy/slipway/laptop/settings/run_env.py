#!/usr/bin/env python3
"""The environment that the application runs with: deploy/run.env, secrets included.

`environment.py` prints the file's path when there is one that docker can carry, and ends with a
line that says what to change when there is one that it cannot. `environment.py exec PROGRAM…`
becomes a program that has it, where there is no Docker.

One NAME=value a line. The value is all that comes after the first `=`, byte for byte: no quotes are
taken off, nothing is expanded, nothing is cut off at a `#`. Empty lines and lines that begin with
`#` are left out. That is the format of `docker run --env-file`, and what docker would quietly read
in another way than it is written is refused here.
"""

from __future__ import annotations

import os
import re
import sys
from typing import NoReturn

from slipway.laptop.console import die
from slipway.laptop.paths import DEPLOY

PATH = DEPLOY / "run.env"
ASSIGNMENT = re.compile(rb"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.S)
LONGEST = 65_000  # bytes; docker reads lines of at most 64 KiB


class EnvironmentFileError(Exception):
    """An environment that docker cannot carry; the message names the line and what to write."""


def parse(data: bytes) -> dict[str, bytes]:
    """Read the file's content into {name: value}; EnvironmentFileError names a line."""
    values: dict[str, bytes] = {}
    unclosed = (0, "")  # the line whose value began with a quote, and its name
    for number, line in enumerate(data.split(b"\n"), 1):
        where = f"deploy/run.env, line {number}"
        if line.endswith(b"\r"):
            raise EnvironmentFileError(f"{where}: ends as in Windows: save it with Unix line ends")
        if not line.strip() or line.startswith(b"#"):
            continue
        match = ASSIGNMENT.fullmatch(line)
        if not match:
            raise EnvironmentFileError(_malformed(line, number, unclosed))
        name, value = match[1].decode(), match[2]
        if name == "PORT":
            raise EnvironmentFileError(
                f"{where}: set PORT in deploy/settings.mk, and remove it here"
            )
        if name in values:
            raise EnvironmentFileError(f"{where}: {name} is set above already: remove one of them")
        if b"\0" in value or len(line) > LONGEST or not _is_text(value):
            raise EnvironmentFileError(
                f"{where}: the value of {name} is binary or too long for docker: write it as text,"
                " as base64 for example, or mount a file (VOLUMES)"
            )
        values[name] = value
        quote = value[:1]
        unclosed = (number, name) if quote in (b'"', b"'") and value.count(quote) == 1 else (0, "")
    return values


def _malformed(line: bytes, number: int, unclosed: tuple[int, str]) -> str:
    first, name = unclosed
    if first:
        return (
            f"deploy/run.env, line {first}: the value of {name} goes on in line {number}, and"
            " docker cannot carry newlines: write it in one line, as base64 for example, or mount a"
            " file (VOLUMES)"
        )
    where = f"deploy/run.env, line {number}"
    # the line itself may be a secret's second half
    if re.match(rb"\s*(export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=", line):
        return f"{where}: write NAME=value, without `export` and blanks before the ="
    return f"{where}: write NAME=value on one line (docker cannot carry newlines)"


def _is_text(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def text(values: dict[str, bytes]) -> bytes:
    """Write an environment as docker reads it."""
    return b"".join(b"%s=%s\n" % (name.encode(), value) for name, value in values.items())


def load() -> dict[str, bytes]:
    """Read deploy/run.env; empty when there is none, and ends with one line when it is not good."""
    try:
        return parse(PATH.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as problem:
        die(f"deploy/run.env cannot be read: {problem.strerror}")
    except EnvironmentFileError as problem:
        die(str(problem))


def become(command: list[str]) -> NoReturn:
    """Go on as a program that has the environment beside this one's."""
    values = {os.fsencode(name): value for name, value in load().items()}
    os.execve(command[0], command, {**os.environb, **values})


if __name__ == "__main__":
    if sys.argv[1:2] == ["exec"]:
        become(sys.argv[2:])
    load()
    if PATH.exists():
        sys.stdout.write(f"{PATH}\n")
