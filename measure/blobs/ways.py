"""Measure a way to store files: write them durably, and read them back.

    python ways.py WAY URL FOLDER BYTES COUNT

prints a JSON object: the seconds to write and to read COUNT files of BYTES bytes each, and by how
many bytes the peak of the memory grew. It needs a process of its own to measure its memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import blobfiles
from testbed.memory import PIECE, forget_peak, peak, stage

RANDOM = os.urandom(PIECE)


def pieces(size: int) -> Iterator[bytes]:
    """Return a file's content in pieces, as from the network."""
    for start in range(0, size, PIECE):
        yield RANDOM[: min(PIECE, size - start)]


def drain(read: Callable[[int], bytes]) -> None:
    """Read a file to its end, in pieces."""
    while read(PIECE):
        pass


class PlainFile:
    """A file in a folder, with fsync of both."""

    def __init__(self, url: str, folder: str) -> None:
        """Remember the folder."""
        self.folder = Path(folder)

    def write(self, number: int, size: int) -> object:
        """Write one file."""
        path = self.folder / f"plain-{number}"
        with path.open("wb") as file:
            for piece in pieces(size):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        descriptor = os.open(self.folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return path

    def read(self, path: Any) -> None:
        """Read one file."""
        with path.open("rb") as file:
            drain(file.read)


class Staged:
    """blobfiles, in the way of an upload."""

    staged = True

    def __init__(self, url: str, folder: str) -> None:
        """Connect, migrate, and remove older files, as the other ways do."""
        self.connection: Any = blobfiles.connect(url)
        blobfiles.migrate(self.connection)
        for blob in blobfiles.list(self.connection):
            blobfiles.delete(self.connection, blob.id)
        blobfiles.collect(self.connection, timedelta(0))

    def write(self, number: int, size: int) -> object:
        """Write and publish one file."""
        return stage(self.connection, pieces(size)).id

    def read(self, id: Any) -> None:
        """Read one file."""
        with blobfiles.open(self.connection, id) as reader:
            drain(reader.read)


class Joined(Staged):
    """blobfiles, in the caller's transaction."""

    def write(self, number: int, size: int) -> object:
        """Write one file."""
        with (
            blobfiles.transaction(self.connection),
            blobfiles.create(self.connection, name="a", media_type="b") as writer,
        ):
            for piece in pieces(size):
                writer.write(piece)
        return writer.id


class Column:
    """A value of a row: bytea, LONGBLOB, or SQLite's BLOB; the whole value is in memory."""

    def __init__(self, url: str, folder: str) -> None:
        """Connect in the usual way, and create the table."""
        self.connection: Any
        if url.startswith("sqlite"):
            # a separate file with SQLite's defaults, but the faster journal
            self.connection = sqlite3.connect(Path(folder) / "column.db", isolation_level=None)
            self.connection.execute("PRAGMA journal_mode = WAL")
            kind, self.sign = "BLOB", "?"
        else:
            self.connection = blobfiles.connect(url)
            kind, self.sign = ("BYTEA", "%b") if "postgres" in url else ("LONGBLOB", "%s")
        self.run(f"CREATE TABLE IF NOT EXISTS one_column (id INTEGER PRIMARY KEY, data {kind})")
        self.run("DELETE FROM one_column")

    def run(self, statement: str, *parameters: object) -> Any:
        """Run a statement; return the cursor."""
        psycopg = type(self.connection).__module__.startswith("psycopg")
        cursor = self.connection.cursor(binary=True) if psycopg else self.connection.cursor()
        cursor.execute(statement.replace("?", self.sign), parameters)
        return cursor

    def write(self, number: int, size: int) -> object:
        """Write one file."""
        data = b"".join(pieces(size))
        self.run("INSERT INTO one_column (id, data) VALUES (?, ?)", number, data)
        return number

    def read(self, number: Any) -> None:
        """Read one file."""
        assert self.run("SELECT data FROM one_column WHERE id = ?", number).fetchone()[0]


class IncrementalBlob(Column):
    """SQLite's incremental BLOB, which needs the length in advance."""

    def write(self, number: int, size: int) -> object:
        """Write one file."""
        self.run("BEGIN IMMEDIATE")
        self.run("INSERT INTO one_column (id, data) VALUES (?, zeroblob(?))", number, size)
        with self.connection.blobopen("one_column", "data", number) as blob:
            for piece in pieces(size):
                blob.write(piece)
        self.run("COMMIT")
        return number

    def read(self, number: Any) -> None:
        """Read one file."""
        with self.connection.blobopen("one_column", "data", number, readonly=True) as blob:
            drain(blob.read)


class LargeObject(Column):
    """PostgreSQL's large objects."""

    def write(self, number: int, size: int) -> object:
        """Write one file."""
        with self.connection.transaction():
            (id,) = self.run("SELECT lo_create(0)").fetchone()
            (descriptor,) = self.run("SELECT lo_open(?, 131072)", id).fetchone()
            for piece in pieces(size):
                self.run("SELECT lowrite(?, ?)", descriptor, piece)
        return id

    def read(self, id: Any) -> None:
        """Read one file, and remove it, since no table that could be emptied contains it."""
        with self.connection.transaction():
            (descriptor,) = self.run("SELECT lo_open(?, 262144)", id).fetchone()
            drain(lambda size: self.run("SELECT loread(?, ?)", descriptor, size).fetchone()[0])
            self.run("SELECT lo_unlink(?)", id)


class DjangoStorage:
    """django-db-file-storage, which stores base 64 in a text column."""

    def __init__(self, url: str, folder: str) -> None:
        """Configure Django with a model, as the package's documentation describes."""
        import django
        from django.conf import settings

        engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/django.db"}
        if url.startswith("postgres"):
            from urllib.parse import urlsplit

            parts = urlsplit(url)
            engine = {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts.path[1:],
                "USER": str(parts.username),
                "PASSWORD": str(parts.password),
                "HOST": str(parts.hostname),
                "PORT": str(parts.port),
            }
        settings.configure(
            DATABASES={"default": engine},
            INSTALLED_APPS=["db_file_storage"],
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        )
        django.setup()
        from db_file_storage.storage import DatabaseFileStorage
        from django.db import connection, models

        model = type(
            "Kept",
            (models.Model,),
            {
                "__module__": "db_file_storage.models",
                "bytes": models.TextField(),
                "filename": models.CharField(max_length=255),
                "mimetype": models.CharField(max_length=50),
                "Meta": type("Meta", (), {"app_label": "db_file_storage", "db_table": "kept"}),
            },
        )
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS kept")
        with connection.schema_editor() as editor:
            editor.create_model(model)
        self.storage = DatabaseFileStorage()

    def write(self, number: int, size: int) -> object:
        """Write one file."""
        from django.core.files.base import ContentFile

        name = f"db_file_storage.Kept/bytes/filename/mimetype/{number}.bin"
        return self.storage.save(name, ContentFile(b"".join(pieces(size))))

    def read(self, name: Any) -> None:
        """Read one file."""
        drain(self.storage.open(name).read)


WAYS: dict[str, Callable[[str, str], Any]] = {
    "plain file": PlainFile,
    "blobfiles, staged": Staged,
    "blobfiles, joined": Joined,
    "one column": Column,
    "incremental BLOB": IncrementalBlob,
    "large object": LargeObject,
    "django-db-file-storage": DjangoStorage,
}


def measure(way: str, url: str, folder: str, size: int, count: int) -> dict[str, float]:
    """Write and read a small file first, then measure; return the figures."""
    kept = WAYS[way](url, folder)
    kept.read(kept.write(0, 1000))
    hashlib.sha256()
    before, start = forget_peak(), time.perf_counter()
    files = [kept.write(number, size) for number in range(1, count + 1)]
    written = time.perf_counter()
    for file in files:
        kept.read(file)
    read = time.perf_counter()
    with suppress(AttributeError):
        kept.connection.close()
    return {"write_s": written - start, "read_s": read - written, "memory": peak() - before}


if __name__ == "__main__":
    given_way, given_url, given_folder, given_size, given_count = sys.argv[1:]
    result = measure(given_way, given_url, given_folder, int(given_size), int(given_count))
    print(json.dumps(result))
