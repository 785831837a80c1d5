"""Files in a database, as ordinary Python files: streamed, in constant memory.

    connection = blobfiles.connect("sqlite:///files.db")
    blobfiles.migrate(connection)
    with blobfiles.transaction(connection):
        with blobfiles.create(connection, name="a.txt", media_type="text/plain") as writer:
            shutil.copyfileobj(source, writer)
    with blobfiles.open(connection, writer.id) as reader:
        shutil.copyfileobj(reader, target)

SQLite by the standard library, PostgreSQL by psycopg, MySQL and MariaDB by PyMySQL or mysqlclient.
Nothing else is needed, and nothing of the application around it.
"""

from __future__ import annotations

from .archive import dump, restore
from .blobs import Blob, delete, list, stat
from .collecting import collect, verify
from .connections import connect, reserve, room, transaction
from .databases import Connection
from .errors import BlobError, Corrupt, NoRoom, NotFound, TooLarge
from .reader import Reader
from .schema import migrate
from .writer import Writer

create = Writer
open = Reader

__all__ = [
    "Blob",
    "BlobError",
    "Connection",
    "Corrupt",
    "NoRoom",
    "NotFound",
    "Reader",
    "TooLarge",
    "Writer",
    "collect",
    "connect",
    "create",
    "delete",
    "dump",
    "list",
    "migrate",
    "open",
    "reserve",
    "restore",
    "room",
    "stat",
    "transaction",
    "verify",
]
