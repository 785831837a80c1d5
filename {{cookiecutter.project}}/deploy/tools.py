"""Run the builder's tools: quiet while they work, their own words when they fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL = 60  # lines of a failed tool's output
UNTRUSTED = (
    "a certificate is not trusted: put that of your inspecting proxy, or of your index's"
    " authority, into deploy/ca as a .crt file"
)


class Failure(Exception):
    """A step that cannot be done; the message says what to change."""


def say(message: str) -> None:
    """Tell the user one line; standard output is kept for the lock."""
    print(f"wheels: {message}", file=sys.stderr, flush=True)


def telling(lines: list[str]) -> list[str]:
    """Choose the lines that say why: the end, and where errors begin when that is further up."""
    if len(lines) <= TAIL:
        return lines
    first = next(
        (n for n, line in enumerate(lines) if re.match(r"\W*(error|fatal)\b", line, re.I)), 0
    )
    half = TAIL // 2
    if not 0 < first < len(lines) - TAIL:
        return lines[-TAIL:]
    return [*lines[first : first + half], "…\n", *lines[-half:]]


def quietly(
    command: Sequence[str], environment: Mapping[str, str], cwd: str | Path | None = None
) -> int:
    """Run a command, showing the end of what it said when it fails; gives its status.

    VERBOSE=1 shows all of it as it comes.
    """
    quiet = not os.environ.get("VERBOSE")
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        status = subprocess.call(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log if quiet else sys.stderr.fileno(),
            stderr=log if quiet else None,
        )
        if status:
            log.seek(0)
            lines = log.readlines()
            sys.stderr.writelines(telling(lines))
            if any("CERTIFICATE_VERIFY_FAILED" in line for line in lines):
                say(UNTRUSTED)
    return status


def run(
    tool: str, *arguments: str, environment: Mapping[str, str], cwd: Path | None = None
) -> None:
    """Run a module of this interpreter as a program; Failure when it fails."""
    status = quietly([sys.executable, "-m", tool, *arguments], environment, cwd)
    if status:
        raise Failure(f"{tool} {arguments[0]} failed with status {status}; see above")
