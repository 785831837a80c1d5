"""PostgreSQL, by psycopg 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from zlib import crc32

from . import pypy
from .databases import Change, Database

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# A number that no other program is likely to use for a lock.
MIGRATION_LOCK = crc32(b"blobfiles.migrate")

ASYNCHRONOUS = "SET LOCAL synchronous_commit = off"
INSERT = "INSERT INTO blobfiles_chunk (blob_id, number, crc32, data)"


class PostgreSQL(Database):
    """PostgreSQL: bytes are sent unchanged in both directions, in the binary protocol."""

    name = "postgresql"
    now = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    stored_together = 1

    def cursor(self, connection: Any) -> Any:
        """Make a cursor whose rows are tuples, also when the connection has a row factory."""
        from psycopg.rows import tuple_row

        return connection.cursor(binary=True, row_factory=tuple_row)

    def is_full(self, problem: Exception) -> bool:
        """Return whether the exception is PostgreSQL's disk_full."""
        return getattr(problem, "sqlstate", None) == "53100"

    def execute(self, connection: Any, statement: str, *parameters: object) -> int:
        """Run a statement with psycopg's sign for a binary parameter."""
        return super().execute(connection, statement.replace("%s", "%b"), *parameters)

    def rows(self, connection: Any, statement: str, *parameters: object) -> Sequence[Any]:
        """Run a query with psycopg's sign for a binary parameter."""
        with closing(self.cursor(connection)) as cursor:
            cursor.execute(statement.replace("%s", "%b"), parameters)
            rows: Sequence[Any] = cursor.fetchall()
            # Free libpq's copy now: PyPy's garbage collector would free it late.
            cursor.pgresult.clear()
            return rows

    def in_transaction(self, connection: Any) -> bool:
        """Return the state in the server's last answer."""
        return bool(connection.info.transaction_status)

    def begin(self, connection: Any, then: str = "") -> None:
        """Begin a transaction, unless the driver does; send the next statement with it."""
        if connection.autocommit:
            self.run_script(connection, f"BEGIN; {then}")
        elif then:
            self.run_script(connection, then)

    def store(
        self,
        connection: Any,
        change: Change | None,
        place: tuple[str, int],
        chunks: Sequence[ReadableBuffer],
        alone: bool,
    ) -> bool:
        """Change the row and add a chunk in one statement, which is one message."""
        # In autocommit mode one statement is a transaction of its own.
        if not change or not chunks or (alone and not connection.autocommit):
            return super().store(connection, change, place, chunks, alone)
        setting = ""
        if alone:
            self.refuse_open(connection)
            setting = ", set_config('synchronous_commit', 'off', true)"
        statement, parameters = change
        (chunk,) = chunks
        added = self.execute(
            connection,
            f"WITH changed AS ({statement} RETURNING id{setting})"
            f" {INSERT} SELECT id, %s, %s, %s FROM changed",
            *(*parameters, place[1], crc32(chunk), chunk),
        )
        return added == 1

    def add_chunk(
        self, connection: Any, blob: str, number: int, crc: int, chunk: ReadableBuffer
    ) -> None:
        """Send the chunk unchanged."""
        self.execute(connection, f"{INSERT} VALUES (%s, %s, %s, %s)", blob, number, crc, chunk)

    @contextmanager
    def batch(self, connection: Any) -> Iterator[None]:
        """Run the block in a transaction that does not wait for the disk: publishing does."""
        with self.transaction(connection, ASYNCHRONOUS):
            yield

    @contextmanager
    def migrating(self, connection: Any) -> Iterator[None]:
        """Run the block in one transaction."""
        with self.transaction(connection):
            self.rows(connection, "SELECT pg_advisory_xact_lock(%s)", MIGRATION_LOCK)
            yield

    def run_script(self, connection: Any, script: str) -> None:
        """Run a script; the server splits it into statements."""
        with closing(connection.cursor()) as cursor:
            cursor.execute(script)


def connect(url: str) -> Any:
    """Connect to any URL that libpq accepts, in autocommit mode."""
    import psycopg

    pypy.speed_up()
    return psycopg.connect(url, autocommit=True)


DATABASE = PostgreSQL()
