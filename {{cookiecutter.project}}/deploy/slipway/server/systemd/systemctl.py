"""On a server: a service's unit, by systemctl, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

LINES = 50  # of the log of a release that fails


class Failed(Exception):
    """A job that cannot be done; the message says why."""


def read(path: Path) -> str:
    """Give a file's text; empty when there is none."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    return ""


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


class Systemd:
    """The service's unit, as one manager has it: the system's, or that of an account."""

    def __init__(self, name: str, units: Path, manager: str, mark: str) -> None:
        """Take the service's name, where units are, and the command of the manager."""
        self.name = name
        self.path = units / f"{name}.service"
        self.manager = manager.split()
        self.mark = mark
        self.started = 0.0

    def __call__(self, *words: str, check: bool = True) -> str:
        """Give what systemctl says; Failed when it fails and is checked."""
        done = subprocess.run(
            [*self.manager, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if check and done.returncode:
            raise Failed(f"systemctl {words[0]} fails: {done.stderr.strip()}")
        return done.stdout

    def state(self) -> dict[str, str]:
        """Give what is known of the service now."""
        names = "ActiveState,SubState,NRestarts,ExecMainStatus,Result,FragmentPath"
        said = self("show", "--property", names, self.name, check=False)
        return dict(line.partition("=")[::2] for line in said.splitlines())

    @property
    def is_ours(self) -> bool:
        """Say whether the unit is one that a deploy may write."""
        found = self.state().get("FragmentPath", "")
        return not found or read(Path(found)).startswith(self.mark)

    def put(self, text: str) -> None:
        """Have the unit say this, unless it is its owner's."""
        if not self.is_ours:
            return
        if read(self.path) != text:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write(self.path, text)
            self("daemon-reload")
        self("enable", "--quiet", self.name)

    def restart(self) -> None:
        """Stop what runs and start what is current."""
        self.stop()
        self.started = time.time()
        # what fails to start is seen by its state
        self("start", self.name, check=False)

    def stop(self) -> None:
        """Stop what runs, and forget how it failed."""
        self("stop", self.name, check=False)
        self("reset-failed", self.name, check=False)

    def remove(self) -> None:
        """Have no service any more, unless it is its owner's."""
        self.stop()
        if self.is_ours and self.path.exists():
            self("disable", "--quiet", self.name, check=False)
            self.path.unlink()
            self("daemon-reload")

    def log(self) -> str:
        """Give the last lines that it has said since it was started."""
        words = ["journalctl", *self.manager[1:], "--unit", self.name, "--no-pager", "--quiet"]
        words += ["--output", "cat", "--lines", str(LINES), "--since", f"@{int(self.started)}"]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.stdout
