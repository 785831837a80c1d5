"""Identifiers that are safe in a URL, cannot be guessed, and sort by the time they were made."""

from __future__ import annotations

import secrets
import threading
import time

from .errors import NotFound

# Crockford's base 32, as in a ULID: no two letters look alike.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
RANDOM_BITS = 72  # in addition to 56 bits of microseconds, which last until the year 4253

_lock = threading.Lock()
_last = 0


def new() -> tuple[str, int]:
    """Return a new identifier, and its time in microseconds since 1970.

    Two identifiers of one process never have the same time, so that the later one sorts last.
    """
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1000)
        created = _last
    number = created << RANDOM_BITS | secrets.randbits(RANDOM_BITS)
    digits = (ALPHABET[number >> 5 * place & 31] for place in reversed(range(LENGTH)))
    return "".join(digits), created


def known(id: str) -> str:
    """Return an identifier if its form is valid; raise NotFound.

    Databases differ in how they compare other texts.
    """
    if len(id) != LENGTH or set(id) - set(ALPHABET):
        raise NotFound(f"there is no file {id!r}")
    return id
