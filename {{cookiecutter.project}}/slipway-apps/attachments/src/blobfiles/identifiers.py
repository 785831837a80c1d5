"""Identifiers that are safe in a URL, cannot be guessed, and sort by the time they were made."""

from __future__ import annotations

import secrets
import threading
import time

from .errors import NotFound

# Crockford's base 32, as in a ULID: no letter that is taken for another one.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
RANDOM_BITS = 72  # beside 56 bits of microseconds, which last until the year 4253

_lock = threading.Lock()
_last = 0


def new() -> tuple[str, int]:
    """Make an identifier, and say which microsecond since 1970 is in it.

    Two of one process are never of the same microsecond, so that the later one sorts behind.
    """
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1000)
        created = _last
    number = created << RANDOM_BITS | secrets.randbits(RANDOM_BITS)
    digits = (ALPHABET[number >> 5 * place & 31] for place in reversed(range(LENGTH)))
    return "".join(digits), created


def known(id: str) -> str:
    """Give it back if it can be an identifier; raises NotFound.

    Databases compare other texts in ways of their own.
    """
    if len(id) != LENGTH or set(id) - set(ALPHABET):
        raise NotFound(f"there is no file {id!r}")
    return id
