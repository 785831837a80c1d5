"""The common part of all databases, and the interface of each.

Statements are written once, with `%s` for a parameter and in the SQL that all of them understand.
The module of a database overrides the methods that are different, or can be faster, there.
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
# The driver's package, as in a connection's class, and the module here for it.
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
        """End the transaction, and undo what it did."""


class Database(ABC):
    """The operations of one kind of database; without any state."""

    name: ClassVar[str]
    # The server's clock in microseconds since 1970, as an SQL expression.
    now: ClassVar[str]
    # The statement that begins a transaction that sees the state of one moment, in autocommit mode.
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
        """Return whether a transaction is open."""

    @abstractmethod
    def migrating(self, connection: Any) -> AbstractContextManager[None]:
        """Keep every other process from migrating this database; commit at the end."""

    @abstractmethod
    def run_script(self, connection: Any, script: str) -> None:
        """Run a migration's statements."""

    def execute(self, connection: Any, statement: str, *parameters: object) -> int:
        """Run a statement that returns no rows; return how many rows it changed."""
        with closing(self.cursor(connection)) as cursor:
            cursor.execute(statement, parameters)
            count: int = cursor.rowcount
            return count

    def rows(self, connection: Any, statement: str, *parameters: object) -> Sequence[Any]:
        """Return all rows of a query; the cursor is closed."""
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

        `place` is the file's identifier and the first chunk's number. Return whether there was a
        row to change.
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
        """Return number, bytes and CRC of chunks from a first to a last; some may be missing."""
        return self.rows(
            connection,
            "SELECT number, data, crc32 FROM blobfiles_chunk"
            " WHERE blob_id = %s AND number BETWEEN %s AND %s ORDER BY number",
            *(blob, first, last),
        )

    def room(self, connection: Any) -> int | None:
        """Return how many bytes of files can still be stored; None if only the server knows."""
        return None

    def reserve(self, connection: Any) -> None:
        """Reserve space on the database's disk, where this process writes to it."""
        return None

    @abstractmethod
    def is_full(self, problem: Exception) -> bool:
        """Return whether an exception of the driver is about a full disk."""

    def refuse_open(self, connection: Any) -> None:
        """Raise BlobError if a transaction is open, because only the caller may end it."""
        if self.in_transaction(connection):
            raise BlobError("this needs a connection that is not in a transaction")

    @contextmanager
    def transaction(self, connection: Any, then: str = "") -> Iterator[None]:
        """Run a statement and the block in a transaction; commit it, or roll back on an error."""
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
        """Run the block in a short transaction for bytes that nobody sees yet.

        The commit need not be durable: publishing is, and a durable commit makes all earlier ones
        durable.
        """
        with self.transaction(connection):
            yield


def of(connection: Connection) -> Database:
    """Return the database of a connection, by the driver that its class is from."""
    for base in type(connection).__mro__:
        driver = base.__module__.partition(".")[0]
        if driver in DRIVERS:
            return named(DRIVERS[driver])
    raise TypeError(f"a connection of {', '.join(sorted(DRIVERS))} is needed, not {connection!r}")


def named(name: str) -> Database:
    """Return the database with a name; its driver is not imported."""
    module = importlib.import_module(f"{__package__}.{name}")
    database: Database = module.DATABASE
    return database
