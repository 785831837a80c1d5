"""Connections to a DATABASE_URL, and transactions that work the same on every database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote, urlsplit

from . import databases
from .databases import Connection

SCHEMES = {
    "sqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}


def connect(url: str) -> Any:
    """Connect to `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://…`, `mysql://…`.

    The connection is the driver's own, in autocommit mode. Raise ValueError for another URL.
    """
    scheme, _, _ = url.partition("://")
    name = SCHEMES.get(scheme.partition("+")[0])
    if name == "sqlite":
        from . import sqlite

        path = unquote(urlsplit(url).path)[1:]
        if not path:
            raise ValueError(f"{url} names no file: write sqlite:///relative.db")
        return sqlite.connect(path)
    if name == "postgresql":
        from . import postgresql

        return postgresql.connect(f"postgresql{url[len(scheme) :]}")
    if name == "mysql":
        from . import mysql

        return mysql.connect(url)
    raise ValueError(f"DATABASE_URL must be sqlite:///…, postgresql://… or mysql://…, not {scheme}")


def room(connection: Connection) -> int | None:
    """Return how many bytes of files have room; None if only the database's server knows."""
    return databases.of(connection).room(connection)


def reserve(connection: Connection) -> None:
    """Reserve space on the disk of an SQLite database, to delete files when others have filled it.

    The space is in a file beside the database, which is given up when it is needed. Call this
    function now and then to write the file again.
    """
    databases.of(connection).reserve(connection)


def transaction(connection: Connection) -> AbstractContextManager[None]:
    """Begin a transaction; commit it at the end of the `with` block, or roll it back on an error.

    This is for connections of `connect`. Other connections may use their own kind of transaction.
    """
    return databases.of(connection).transaction(connection)
