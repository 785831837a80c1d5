"""The application's own rows: one for each file, which names its bytes in `blobfiles`.

A row and its bytes are written and deleted in one transaction. Each transaction that writes locks
the row of totals first. So writes happen one after another, and checked rows do not change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import blobfiles
from blobfiles import databases

from .semantics import Validators

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
COLUMNS = "path, blob_id, name, media_type, size, sha256, modified"
INSERT = f"INSERT INTO attachments_file ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s)"
TABLES = ("attachments_file", "attachments_total")
LONGEST_PATH = 765  # ASCII characters, as the table has it


@dataclass(frozen=True)
class File:
    """A file as the application knows it."""

    path: str  # the last part of its address, percent-encoded
    blob_id: str
    name: str
    media_type: str
    size: int  # bytes
    sha256: bytes
    modified: int  # microseconds since 1970

    @property
    def changed(self) -> datetime:
        """The time of the last change."""
        return EPOCH + timedelta(microseconds=self.modified)

    @property
    def validators(self) -> Validators:
        """The validators for conditional requests: the bytes under an id never change."""
        return Validators(f'"{self.blob_id}"', self.changed)


@dataclass(frozen=True)
class Upload:
    """A file that is written and not published yet."""

    path: str
    name: str
    media_type: str
    writer: blobfiles.Writer


@dataclass(frozen=True)
class Totals:
    """How many files there are, and how many bytes they have."""

    files: int
    bytes: int


class Full(Exception):
    """One more file would be too many, or too large."""


class Space:
    """The room for files: the limits, less the published files and the uploads of all clients.

    The uploads are those of this process. What other processes receive counts when it is published.
    """

    def __init__(self, limits: Totals) -> None:
        """Begin without any file; this needs a running event loop."""
        self.limits = limits
        self.published = Totals(0, 0)  # as they were read last
        self.staged = 0  # bytes of uploads that are not published
        self.given_up = asyncio.Event()  # an upload was given up since this was cleared

    def is_exceeded(self, files: int = 0, size: int = 0) -> bool:
        """Return whether there is no room for some more files and bytes."""
        return (
            self.published.files + files > self.limits.files
            or self.published.bytes + self.staged + size > self.limits.bytes
        )


Check = Callable[["File | None"], None]


def find(connection: Any, path: str) -> File | None:
    """Return the file with a path; None if there is none."""
    query = f"SELECT {COLUMNS} FROM attachments_file WHERE path = %s"
    for row in databases.of(connection).rows(connection, query, path):
        return _file(row)
    return None


def newest(connection: Any, limit: int, after: tuple[int, str] | None = None) -> list[File]:
    """Return files, the newest first; `after` is (modified, path) of the last one before."""
    where = "WHERE modified < %s OR (modified = %s AND path > %s)" if after else ""
    parameters = (after[0], *after) if after else ()
    query = (
        f"SELECT {COLUMNS} FROM attachments_file {where}"
        f" ORDER BY modified DESC, path LIMIT {limit:d}"
    )
    return [_file(row) for row in databases.of(connection).rows(connection, query, *parameters)]


def totals(connection: Any) -> Totals:
    """Return the number of files and bytes."""
    query = "SELECT files, bytes FROM attachments_total"
    ((files, size),) = databases.of(connection).rows(connection, query)
    return Totals(files, size)


def survey(connection: Any) -> tuple[Totals, int | None]:
    """Return the totals, and for how many bytes the database has room, if that is known."""
    return totals(connection), blobfiles.room(connection)


def open_file(connection: Any, path: str) -> tuple[File, blobfiles.Reader] | None:
    """Return the file with a path, and a reader of its bytes; None if there is none."""
    while True:
        file = find(connection, path)
        if file is None:
            return None
        try:
            return file, blobfiles.open(connection, file.blob_id)
        except blobfiles.NotFound:
            if find(connection, path) == file:  # otherwise the file was replaced meanwhile
                raise


def publish(
    connection: Any, uploads: list[Upload], check: Check, limits: Totals
) -> list[tuple[File, bool]]:
    """Publish all files or none; return each file and whether its path is new.

    `check` gets the present file of a path, and raises if it must not be replaced. Raise Full.
    """
    published = []
    with _writing(connection):
        for upload in uploads:
            old = find(connection, upload.path)
            check(old)
            upload.writer.publish(connection)
            file = _row_of(upload, old)
            if old:
                blobfiles.delete(connection, old.blob_id)
                _execute(connection, "DELETE FROM attachments_file WHERE path = %s", old.path)
            _execute(connection, INSERT, *_values(file))
            _count(connection, 0 if old else 1, file.size - (old.size if old else 0))
            published.append((file, old is None))
        found = totals(connection)
        if found.files > limits.files or found.bytes > limits.bytes:
            raise Full
    return published


def delete(connection: Any, path: str, check: Check) -> bool:
    """Delete a file, row and bytes; return whether there was one."""
    with _writing(connection):
        file = find(connection, path)
        if file is None:
            return False
        check(file)
        blobfiles.delete(connection, file.blob_id)
        _execute(connection, "DELETE FROM attachments_file WHERE path = %s", path)
        _count(connection, -1, -file.size)
    return True


@contextmanager
def _writing(connection: Any) -> Iterator[None]:
    with blobfiles.transaction(connection):
        _count(connection, 0, 0)  # locks the row
        yield


def _count(connection: Any, files: int, size: int) -> None:
    statement = "UPDATE attachments_total SET files = files + %s, bytes = bytes + %s"
    _execute(connection, statement, files, size)


def _execute(connection: Any, statement: str, *parameters: object) -> None:
    databases.of(connection).execute(connection, statement, *parameters)


def _row_of(upload: Upload, old: File | None) -> File:
    writer = upload.writer
    now = (datetime.now(timezone.utc) - EPOCH) // timedelta(microseconds=1)
    # Always later than the replaced state, even if a clock is wrong.
    modified = max(now, old.modified + 1) if old else now
    return File(
        *(upload.path, writer.id, upload.name, upload.media_type),
        *(writer.size, writer.sha256, modified),
    )


def _values(file: File) -> tuple[object, ...]:
    return (
        *(file.path, file.blob_id, file.name, file.media_type),
        *(file.size, file.sha256.hex(), file.modified),
    )


def _file(row: Any) -> File:
    path, blob_id, name, media_type, size, sha256, modified = row
    return File(path, blob_id, name, media_type, size, bytes.fromhex(sha256), modified)
