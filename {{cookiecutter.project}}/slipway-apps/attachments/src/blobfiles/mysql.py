"""MySQL and MariaDB, by PyMySQL or mysqlclient."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .databases import Database
from .errors import BlobError
from .identifiers import known

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# A bit in the server's status, which comes with each answer.
IN_TRANSACTION = 1
MIGRATION_SECONDS = 600
# ER_DISK_FULL and ER_RECORD_FILE_FULL.
FULL = ((1021,), (1114,))
LOCK_NAME = "LEFT(CONCAT('blobfiles.', DATABASE()), 64)"


class MySQL(Database):
    """The text protocol, in which bytes are a part of the statement."""

    name = "mysql"
    now = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"
    snapshot = "START TRANSACTION WITH CONSISTENT SNAPSHOT"

    def cursor(self, connection: Any) -> Any:
        """Return a cursor whose rows are tuples, even if the connection has another kind."""
        if type(connection).__module__.startswith("pymysql"):
            from pymysql.cursors import Cursor

            return connection.cursor(Cursor)
        return connection.cursor()

    def is_full(self, problem: Exception) -> bool:
        """Return whether the exception is about a full disk or a table that cannot grow."""
        return problem.args[:1] in FULL or "No space left on device" in str(problem)

    def in_transaction(self, connection: Any) -> bool:
        """Return the state in the server's last answer, if the driver exposes it."""
        return bool(getattr(connection, "server_status", 0) & IN_TRANSACTION)

    def begin(self, connection: Any, then: str = "") -> None:
        """Begin a transaction; the server would silently commit one that is open."""
        self.execute(connection, "BEGIN")
        if then:
            self.execute(connection, then)

    def add_chunk(
        self, connection: Any, blob: str, number: int, crc: int, chunk: ReadableBuffer
    ) -> None:
        """Send the chunk in base 64, which takes less time than the driver's escaping.

        The whole statement is built here, because the driver would copy it three more times.
        """
        start = (
            "INSERT INTO blobfiles_chunk (blob_id, number, crc32, data)"
            f" VALUES ('{known(blob)}', {number:d}, {crc:d}, FROM_BASE64('"
        )
        text = b2a_base64(chunk, newline=False)
        with closing(self.cursor(connection)) as cursor:
            cursor.execute(b"".join((start.encode("ascii"), text, b"'))")))

    @contextmanager
    def migrating(self, connection: Any) -> Iterator[None]:
        """Hold a lock by name, since statements that change tables commit by themselves."""
        query = f"SELECT GET_LOCK({LOCK_NAME}, {MIGRATION_SECONDS})"
        if self.rows(connection, query)[0][0] != 1:
            raise BlobError(f"another process migrates for {MIGRATION_SECONDS} seconds now")
        try:
            yield
            connection.commit()
        finally:
            self.rows(connection, f"SELECT RELEASE_LOCK({LOCK_NAME})")

    def run_script(self, connection: Any, script: str) -> None:
        """Run statement by statement: each ends with its line."""
        lines = [line for line in script.splitlines() if not line.lstrip().startswith("--")]
        for statement in re.split(r";[ \t]*(?:--.*)?$", "\n".join(lines), flags=re.MULTILINE):
            if statement.strip():
                self.execute(connection, statement.replace("%", "%%"))


def connect(url: str) -> Any:
    """Connect to `mysql://user:password@host:port/database?unix_socket=…`, in autocommit mode.

    The parameters after the question mark are passed to `pymysql.connect` by name.
    """
    import pymysql
    from pymysql.constants import CLIENT

    parts = urlsplit(url)
    options: dict[str, Any] = {
        name: int(value) if value.isdigit() else value for name, value in parse_qsl(parts.query)
    }
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "") or None,
        password=unquote(parts.password or ""),
        database=unquote(parts.path[1:]),
        # Count the rows that were found, as the other databases do.
        client_flag=CLIENT.FOUND_ROWS,
        autocommit=True,
        **{"charset": "utf8mb4", **options},
    )


DATABASE = MySQL()
