"""The environment variables of the application, secrets included: deploy/run.env.

One NAME=value a line. The value is everything after the first `=`, byte for byte: quotes stay,
nothing is expanded, and a `#` in it is part of it. Empty lines and lines that begin with `#` are
ignored. That is the format of `docker run --env-file`. What docker would quietly read in another
way than it is written is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NoReturn

from slipway.laptop.console import Failed, warn
from slipway.laptop.paths import DEPLOY

PATH = DEPLOY / "run.env"
ASSIGNMENT = re.compile(rb"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.S)
LONGEST = 65_000  # bytes; docker reads lines of at most 64 KiB


class EnvironmentFileError(Failed):
    """A deploy/run.env that docker would misread; the message names the line and the fix."""


def parse(data: bytes) -> dict[str, bytes]:
    """Return the variables in the file's content; EnvironmentFileError names the first bad line."""
    values: dict[str, bytes] = {}
    unclosed = (0, "")  # the line and the name of a value with an opening quote only
    for number, line in enumerate(data.split(b"\n"), 1):
        where = f"deploy/run.env, line {number}"
        if line.endswith(b"\r"):
            raise EnvironmentFileError(f"{where}: ends as on Windows: save it with Unix line ends")
        if not line.strip() or line.startswith(b"#"):
            continue
        match = ASSIGNMENT.fullmatch(line)
        if not match:
            raise EnvironmentFileError(_malformed(line, number, unclosed))
        name, value = match[1].decode(), match[2]
        if name == "PORT":
            raise EnvironmentFileError(
                f"{where}: remove PORT here, and set PORT in deploy/settings.mk"
            )
        if name in values:
            raise EnvironmentFileError(f"{where}: {name} is already set above: remove one of them")
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
            f"deploy/run.env, line {first}: the value of {name} continues in line {number}, and"
            " docker cannot pass newlines: write it on one line, as base64 for example, or mount a"
            " file (VOLUMES)"
        )
    where = f"deploy/run.env, line {number}"
    # The line is not shown: it may be the second half of a secret.
    if re.match(rb"\s*(export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=", line):
        return f"{where}: write NAME=value, without `export` and without spaces before the ="
    return f"{where}: write NAME=value on one line (docker cannot pass newlines)"


def _is_text(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def text(values: dict[str, bytes]) -> bytes:
    """Return variables in the format that docker reads."""
    return b"".join(b"%s=%s\n" % (name.encode(), value) for name, value in values.items())


def quoted(values: Mapping[str, bytes]) -> list[str]:
    """Return the names of the values that stand in quotes, as files for a shell or compose do."""
    return [name for name, value in values.items() if re.fullmatch(rb"([\"']).*\1", value, re.S)]


def load() -> dict[str, bytes]:
    """Read deploy/run.env; empty if there is no such file. Print which values are in quotes."""
    try:
        values = parse(PATH.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise EnvironmentFileError(f"deploy/run.env cannot be read: {problem.strerror}") from None
    names = quoted(values)
    if names:
        warn(
            f"deploy/run.env: the value of {', '.join(names)} stands in quotes, which the"
            " application gets as well: remove them, unless they are meant"
        )
    return values


def become(
    command: list[str], environment: Mapping[str, str], variables: Mapping[str, bytes]
) -> NoReturn:
    """Replace this process by a program with an environment and the variables of deploy/run.env."""
    inherited = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
    values = {os.fsencode(name): value for name, value in variables.items()}
    os.execve(command[0], command, {**inherited, **values})
