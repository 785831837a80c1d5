"""Run a command, take its time, and know when it said what."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.console import HarnessError, last_lines

# What would make one command read another's settings: a make above us, this machine's pip and uv;
# and what this repository's Makefile sets.
FOREIGN = (
    *("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHON", "VIRTUAL_ENV"),
    "PYTHONDONTWRITEBYTECODE",
)
FOREIGN_PREFIXES = ("PIP_", "UV_", "DEPLOY_")


@dataclass(frozen=True)
class Timed:
    """What a command took, in seconds, and each line that it said, with the second it came at."""

    seconds: float
    lines: list[tuple[float, str]]

    @property
    def output(self) -> str:
        """All that it said."""
        return "\n".join(text for _, text in self.lines)


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out of an environment what only some of the contenders would listen to."""
    return {
        name: value
        for name, value in environment.items()
        if name not in FOREIGN and not name.startswith(FOREIGN_PREFIXES)
    }


def timed(
    *command: str | Path, environment: Mapping[str, str] = os.environ, folder: Path | None = None
) -> Timed:
    """Run a command to its end.

    Raises HarnessError, with the last lines of what it said, when it fails.
    """
    words = [str(word) for word in command]
    lines = []
    start = time.monotonic()
    with subprocess.Popen(
        words,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append((time.monotonic() - start, line.rstrip("\n")))
            process.wait()
        except BaseException:
            process.terminate()
            raise
    done = Timed(time.monotonic() - start, lines)
    if process.returncode:
        raise HarnessError(
            f"bench: exit {process.returncode} from: {shlex.join(words)}\n"
            + last_lines(done.output)
        )
    return done
