"""Where the harness keeps things: downloads that are worth keeping, and a state to remove.

The cache outlives every session, since it costs minutes and traffic to fill. The state is one
folder so that removing it is removing the engine.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.console import HarnessError

# The longest socket below the state, `run/containerd/containerd.sock.ttrpc`, has to fit into the
# 108 bytes that a Unix socket's address has.
LONGEST_STATE = 60


def cache() -> Path:
    """The folder for downloads and images: $XDG_CACHE_HOME/slipway or ~/.cache/slipway."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "slipway"


def state() -> Path:
    """The folder for the engine that is running: $SLIPWAY_STATE or /var/lib/slipway.

    Raises HarnessError when the path is not absolute or too long for the sockets in it.
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
    """Hold the lock file `path`, one process at a time.

    The folder of the lock may be removed by whoever holds it: who waited on a file that has gone
    meanwhile holds nothing, and tries again.
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
