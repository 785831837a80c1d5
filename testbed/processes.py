"""Processes in /proc: whether and since when they run, and their descendants."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path

PROC = Path("/proc")


def born(pid: int) -> str | None:
    """Return the start time of a running process; with its number, it identifies the process."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return fields[19]


def descendants(roots: Iterable[int]) -> set[int]:
    """Return these processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for pid in _all():
        fields = _stat(pid)
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def naming(words: Collection[str], text: str) -> set[int]:
    """Return processes whose program is one of `words` and whose command line contains `text`."""
    found = set()
    for pid in _all():
        try:
            command = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if Path(command.split("\0")[0]).name in words and text in command:
            found.add(pid)
    return found


def end(pids: Iterable[int], sign: signal.Signals, seconds: float) -> set[int]:
    """Send a signal to processes and wait for their end; return those that still run."""
    living = {pid: start for pid in pids if (start := born(pid)) is not None}
    for pid in living:
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + seconds
    while True:
        left = {pid for pid, start in living.items() if born(pid) == start}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _all() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name, which may contain any text."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
