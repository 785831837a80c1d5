"""How SQLite's one write lock is shared while much is written, and its log kept short.

Who waits for the lock asks for it again and again, at first every 1 to 25 ms and, once 128 ms have
passed, only every 50 or 100 ms (`sqliteDefaultBusyCallback` in SQLite's main.c). One who writes
batch after batch with hardly a pause would be met holding it nearly every time. So there is a
pause that is longer than the first intervals, often enough that one of them falls into it. What
the pause is good for is copying the write-ahead log into the database file, which needs no lock.
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
# At most so many batches are copied at a time: whose own commit waits for the disk waits for them
# too. The log begins anew by itself when nobody reads or writes meanwhile; when it is of so many
# bytes all the same, others are made to wait for a moment.
CHECKPOINT_BATCHES = 16
LONG_BYTES = 32 << 20
# How long readers are waited for then, in milliseconds.
PATIENCE = 20

_paces: dict[str, Pace] = {}
_lock = threading.Lock()


class Pace:
    """The batches of this process on one database file; one at a time."""

    def __init__(self) -> None:
        """Begin with a pause just made."""
        self._gate = threading.Lock()
        self._paused = self._ended = time.monotonic()
        self._batches = 0

    @contextmanager
    def batch(self, connection: Any) -> Iterator[None]:
        """Let others in before this batch if it is their turn, and see to the log after it."""
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
    """Have the log begin anew, waiting a moment for those who read it while nobody can write."""
    ((patience,),) = connection.execute("PRAGMA busy_timeout").fetchall()
    connection.execute(f"PRAGMA busy_timeout = {PATIENCE:d}").close()
    checkpoint(connection, "RESTART")
    connection.execute(f"PRAGMA busy_timeout = {patience:d}").close()


def checkpoint(connection: Any, mode: str) -> tuple[int, int, int]:
    """Copy the log; say whether somebody was in the way, its pages, and how many are copied."""
    (result,) = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    busy, pages, copied = result
    return busy, pages, copied


def of(path: str) -> Pace:
    """Give the one pace that this process has for a database file."""
    with _lock:
        return _paces.setdefault(path, Pace())
