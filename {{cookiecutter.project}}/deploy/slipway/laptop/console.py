"""Messages on the terminal, and the end of a command that cannot go on."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NoReturn


class Failed(Exception):
    """A command cannot go on; the message says what failed, why, and what to do."""


class SettingsError(Failed):
    """A setting that cannot be used; the message says where it stands and what to write."""


def say(message: str) -> None:
    """Print one line about what is being done."""
    # In one piece: several servers may be reported on at the same time.
    sys.stdout.write(f"slipway: {message}\n")
    sys.stdout.flush()


def warn(message: str) -> None:
    """Print one line on standard error."""
    sys.stderr.write(f"slipway: {message}\n")
    sys.stderr.flush()


def die(message: str) -> NoReturn:
    """Print one line on standard error and end with status 1."""
    warn(message)
    raise SystemExit(1)


def show_command(words: Sequence[str], note: str = "", variables: Sequence[str] = ()) -> None:
    """Print a command line that can be pasted into a shell, below a comment about it.

    variables are assignments that stand in front of it, quoted already.
    """
    if note:
        print(f"# {note}")
    print(" ".join([*variables, shlex.join(words)]), flush=True)


def is_verbose() -> bool:
    """Return whether VERBOSE=1 asks for all that the tools print."""
    return bool(os.environ.get("VERBOSE"))


def wait_for(process: subprocess.Popen[bytes], title: str) -> int:
    """Wait for a process and return its exit status; a terminal shows how long it takes."""
    if not sys.stderr.isatty() or is_verbose():
        return process.wait()
    began, shown = time.monotonic(), False
    try:
        while True:
            try:
                return process.wait(0.5)
            except subprocess.TimeoutExpired:
                shown = True
                sys.stderr.write(f"\r\033[K  {title}: {time.monotonic() - began:.0f} s")
                sys.stderr.flush()
    finally:
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
