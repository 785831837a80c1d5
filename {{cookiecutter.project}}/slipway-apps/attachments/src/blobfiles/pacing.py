"""Fair use of SQLite's only write lock during large writes, and a short write-ahead log.

A connection that waits for the lock asks for it again and again, at first every 1 to 25 ms and
after 128 ms only every 50 or 100 ms (`sqliteDefaultBusyCallback` in SQLite's main.c). A process
that writes batch after batch without a pause would hold the lock nearly every time. So this process
pauses for longer than the first intervals, and often enough that one of them is in a pause. During
the pause it copies the write-ahead log into the database file, which needs no lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Seconds: the pause, and how long batches may follow each other without one.
PAUSE = 0.027
EVERY = 0.09
# The most batches that are copied at a time: a durable commit of another connection waits for them.
# The log restarts by itself if nobody reads or writes meanwhile. If it has reached this many bytes,
# other connections have to wait for a moment.
CHECKPOINT_BATCHES = 16
LONG_BYTES = 32 << 20
# How long to wait for readers then, in milliseconds.
PATIENCE = 20

_paces: dict[str, Pace] = {}
_lock = threading.Lock()


class Pace:
    """The batches of this process on one database file; one at a time."""

    def __init__(self) -> None:
        """Start as if a pause had just ended."""
        self._gate = threading.Lock()
        self._paused = self._ended = time.monotonic()
        self._batches = 0

    @contextmanager
    def batch(self, connection: Any) -> Iterator[None]:
        """Pause before this batch if it is time for others to write; copy the log after it."""
        with self._gate:
            began = time.monotonic()
            if began - self._ended >= PAUSE:
                self._paused = began
            yield
            self._after(connection)
            self._ended = time.monotonic()

    def _after(self, connection: Any) -> None:
        began = time.monotonic()
        self._batches += 1
        if began - self._paused < EVERY and self._batches < CHECKPOINT_BATCHES:
            return
        self._batches = 0
        _, pages, _ = checkpoint(connection, "PASSIVE")
        ((page_size,),) = connection.execute("PRAGMA page_size").fetchall()
        if pages * page_size > LONG_BYTES:
            restart(connection)
            began = time.monotonic()
        time.sleep(max(0, PAUSE - (time.monotonic() - began)))
        self._paused = time.monotonic()


def restart(connection: Any) -> None:
    """Restart the log: nobody can write meanwhile, and its readers get a moment to finish."""
    ((patience,),) = connection.execute("PRAGMA busy_timeout").fetchall()
    connection.execute(f"PRAGMA busy_timeout = {PATIENCE:d}").close()
    checkpoint(connection, "RESTART")
    connection.execute(f"PRAGMA busy_timeout = {patience:d}").close()


def checkpoint(connection: Any, mode: str) -> tuple[int, int, int]:
    """Copy the log; return whether another process blocked it, its pages, and the copied pages."""
    (result,) = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    busy, pages, copied = result
    return busy, pages, copied


def of(path: str) -> Pace:
    """Return the pace of a database file; a process has one for each file."""
    with _lock:
        return _paces.setdefault(path, Pace())
