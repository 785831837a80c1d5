"""Measure the memory that storing and reading a large file takes.

    DATABASE_URL=… python memory.py MIB

stores a file with blobfiles, reads it back, and prints by how many KiB the peak of the memory grew
meanwhile. Only Linux can reset the peak.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import blobfiles

PIECE = 1 << 20


def forget_peak() -> int:
    """Reset the peak of this process's memory; return its memory now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak()


def peak() -> int:
    """Return the peak of this process's resident memory since the last reset, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) << 10


def stage(connection: blobfiles.Connection, pieces: Iterable[bytes]) -> blobfiles.Writer:
    """Store a file in the way an upload does, and publish it."""
    with blobfiles.create(connection, name="a", media_type="b", staged=True) as writer:
        for piece in pieces:
            writer.write(piece)
    with blobfiles.transaction(connection):
        writer.publish(connection)
    return writer


def round_trip(connection: blobfiles.Connection, mib: int) -> None:
    """Store, read and compare a file of this size."""
    writer = stage(connection, itertools.repeat(os.urandom(PIECE), mib))
    found = hashlib.sha256()
    with blobfiles.open(connection, writer.id) as reader:
        while data := reader.read(PIECE):
            found.update(data)
    assert found.digest() == writer.sha256


if __name__ == "__main__":
    database = blobfiles.connect(os.environ["DATABASE_URL"])
    blobfiles.migrate(database)
    round_trip(database, 4)  # memory that every process needs anyway does not count
    before = forget_peak()
    round_trip(database, int(sys.argv[1]))
    print((peak() - before) >> 10)
