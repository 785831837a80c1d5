"""The users of the engine, so that the last one stops it.

A lease is a file. A named lease (`developer`, `demo`) lasts until it is dropped. The lease of a
process counts as long as the process lives, so that a killed test run does not keep the engine.
"""

from __future__ import annotations

import os
from pathlib import Path

from testbed import processes

PROCESS = "process-"


class Leases:
    """The leases in a folder. Callers hold the lock of the state."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; the first lease creates it."""
        self._folder = folder

    @staticmethod
    def name_of(pid: int) -> str:
        """Return the name of a process's lease."""
        return f"{PROCESS}{pid}"

    def take(self, name: str | None = None) -> str:
        """Return the name of a lease that counts from now on: this name's, or this process's."""
        name = name or self.name_of(os.getpid())
        self._folder.mkdir(parents=True, exist_ok=True)
        start = processes.born(os.getpid()) or "" if name.startswith(PROCESS) else ""
        (self._folder / name).write_text(start)
        return name

    def drop(self, name: str) -> None:
        """Drop a lease, if it is held."""
        (self._folder / name).unlink(missing_ok=True)

    def held(self) -> list[str]:
        """Return the names of the leases that count."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if self._counts(path))

    @staticmethod
    def _counts(path: Path) -> bool:
        if not path.name.startswith(PROCESS):
            return True
        start = processes.born(int(path.name.removeprefix(PROCESS)))
        return start is not None and start == path.read_text()
