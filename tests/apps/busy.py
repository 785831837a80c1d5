"""An application that uploads, publishes, downloads and deletes until it is killed.

    DATABASE_URL=… python busy.py SEED

Its table has a row for each file, written in the file's transaction. It ends with status 3 when it
reads other bytes than it wrote, and says what.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from functools import partial
from typing import Any

import blobfiles

MOST = 8
LARGEST = 3 << 20


class Application:
    """One connection, and what it does with it."""

    def __init__(self, url: str, seed: str) -> None:
        """Connect; the seed says all that will be done."""
        self.connection: Any = blobfiles.connect(url)
        self.dice = random.Random(seed)

    def rows(self) -> dict[str, str]:
        """Return the table: the hash of each file by its identifier."""
        cursor = self.connection.cursor()
        cursor.execute("SELECT blob_id, sha256 FROM attachment ORDER BY blob_id")
        return dict(cursor.fetchall())

    def execute(self, statement: str, *values: str) -> None:
        """Run a statement of the application's own; the values are hexadecimal or base 32."""
        cursor = self.connection.cursor()
        cursor.execute(statement.format(*(f"'{value}'" for value in values)))
        cursor.close()

    def upload(self) -> None:
        """Store a file with its row, joined or staged."""
        data = self.dice.randbytes(self.dice.choice((0, 1000, self.dice.randrange(LARGEST))))
        sha256 = hashlib.sha256(data).hexdigest()
        row = "INSERT INTO attachment (blob_id, sha256) VALUES ({}, {})"
        create = partial(blobfiles.create, self.connection, name="a", media_type="b")
        if self.dice.random() < 0.5:
            with create(staged=True) as writer:
                self.write(writer, data)
            with blobfiles.transaction(self.connection):
                self.execute(row, writer.id, sha256)
                writer.publish(self.connection)
        else:
            with (
                blobfiles.transaction(self.connection),
                create() as writer,
            ):
                self.execute(row, writer.id, sha256)
                self.write(writer, data)

    def write(self, writer: blobfiles.Writer, data: bytes) -> None:
        """Write in pieces of some size."""
        piece = self.dice.randrange(1000, 600_000)
        for at in range(0, len(data), piece):
            writer.write(data[at : at + piece])

    def delete(self, id: str) -> None:
        """Remove a file with its row."""
        with blobfiles.transaction(self.connection):
            self.execute("DELETE FROM attachment WHERE blob_id = {}", id)
            blobfiles.delete(self.connection, id)

    def download(self, id: str, sha256: str) -> None:
        """Read a file; its hash must be the row's."""
        with blobfiles.open(self.connection, id) as reader:
            found = hashlib.sha256(reader.read()).hexdigest()
        if found != sha256:
            print(f"file {id} has the hash {found} instead of {sha256}", file=sys.stderr)
            sys.exit(3)

    def work(self) -> None:
        """Do one thing after the other, forever."""
        while True:
            rows = list(self.rows().items())
            todo = self.dice.random()
            if len(rows) < 2 or (todo < 0.5 and len(rows) < MOST):
                self.upload()
            elif todo < 0.7:
                self.download(*self.dice.choice(rows))
            elif todo < 0.95:
                self.delete(self.dice.choice(rows)[0])
            else:
                blobfiles.collect(self.connection)


if __name__ == "__main__":
    application = Application(os.environ["DATABASE_URL"], sys.argv[1])
    print("ready", flush=True)
    application.work()
