"""Messages on the terminal, and the end of a command that cannot go on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn


class SettingsError(Exception):
    """A setting that cannot be used; the message says where it stands and what to write."""


def die(message: str) -> NoReturn:
    """Print `name: message` on standard error and end with status 1."""
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    raise SystemExit(1)
