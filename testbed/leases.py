"""Who still needs the engine, so that the last one to leave switches it off.

A lease is a file. One with a name (`developer`, `demo`) lasts until it is dropped; one of a
process counts for as long as that process lives, so a killed test run holds nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from testbed import processes

PROCESS = "process-"


class Leases:
    """The leases in a folder. Callers hold the state's lock."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made with the first lease."""
        self._folder = folder

    @staticmethod
    def name_of(pid: int) -> str:
        """The name of a process's lease."""
        return f"{PROCESS}{pid}"

    def take(self, name: str | None = None) -> str:
        """Take a lease, of this process unless it has a name of its own, and return its name."""
        name = name or self.name_of(os.getpid())
        self._folder.mkdir(parents=True, exist_ok=True)
        start = processes.born(os.getpid()) or "" if name.startswith(PROCESS) else ""
        (self._folder / name).write_text(start)
        return name

    def drop(self, name: str) -> None:
        """Drop a lease; one that is not held is none the less dropped."""
        (self._folder / name).unlink(missing_ok=True)

    def held(self) -> list[str]:
        """The names of the leases that count."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if self._counts(path))

    @staticmethod
    def _counts(path: Path) -> bool:
        if not path.name.startswith(PROCESS):
            return True
        start = processes.born(int(path.name.removeprefix(PROCESS)))
        return start is not None and start == path.read_text()
