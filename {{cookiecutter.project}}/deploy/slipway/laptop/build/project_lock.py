"""A lock that lets one build of a project run at a time."""

from __future__ import annotations

import fcntl
import os
import sys


def alone() -> bool:
    """Hold the project's lock, for as long as the shell that calls this has its DEPLOY_LOCK open.

    False says that another build had it, and may have changed anything.
    """
    descriptor = int(os.environ.get("DEPLOY_LOCK") or -1)
    if descriptor < 0:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another make is at work in this project; waiting for it", file=sys.stderr)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return False
    return True
