"""SQLite, by the standard library's driver."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from . import disk, pacing
from .databases import Database
from .errors import NoRoom

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Large pages make short chains for a chunk. SQLite reads this only when it creates the file.
PAGE_SIZE = 32768
# The commit that makes the write-ahead log longer than this copies it into the database file.
# Batches copy it earlier. With a lower limit every commit would have to copy.
CHECKPOINT_BYTES = 24 << 20
# The cache of each connection, in KiB.
CACHE_KIB = 1024


FILE = "SELECT file FROM pragma_database_list WHERE name = 'main'"
# The file, the size of its pages in bytes, their number, and how many of them are unused.
SPACE = (
    "SELECT file, page_size, page_count, freelist_count"
    " FROM pragma_database_list, pragma_page_size, pragma_page_count, pragma_freelist_count"
    " WHERE name = 'main'"
)


class SQLite(Database):
    """One writer at a time, and readers that never wait for it."""

    name = "sqlite"
    now = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
    snapshot = "BEGIN"
    read_together = 1

    def cursor(self, connection: Any) -> Any:
        """Return a cursor whose rows are tuples, even if the connection has a row factory."""
        cursor = connection.cursor()
        cursor.row_factory = None
        return cursor

    def execute(self, connection: Any, statement: str, *parameters: object) -> int:
        """Run a statement with SQLite's own placeholder."""
        return super().execute(connection, statement.replace("%s", "?"), *parameters)

    def rows(self, connection: Any, statement: str, *parameters: object) -> Any:
        """Run a query with SQLite's own placeholder."""
        return super().rows(connection, statement.replace("%s", "?"), *parameters)

    def room(self, connection: Any) -> int | None:
        """Return the room on the disk; None for a database in memory."""
        ((path, *pages),) = self.rows(connection, SPACE)
        return disk.room(path, *pages) if path else None

    def reserve(self, connection: Any) -> None:
        """Reserve space on the disk."""
        if path := path_of(connection):
            disk.reserve(path)

    def is_full(self, problem: Exception) -> bool:
        """Return whether the exception is SQLITE_FULL, which older drivers do not name."""
        return "disk is full" in str(problem)

    def begin(self, connection: Any, then: str = "") -> None:
        """Begin with the write lock; wait for the lock as long as the connection's timeout."""
        if path := path_of(connection):
            disk.give_up_reserve(path)
        # A transaction that begins with a read cannot write if another one has written meanwhile.
        self.execute(connection, "BEGIN IMMEDIATE")
        if then:
            self.execute(connection, then)

    def add_chunk(
        self, connection: Any, blob: str, number: int, crc: int, chunk: ReadableBuffer
    ) -> None:
        """Insert a row and write the chunk into it: a parameter would be copied three times.

        Raise NoRoom before the disk is full.
        """
        size = memoryview(chunk).nbytes
        room = self.room(connection)
        if room is not None and room < size:
            raise NoRoom(f"the database's disk has no room for {size} more bytes")
        insert = "INSERT INTO blobfiles_chunk (blob_id, number, crc32, data) VALUES (?, ?, ?, {})"
        if not hasattr(connection, "blobopen"):  # Python before 3.11
            self.execute(connection, insert.format("?"), blob, number, crc, chunk)
            return
        with closing(connection.cursor()) as cursor:
            place = (blob, number, crc, size)
            cursor.execute(insert.format("zeroblob(?)"), place)
            row = cursor.lastrowid
        with connection.blobopen("blobfiles_chunk", "data", row) as data:
            data.write(chunk)

    def chunks(self, connection: Any, blob: str, first: int, last: int) -> Sequence[Any]:
        """Read chunks in place: as values of a query they would be copied once more."""
        # On PyPy, reading in place copies twice.
        if sys.implementation.name == "pypy" or not hasattr(connection, "blobopen"):
            return super().chunks(connection, blob, first, last)
        alone = not connection.in_transaction
        if alone:
            connection.execute("BEGIN").close()  # the rows must not change before they are read
        try:
            rows = self.rows(
                connection,
                "SELECT number, rowid, crc32 FROM blobfiles_chunk"
                " WHERE blob_id = ? AND number BETWEEN ? AND ? ORDER BY number",
                *(blob, first, last),
            )
            return [(number, read(connection, row), crc) for number, row, crc in rows]
        finally:
            if alone:
                connection.rollback()

    @contextmanager
    def batch(self, connection: Any) -> Iterator[None]:
        """Run the block in a transaction that does not wait for the disk: publishing does."""
        # Nothing waits for the disk while the write lock is held. A full commit makes all durable.
        self.refuse_open(connection)
        ((level,),) = self.rows(connection, "PRAGMA synchronous")
        with pacing.of(path_of(connection)).batch(connection):
            self.execute(connection, "PRAGMA synchronous = NORMAL")
            try:
                with self.transaction(connection):
                    yield
            finally:
                self.execute(connection, f"PRAGMA synchronous = {level:d}")

    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open."""
        return bool(connection.in_transaction)

    @contextmanager
    def migrating(self, connection: Any) -> Iterator[None]:
        """Hold the write lock."""
        with self.transaction(connection):
            yield

    def run_script(self, connection: Any, script: str) -> None:
        """Run a script statement by statement, in the open transaction."""
        # executescript() would commit first.
        statement = ""
        for line in script.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                connection.execute(statement)
                statement = ""
        if statement.strip():
            connection.execute(statement)


def path_of(connection: Any) -> str:
    """Return the path of a connection's database file; empty if the database is in memory."""
    ((path,),) = DATABASE.rows(connection, FILE)
    return str(path or "")


def read(connection: Any, row: int) -> bytes:
    """Read the bytes of one row."""
    with connection.blobopen("blobfiles_chunk", "data", row, readonly=True) as data:
        found: bytes = data.read()
        return found


def connect(path: str) -> sqlite3.Connection:
    """Open or make a database file, in autocommit mode.

    Any one thread at a time may use the connection.
    """
    disk.give_up_reserve(path)
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    for setting in (
        f"page_size = {PAGE_SIZE}",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"cache_size = -{CACHE_KIB}",
        f"wal_autocheckpoint = {CHECKPOINT_BYTES // PAGE_SIZE}",
        f"journal_size_limit = {CHECKPOINT_BYTES}",
    ):
        connection.execute(f"PRAGMA {setting}").close()
    return connection


DATABASE = SQLite()
