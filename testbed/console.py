"""Print progress, and run commands with errors that contain the reason.

The testbed prints messages to standard error, since a shell evaluates the standard output of
`python3 -m testbed env`.
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
    """A problem that the user has to solve; the text is `name: problem`."""


def say(name: str, message: str) -> None:
    """Print `name: message`."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)


def last_lines(text: str, count: int = TAIL) -> str:
    """Return the end of a log, which usually contains the reason."""
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
    """Run a command; return its standard output.

    Raises HarnessError, with the command and the last lines of its output, if it is not installed,
    fails, or takes longer than `timeout` seconds.
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
        raise HarnessError(f"{name}: {words[0]} is not on the PATH. Install it") from None
    except subprocess.TimeoutExpired:
        raise HarnessError(
            f"{name}: not finished after {timeout:.0f} seconds: {shlex.join(words)}"
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
    """Return whether a command is installed, finishes in time, and exits with status 0."""
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
