"""Store a large file and read it back; print by how many KiB the memory's peak grew meanwhile.

    DATABASE_URL=… python memory.py MIB

Linux alone, whose peak can be reset.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import blobfiles

PIECE = 1 << 20


def peak() -> int:
    """Give this process's largest resident set since the last reset, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1])


def round_trip(connection: blobfiles.Connection, mib: int) -> None:
    """Stage, publish, read and compare a file of that size."""
    piece = os.urandom(PIECE)
    with blobfiles.create(connection, name="a", media_type="b", staged=True) as writer:
        for _ in range(mib):
            writer.write(piece)
    with blobfiles.transaction(connection):
        writer.publish(connection)
    found = hashlib.sha256()
    with blobfiles.open(connection, writer.id) as reader:
        while data := reader.read(PIECE):
            found.update(data)
    assert found.digest() == writer.sha256


if __name__ == "__main__":
    database = blobfiles.connect(os.environ["DATABASE_URL"])
    blobfiles.migrate(database)
    round_trip(database, 4)  # what every process has sooner or later is no growth
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak()
    round_trip(database, int(sys.argv[1]))
    print(peak() - before)
