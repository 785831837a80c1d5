"""Run commands, and measure when they print each line."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.console import HarnessError, last_lines

# These variables would influence only some contenders: settings of a surrounding make, of this
# machine's pip and uv, and of this repository's Makefile.
FOREIGN = (
    *("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHON", "VIRTUAL_ENV"),
    "PYTHONDONTWRITEBYTECODE",
)
FOREIGN_PREFIXES = ("PIP_", "UV_", "DEPLOY_")


@dataclass(frozen=True)
class Timed:
    """The seconds that a command took, and each line of its output with the second it came at."""

    seconds: float
    lines: list[tuple[float, str]]

    @property
    def output(self) -> str:
        """The whole output."""
        return "\n".join(text for _, text in self.lines)


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without variables that influence only some contenders."""
    return {
        name: value
        for name, value in environment.items()
        if name not in FOREIGN and not name.startswith(FOREIGN_PREFIXES)
    }


def timed(
    *command: str | Path, environment: Mapping[str, str] = os.environ, folder: Path | None = None
) -> Timed:
    """Run a command; return its time and output.

    Raises HarnessError, with the last lines of the output, if it fails.
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
