"""The record of each published file: find, list and delete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from . import databases
from .databases import Connection
from .errors import NotFound
from .identifiers import known

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
COLUMNS = "id, name, media_type, size, sha256, created, chunk_size"
PAGE = 100


@dataclass(frozen=True)
class Blob:
    """One file, which never changes once it is published."""

    id: str
    name: str
    media_type: str
    size: int  # bytes
    sha256: bytes
    created: datetime  # when writing began, by the clock of the process that wrote
    chunk_size: int  # bytes in each of its rows but the last


def from_row(row: Any) -> Blob:
    """Return the record in a row of COLUMNS."""
    id, name, media_type, size, sha256, created, chunk_size = row
    when = EPOCH + timedelta(microseconds=created)
    return Blob(id, name, media_type, size, bytes(sha256), when, chunk_size)


def stat(connection: Connection, id: str) -> Blob:
    """Return the record of a published file; raise NotFound."""
    statement = f"SELECT {COLUMNS} FROM blobfiles_blob WHERE id = %s AND state = 'published'"
    found = databases.of(connection).rows(connection, statement, known(id))
    if not found:
        raise NotFound(f"there is no file {id!r}")
    return from_row(found[0])


def list(
    connection: Connection, after: str | None = None, limit: int | None = None
) -> Iterator[Blob]:
    """Return published files, the newest first; `after` is the id of the last one before.

    Files are fetched a page at a time, so that no query stays open while the caller looks at them.
    """
    database = databases.of(connection)
    while limit is None or limit > 0:
        page = PAGE if limit is None else min(PAGE, limit)
        before, parameters = ("AND id < %s", (known(after),)) if after is not None else ("", ())
        statement = (
            f"SELECT {COLUMNS} FROM blobfiles_blob WHERE state = 'published' {before}"
            f" ORDER BY id DESC LIMIT {page:d}"
        )
        rows = database.rows(connection, statement, *parameters)
        yield from map(from_row, rows)
        if len(rows) < page:
            return
        after = rows[-1][0]
        limit = None if limit is None else limit - page


def delete(connection: Connection, id: str) -> None:
    """Delete a file in the caller's transaction; raise NotFound.

    The time does not depend on the size. A reader that has the file open can continue; `collect`
    frees the space later.
    """
    database = databases.of(connection)
    statement = (
        f"UPDATE blobfiles_blob SET state = 'deleted', touched = {database.now}"
        " WHERE id = %s AND state = 'published'"
    )
    if database.execute(connection, statement, known(id)) != 1:
        raise NotFound(f"there is no file {id!r}")
