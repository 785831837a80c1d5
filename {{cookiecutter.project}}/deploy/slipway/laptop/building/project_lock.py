"""A lock that lets one build of a project run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from slipway.laptop import console
from slipway.laptop.paths import ROOT, make_own_folder

_holds = 0


@contextlib.contextmanager
def held() -> Iterator[bool]:
    """Hold this project's lock; yield whether another build had it and may have changed things.

    A command that holds it may ask for it again. The lock is that of an open file, so that it ends
    with the process, however the process ends.
    """
    global _holds
    if _holds:
        _holds += 1
        try:
            yield False
        finally:
            _holds -= 1
        return
    path = make_own_folder(ROOT / ".deploy") / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    waited = False
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.warn("waiting for another build of this project to finish")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            waited = True
        _holds = 1
        yield waited
    finally:
        _holds = 0
        os.close(descriptor)
