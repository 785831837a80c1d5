"""Free the space of files that nobody can see, and check the others."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from . import databases
from .blobs import stat
from .databases import Connection
from .errors import Corrupt
from .reader import fetch
from .writer import GIVE_UP

# How many chunks one short transaction removes.
BATCH = 8


def collect(
    connection: Connection,
    older_than: timedelta = timedelta(hours=1),
    deleted: timedelta | None = None,
) -> int:
    """Remove files that were deleted or abandoned some time ago; return how many.

    A staged file is abandoned if nothing was written to it for that time. Writing to it later
    raises NotFound. `deleted` is another time for deleted files, which somebody may still read.

    The work is done in short transactions of its own, so the connection must not be in one.
    """
    database = databases.of(connection)
    times = {"staged": older_than, "deleted": older_than if deleted is None else deleted}
    old = " OR ".join(
        f"(state = '{state}' AND touched <= {database.now} - {age // timedelta(microseconds=1)})"
        for state, age in times.items()
    )
    old = f"state <> 'published' AND ({old})"  # the index's own condition
    removed = 0
    for (id,) in database.rows(connection, f"SELECT id FROM blobfiles_blob WHERE {old}"):
        with database.batch(connection):
            # From here on no writer, publisher or other reader can reach the file.
            given_up = f"{GIVE_UP} WHERE id = %s AND {old}"
            if database.execute(connection, given_up, b"", id) != 1:
                continue
        remove(connection, id)
        removed += 1
    return removed


def remove(connection: Connection, id: str) -> None:
    """Delete a file that nobody sees, in short transactions."""
    database = databases.of(connection)
    ((last,),) = database.rows(
        connection, "SELECT MAX(number) FROM blobfiles_chunk WHERE blob_id = %s", id
    )
    # The last chunk first: the remaining rows show where to continue.
    for first in range((-1 if last is None else last // BATCH * BATCH), -1, -BATCH):
        with database.batch(connection):
            database.execute(
                connection,
                "DELETE FROM blobfiles_chunk WHERE blob_id = %s AND number >= %s",
                *(id, first),
            )
    with database.batch(connection):
        database.execute(connection, "DELETE FROM blobfiles_blob WHERE id = %s", id)


def verify(connection: Connection, id: str) -> None:
    """Read a published file and compare it with its size, CRCs and SHA-256; raise Corrupt."""
    database = databases.of(connection)
    blob = stat(connection, id)
    whole = hashlib.sha256()
    chunks = -(-blob.size // blob.chunk_size)
    for number in range(chunks):
        whole.update(*fetch(connection, blob, number, number, check=True))
    ((count,),) = database.rows(
        connection, "SELECT COUNT(*) FROM blobfiles_chunk WHERE blob_id = %s", id
    )
    if count != chunks:
        raise Corrupt(f"file {id!r} has {count} chunks instead of {chunks}")
    if whole.digest() != blob.sha256:
        raise Corrupt(f"file {id!r} does not have the SHA-256 of what was written")
