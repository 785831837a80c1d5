"""Let PyPy hand bytes to C in one piece.

psycopg without its C part gives each parameter to libpq as a `ctypes.c_char_p`, and PyPy copies the
bytes of one in a loop of its interpreter: 28 ms for 256 KiB (PyPy 7.3.19), where 0.2 ms will do.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# Bytes for which a copy in one piece is worth its preparation.
LARGE = 1024


def speed_up() -> None:
    """Make `c_char_p` take large bytes in one piece, once; does nothing elsewhere than on PyPy."""
    if sys.implementation.name != "pypy":
        return
    pointer: Any = ctypes.c_char_p
    slow = pointer.value
    if slow.fset.__module__ == __name__:
        return

    def fast(self: Any, value: object) -> None:
        if isinstance(value, bytes) and len(value) >= LARGE:
            copy = bytearray(value)
            copy.append(0)
            array = (ctypes.c_char * len(copy)).from_buffer(copy)
            self._objects = array  # lives as long as the pointer
            self._buffer[0] = ctypes.addressof(array)
        else:
            slow.fset(self, value)

    pointer.value = property(slow.fget, fast)
