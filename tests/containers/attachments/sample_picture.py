"""A small landscape as a PNG."""

from __future__ import annotations

import struct
import zlib

WIDTH, HEIGHT = 320, 240
SUN, HILL = (250, 205, 90), (70, 130, 80)


def draw() -> bytes:
    """Return the file's bytes."""
    rows = b"".join(
        b"\0" + b"".join(bytes(colour(x, y)) for x in range(WIDTH)) for y in range(HEIGHT)
    )
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def colour(x: int, y: int) -> tuple[int, int, int]:
    """Return the colour of a place: the sun, a hill, or the sky."""
    if (x - 230) ** 2 + (y - 70) ** 2 < 900:
        return SUN
    if y > 190 - 60 * (1 - ((x % 200 - 100) / 100) ** 2):
        return HILL
    return (120 + y // 2, 170, 220)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
