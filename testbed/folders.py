"""The folders of the testbed: a cache that stays, and the state of the engine.

Filling the cache takes minutes and traffic, so it is kept. The state is one folder, so that
removing it removes the engine.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.console import HarnessError

# The longest socket below the state is `run/containerd/containerd.sock.ttrpc`, and the address of a
# Unix socket has at most 108 bytes.
LONGEST_STATE = 60


def cache() -> Path:
    """Return the folder of downloads and images: $XDG_CACHE_HOME/slipway or ~/.cache/slipway."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "slipway"


def state() -> Path:
    """Return the folder of the engine's state: $SLIPWAY_STATE or /var/lib/slipway.

    Raises HarnessError if the path is not absolute, or too long for the sockets in it.
    """
    folder = Path(os.environ.get("SLIPWAY_STATE") or "/var/lib/slipway")
    if not folder.is_absolute() or len(str(folder)) > LONGEST_STATE:
        raise HarnessError(
            f"engine: SLIPWAY_STATE must be an absolute path of at most {LONGEST_STATE}"
            f" characters, not {folder}"
        )
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the duration of the block, one process at a time.

    The holder may remove the folder of the lock. Then a process that waited has locked a file that
    does not exist any more, so it tries again.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_file_at(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
