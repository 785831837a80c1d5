"""Versioned SQL files, applied once each, in order, under a lock."""

from __future__ import annotations

import re
from pathlib import Path

from . import databases
from .databases import Connection

OWN = Path(__file__).with_name("migrations")
FILE = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+(?P<database>\.[a-z]+)?\.sql")
TABLE = """
CREATE TABLE IF NOT EXISTS blobfiles_migration (
    namespace VARCHAR(64) NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (namespace, version)
)
"""


def migrate(
    connection: Connection, folder: str | Path = OWN, namespace: str | None = None
) -> list[str]:
    """Apply the new migrations of a folder, and commit; return their file names.

    A file is `NNNN_words.sql`, or `NNNN_words.DATABASE.sql` where the databases (sqlite,
    postgresql, mysql) need different statements. A statement's `;` ends its line. Each file is
    applied once per namespace: `blobfiles` for this package, and by default the folder's name for
    others. Several processes may call this at once: one does the work, the others wait for it.
    """
    database = databases.of(connection)
    space = namespace or ("blobfiles" if folder == OWN else Path(folder).resolve().name)
    applied = []
    with database.migrating(connection):
        database.execute(connection, TABLE)
        query = "SELECT version FROM blobfiles_migration WHERE namespace = %s"
        done = {version for (version,) in database.rows(connection, query, space)}
        for version, path in files(Path(folder), database.name):
            if version not in done:
                database.run_script(connection, path.read_text(encoding="utf-8"))
                record = "INSERT INTO blobfiles_migration (namespace, version) VALUES (%s, %s)"
                database.execute(connection, record, space, version)
                applied.append(path.name)
    return applied


def files(folder: Path, database: str) -> list[tuple[int, Path]]:
    """Return the migrations of a folder for a database, in order."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("*.sql")):
        match = FILE.fullmatch(path.name)
        if not match:
            raise ValueError(f"{path}: call it 0001_what_it_does.sql")
        if match["database"] in (None, f".{database}"):
            if int(match["version"]) in found:
                raise ValueError(f"{path}: number {match['version']} is taken by another file")
            found[int(match["version"])] = path
    return sorted(found.items())
