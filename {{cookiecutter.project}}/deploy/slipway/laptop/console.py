"""Messages on the terminal, and the end of a command that cannot go on."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TextIO

# What a terminal may take for a command, or for a change of the direction of writing: control
# characters but tab and newline, and surrogates, which cannot be printed.
HIDDEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


class Failed(Exception):
    """A command cannot go on; the message says what failed, why, and what to do."""


class SettingsError(Failed):
    """A setting that cannot be used; the message says where it stands and what to write."""


def visible(text: str) -> str:
    """Return a text with control characters written as \\xNN or \\uNNNN.

    What comes from a server, a container or a package is printed in this form only.
    """

    def written(found: re.Match[str]) -> str:
        code = ord(found[0])
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return HIDDEN.sub(written, text.replace("\r\n", "\n"))


def visible_json(text: str) -> str:
    """Return JSON with control characters as escapes, which stand for the same characters."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def show(text: str, target: TextIO | None = None) -> None:
    """Print a text of one or more lines, on standard output by default."""
    # In one piece: several servers may be reported on at the same time.
    target = target or sys.stdout
    target.write(f"{visible(text)}\n")
    target.flush()


def say(message: str) -> None:
    """Print one line about what is being done."""
    show(f"slipway: {message}")


def warn(message: str) -> None:
    """Print one line on standard error."""
    show(f"slipway: {message}", sys.stderr)


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
