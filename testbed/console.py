"""Say what happens in one line each, and run commands whose failures explain themselves.

Everything the harness says goes to standard error: standard output belongs to the
commands whose answer somebody evaluates (`python3 -m testbed env`).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL = 50


class HarnessError(Exception):
    """Something that the person at the keyboard has to do; its text is `name: what to do`."""


def say(name: str, message: str) -> None:
    """Report one step as `name: message`."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)


def last_lines(text: str, count: int = TAIL) -> str:
    """The end of a log: where the reason usually is."""
    return "\n".join(text.rstrip().splitlines()[-count:])


def run(
    name: str,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: str = "",
    timeout: float = 600,
) -> str:
    """Run a command to its end and return its standard output.

    Raises HarnessError, in the words `name: command …` and the last lines of what the command
    said, when it is missing, fails, or takes longer than `timeout` seconds.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env=dict(os.environ if environment is None else environment),
            cwd=folder,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise HarnessError(f"{name}: {words[0]} is not on the PATH; install it") from None
    except subprocess.TimeoutExpired:
        raise HarnessError(
            f"{name}: no end after {timeout:.0f} seconds of: {shlex.join(words)}"
        ) from None
    if done.returncode:
        raise HarnessError(
            f"{name}: exit {done.returncode} from: {shlex.join(words)}\n"
            + last_lines(done.stdout + done.stderr)
        )
    return done.stdout


def succeeds(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> bool:
    """Whether a command is there, ends in time, and exits with zero."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env=dict(os.environ if environment is None else environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
