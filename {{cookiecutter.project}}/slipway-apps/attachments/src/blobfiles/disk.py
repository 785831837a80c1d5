"""The disk of an SQLite database, which is never filled: on a full one not even deleting works.

Everything that SQLite changes is written to the log first, and copied to the database file later.
So bytes are refused while there is still room for the log, and for all that is in it.

Others may fill the disk as well. For that a file of zeros beside the database can be given up.
"""

from __future__ import annotations

import contextlib
import os
import shutil

# The log is restarted when it has this size.
LOG_BYTES = 32 << 20
# What is always left for changes that free space.
LEAST_BYTES = 4 << 20
RESERVE_BYTES = 16 << 20


def room(path: str, size: int, pages: int, unused: int) -> int:
    """Return how many bytes of files a database can still store.

    `path` is its file, `size` that of its pages, of which some may be unused.
    """
    waiting = max(0, pages * size - size_of(path))  # in the log, and not in the database file yet
    left = left_on_disk(path) - waiting
    if left < LEAST_BYTES:
        return 0
    log = max(LEAST_BYTES, LOG_BYTES - size_of(f"{path}-wal"))
    return unused * size + max(0, left - log)


def left_on_disk(path: str) -> int:
    """Return how many bytes this process can still write where a file is."""
    return shutil.disk_usage(os.path.dirname(path) or ".").free


def size_of(path: str) -> int:
    """Return the size of a file in bytes; 0 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_size
    return 0


def reserve(path: str) -> None:
    """Write the file that can be given up, if the disk has much more room than that."""
    if not hasattr(os, "posix_fallocate") or size_of(f"{path}-reserve") >= RESERVE_BYTES:
        return
    # Without the file everything else works.
    with contextlib.suppress(OSError):
        if left_on_disk(path) > RESERVE_BYTES + LOG_BYTES:
            with open(f"{path}-reserve", "wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)


def give_up_reserve(path: str) -> None:
    """Empty that file if the disk is full."""
    # SQLite itself explains a folder that is missing.
    with contextlib.suppress(OSError):
        if left_on_disk(path) < LEAST_BYTES and size_of(f"{path}-reserve"):
            os.truncate(f"{path}-reserve", 0)
