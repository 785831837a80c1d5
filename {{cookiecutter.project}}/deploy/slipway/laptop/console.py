"""Messages on the terminal, and the end of a command that cannot go on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn


class Failed(Exception):
    """A command that cannot go on; the message says what failed, why, and what to do."""


class SettingsError(Failed):
    """A setting that cannot be used; the message names its place and says what to write."""


def die(message: str) -> NoReturn:
    """Print `slipway: message` on standard error and exit with status 1."""
    print(f"slipway: {message}", file=sys.stderr)
    raise SystemExit(1)


def say(message: str) -> None:
    """Print one line, `slipway: message`."""
    sys.stdout.write(f"slipway: {message}\n")
    sys.stdout.flush()


def show_command(words: Sequence[str], note: str = "") -> None:
    """Print a command line that can be pasted into a shell, below a comment line."""
    text = f"# {note}\n" if note else ""
    sys.stdout.write(f"{text}{shlex.join(words)}\n")
    sys.stdout.flush()
