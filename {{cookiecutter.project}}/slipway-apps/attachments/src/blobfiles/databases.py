"""What the databases have in common, and what each must say for itself.

Statements are written once, with `%s` for a parameter and in the SQL that all of them understand.
A database's own module overrides what it does in another way, or better.
"""

from __future__ import annotations

import importlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from .errors import BlobError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# A statement and its parameters.
Change = tuple[str, tuple[object, ...]]
# The driver's package, as a connection's class names it, and the module here that knows it.
DRIVERS = {
    "sqlite3": "sqlite",
    "_sqlite3": "sqlite",
    "psycopg": "postgresql",
    "pymysql": "mysql",
    "MySQLdb": "mysql",
}


class Connection(Protocol):
    """The part of a DB-API connection that is used here."""

    def cursor(self) -> Any:
        """Make a cursor."""

    def commit(self) -> Any:
        """End the transaction, and keep what it did."""

    def rollback(self) -> Any:
        """End the transaction, and forget what it did."""


class Database(ABC):
    """How one kind of database is spoken to; without any state of its own."""

    name: ClassVar[str]
    # The server's clock in microseconds since 1970, as an SQL expression.
    now: ClassVar[str]
    # What begins a transaction that sees one moment's state, in autocommit mode.
    snapshot: ClassVar[str]
    # How many chunks of one piece go into one transaction, and are read by one query.
    stored_together: ClassVar[int] = 2
    read_together: ClassVar[int] = 2

    @abstractmethod
    def cursor(self, connection: Any) -> Any:
        """Make a cursor whose rows are tuples, whatever the connection's own are."""

    @abstractmethod
    def begin(self, connection: Any, then: str = "") -> None:
        """Begin a transaction that will write, in whatever mode the connection is.

        `then` is a statement to run in it first, in the same message where that can be.
        """

    @abstractmethod
    def in_transaction(self, connection: Any) -> bool:
        """Say whether a transaction is open."""

    @abstractmethod
    def migrating(self, connection: Any) -> AbstractContextManager[None]:
        """Keep every other process from migrating this database; commit at the end."""

    @abstractmethod
    def run_script(self, connection: Any, script: str) -> None:
        """Run a migration's statements."""

    def execute(self, connection: Any, statement: str, *parameters: object) -> int:
        """Run a statement that gives no rows; say how many rows it changed."""
        with closing(self.cursor(connection)) as cursor:
            cursor.execute(statement, parameters)
            count: int = cursor.rowcount
            return count

    def rows(self, connection: Any, statement: str, *parameters: object) -> Sequence[Any]:
        """Run a query and give all of its rows; the cursor holds nothing afterwards."""
        with closing(self.cursor(connection)) as cursor:
            cursor.execute(statement, parameters)
            rows: Sequence[Any] = cursor.fetchall()
            return rows

    def store(
        self,
        connection: Any,
        change: Change | None,
        place: tuple[str, int],
        chunks: Sequence[ReadableBuffer],
        alone: bool,
    ) -> bool:
        """Change a file's row and add chunks, in a batch or in the transaction that is open.

        `place` is the file's identifier and the first chunk's number. Says whether there was a row
        to change.
        """
        with self.batch(connection) if alone else nullcontext():
            if change and self.execute(connection, change[0], *change[1]) != 1:
                return False
            blob, first = place
            for number, chunk in enumerate(chunks, first):
                self.add_chunk(connection, blob, number, zlib.crc32(chunk), chunk)
        return True

    @abstractmethod
    def add_chunk(
        self, connection: Any, blob: str, number: int, crc: int, chunk: ReadableBuffer
    ) -> None:
        """Add one chunk."""

    def chunks(self, connection: Any, blob: str, first: int, last: int) -> Sequence[Any]:
        """Give number, bytes and CRC of the chunks from a first to a last, those that are there."""
        return self.rows(
            connection,
            "SELECT number, data, crc32 FROM blobfiles_chunk"
            " WHERE blob_id = %s AND number BETWEEN %s AND %s ORDER BY number",
            *(blob, first, last),
        )

    def refuse_open(self, connection: Any) -> None:
        """Raise BlobError in a transaction, which is the caller's to end."""
        if self.in_transaction(connection):
            raise BlobError("this needs a connection that is not in a transaction")

    @contextmanager
    def transaction(self, connection: Any, then: str = "") -> Iterator[None]:
        """Commit what the block does after a first statement, or roll it back when it raises."""
        self.refuse_open(connection)
        self.begin(connection, then)
        try:
            yield
            connection.commit()
        except BaseException:
            connection.rollback()
            raise

    @contextmanager
    def batch(self, connection: Any) -> Iterator[None]:
        """Make one short transaction of bytes that nobody sees yet.

        It may be less durable than others, since publishing makes it so: a later commit that is
        durable makes all earlier ones durable.
        """
        with self.transaction(connection):
            yield


def of(connection: Connection) -> Database:
    """Find how to speak to a connection, by the driver that its class is from."""
    for base in type(connection).__mro__:
        driver = base.__module__.partition(".")[0]
        if driver in DRIVERS:
            return named(DRIVERS[driver])
    raise TypeError(f"a connection of {', '.join(sorted(DRIVERS))} is needed, not {connection!r}")


def named(name: str) -> Database:
    """Give the database of that name; its driver is not imported."""
    module = importlib.import_module(f"{__package__}.{name}")
    database: Database = module.DATABASE
    return database
