"""All files of a database as a tar archive, and back: into the same kind of database or another.

`files/ID` is a file's bytes; its name, type, time and SHA-256 are in the member's pax header.
`tables/NAME.jsonl` is a table of the application around it: a line of column names, then a line for
each row, in which bytes are written as {"base64": …}.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import IO, Any

from . import blobs, databases
from .collecting import collect
from .databases import Connection
from .errors import BlobError, Corrupt, NotFound
from .identifiers import known
from .reader import Reader
from .writer import CHUNK_SIZE, Writer

PREFIX = "BLOBFILES."


def dump(connection: Connection, stream: IO[bytes], tables: Sequence[str] = ()) -> int:
    """Write all published files and the named tables of the application; return how many files.

    The archive is the state of one moment, read in one transaction. On SQLite the write-ahead log
    grows by the uploads that happen meanwhile.
    """
    database = databases.of(connection)
    database.refuse_open(connection)
    database.execute(connection, database.snapshot)
    count = 0
    try:
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for blob in blobs.list(connection):
                with Reader(connection, blob.id, check=True) as reader:
                    archive.addfile(member_of(blob), reader)
                count += 1
            for table in tables:
                text = table_text(connection, table)
                member = tarfile.TarInfo(f"tables/{table}.jsonl")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
    finally:
        connection.rollback()
    return count


def restore(connection: Connection, stream: IO[bytes], tables: Sequence[str] = ()) -> int:
    """Read an archive of `dump` into a migrated database without files; return how many files.

    No file is visible before the whole archive is read and each SHA-256 is compared. The rows of
    the tables are replaced. Raise BlobError if the database has files, or if the archive has a
    table that is not one of `tables`. Raise Corrupt if the archive is damaged.
    """
    for _ in blobs.list(connection, limit=1):
        raise BlobError("the database has files already: restore into an empty one")
    collect(connection, timedelta(0))  # the remains of an interrupted restore
    writers: list[Writer] = []
    rows: list[tuple[str, list[Any]]] = []
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            kind, _, name = member.name.partition("/")
            table = name.removesuffix(".jsonl")
            if content is None or kind not in ("files", "tables"):
                raise Corrupt(f"{member.name!r} is not part of any dump")
            if kind == "files":
                writers.append(restore_file(connection, name, member.pax_headers, content))
            elif table in tables:
                rows.append((table, [json.loads(line, object_hook=from_json) for line in content]))
            else:
                raise BlobError(f"the archive has a table {table!r}, which --table does not name")
    if missing := set(tables) - {table for table, _ in rows}:
        raise Corrupt(f"the archive was cut off: it has no {sorted(missing)}")
    database = databases.of(connection)
    with database.transaction(connection):
        for table, (columns, *values) in rows:
            replace(connection, table, columns, values)
        for writer in writers:
            writer.publish(connection)
    return len(writers)


def member_of(blob: blobs.Blob) -> tarfile.TarInfo:
    """Return the head of a file in the archive."""
    member = tarfile.TarInfo(f"files/{blob.id}")
    member.size = blob.size
    member.mtime = int(blob.created.timestamp())
    member.pax_headers = {
        f"{PREFIX}name": blob.name,
        f"{PREFIX}media_type": blob.media_type,
        f"{PREFIX}created": str((blob.created - blobs.EPOCH) // timedelta(microseconds=1)),
        f"{PREFIX}sha256": blob.sha256.hex(),
    }
    return member


def restore_file(
    connection: Connection, id: str, headers: Mapping[str, str], content: IO[bytes]
) -> Writer:
    """Stage a file again under its identifier."""
    try:
        name, media_type = headers[f"{PREFIX}name"], headers[f"{PREFIX}media_type"]
        created, sha256 = int(headers[f"{PREFIX}created"]), headers[f"{PREFIX}sha256"]
        identity = known(id), created
    except (KeyError, ValueError, NotFound):
        raise Corrupt(f"file {id!r} does not have the name and headers of a dump") from None
    with Writer(connection, name, media_type, staged=True, identity=identity) as writer:
        while data := content.read(CHUNK_SIZE):
            writer.write(data)
    if writer.sha256.hex() != sha256:
        writer.discard()
        raise Corrupt(f"file {id!r} has another SHA-256 in the archive than when it was written")
    return writer


def table_text(connection: Connection, table: str) -> bytes:
    """Return a table's columns and rows as lines of JSON."""
    with closing(databases.of(connection).cursor(connection)) as cursor:
        cursor.execute(f"SELECT * FROM {identifier(table)}")
        lines: list[Any] = [[column[0] for column in cursor.description], *cursor.fetchall()]
    return "".join(f"{json.dumps(list(line), default=to_json)}\n" for line in lines).encode()


def replace(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write rows into a table, in place of all rows that it has."""
    database = databases.of(connection)
    database.execute(connection, f"DELETE FROM {identifier(table)}")
    names = ", ".join(map(identifier, columns))
    places = ", ".join(["%s"] * len(columns))
    for row in rows:
        database.execute(connection, f"INSERT INTO {table} ({names}) VALUES ({places})", *row)


def identifier(name: str) -> str:
    """Return a name that needs no quotes in SQL; raise BlobError for any other."""
    if not (name.isascii() and name.isidentifier()):
        raise BlobError(f"{name!r} is no name of a table or column that can be dumped")
    return name


def to_json(value: object) -> object:
    """Write bytes, for which JSON has no type."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": base64.b64encode(value).decode("ascii")}
    raise BlobError(f"a table has a value of {type(value)}, which cannot be dumped")


def from_json(value: dict[str, Any]) -> object:
    """Read bytes."""
    return base64.b64decode(value["base64"], validate=True)
