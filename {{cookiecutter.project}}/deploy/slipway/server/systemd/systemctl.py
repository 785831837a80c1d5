"""A service's unit on a server, and files that are written completely or not at all."""

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
    """Return a file's text; empty if there is no file."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    return ""


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file completely or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


class Systemd:
    """The service's unit in one manager: the system's, or an account's own."""

    def __init__(self, name: str, units: Path, manager: str, mark: str) -> None:
        """Use the service's name, the folder of units, and the manager's command."""
        self.name = name
        self.path = units / f"{name}.service"
        self.manager = manager.split()
        self.mark = mark
        self.started = 0.0

    def __call__(self, *words: str, check: bool = True) -> str:
        """Run systemctl and return its output; raise Failed if it fails, unless check is false."""
        done = subprocess.run(
            [*self.manager, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if check and done.returncode:
            raise Failed(f"systemctl {words[0]} fails: {done.stderr.strip()}")
        return done.stdout

    def state(self) -> dict[str, str]:
        """Return the present properties of the service."""
        names = "ActiveState,SubState,NRestarts,ExecMainStatus,Result,FragmentPath"
        output = self("show", "--property", names, self.name, check=False)
        return dict(line.partition("=")[::2] for line in output.splitlines())

    @property
    def is_managed(self) -> bool:
        """Check whether a deploy may write the unit: it is slipway's, or there is none."""
        found = self.state().get("FragmentPath", "")
        return not found or read(Path(found)).startswith(self.mark)

    def put(self, text: str) -> None:
        """Write and enable the unit, unless it is managed by the user."""
        if not self.is_managed:
            return
        if read(self.path) != text:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write(self.path, text)
            self("daemon-reload")
        self("enable", "--quiet", self.name)

    def is_private(self, text: str) -> bool:
        """Check whether no other account has to read the releases.

        A service of an account runs as that account. A service of root has an account of its own,
        and a unit with this line shows it the releases wherever they are.
        """
        if not self.is_managed:
            text = read(Path(self.state()["FragmentPath"]))
        return "--user" in self.manager or "\nTemporaryFileSystem=" in text

    def start(self) -> None:
        """Start the current release."""
        self.started = time.time()
        # The service's state shows whether it started.
        self("start", self.name, check=False)

    def stop(self) -> None:
        """Stop the service, and reset its failures."""
        self("stop", self.name, check=False)
        self("reset-failed", self.name, check=False)

    def remove(self) -> None:
        """Stop the service and remove its unit, unless it is managed by the user."""
        self.stop()
        if self.is_managed and self.path.exists():
            self("disable", "--quiet", self.name, check=False)
            self.path.unlink()
            self("daemon-reload")

    def log(self) -> str:
        """Return the last lines of the log since the service was started."""
        words = ["journalctl", *self.manager[1:], "--unit", self.name, "--no-pager", "--quiet"]
        words += ["--output", "cat", "--lines", str(LINES), "--since", f"@{int(self.started)}"]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.stdout
