"""Kill an application or its database at random moments, and look at what is left.

python -m tests.apps.kills [--kills 100] [--seed 1] [sqlite postgresql mysql]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import blobfiles
import testbed
from testbed import databases
from tests.apps import SOURCES
from tests.apps.busy import Application

# The longest time that the application is left alone, in seconds: some ten of its operations.
LONGEST = 0.6
TABLE = "CREATE TABLE attachment (blob_id CHAR(26) PRIMARY KEY, sha256 CHAR(64) NOT NULL);\n"


def prepare(url: str, folder: Path) -> None:
    """Make the tables, the application's by a migration of its own."""
    (folder / "0001_attachment.sql").write_text(TABLE, encoding="utf-8")
    connection = blobfiles.connect(url)
    blobfiles.migrate(connection)
    blobfiles.migrate(connection, folder, "busy")
    for blob in blobfiles.list(connection):
        blobfiles.delete(connection, blob.id)
    connection.close()


def kill_once(database: databases.File | databases.Server, seed: str) -> str:
    """Kill the application or its database after a random time; return which one."""
    dice = random.Random(seed)
    environment = {**os.environ, "DATABASE_URL": database.url, "PYTHONPATH": str(SOURCES)}
    command = [sys.executable, str(Path(__file__).with_name("busy.py")), seed]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        time.sleep(dice.uniform(0, LONGEST))
        killed = "database" if dice.random() < 0.5 and database.kill() else "application"
        process.kill()
        _, said = process.communicate()
    # It may have ended by itself only because its database did.
    allowed = {-signal.SIGKILL} | ({1} if killed == "database" else set())
    assert process.returncode in allowed, said
    if killed == "database":
        database.restart()
    return killed


def assert_whole(url: str) -> int:
    """See that files and rows belong together and are what they were; give their number."""
    application = Application(url, "")
    connection = application.connection
    try:
        # A server may still be at the last transaction of an application that was killed.
        end = time.monotonic() + 10
        while True:
            blobs = {blob.id: blob.sha256.hex() for blob in blobfiles.list(connection)}
            rows = application.rows()
            connection.rollback()
            if blobs == rows or time.monotonic() > end:
                break
            time.sleep(0.1)
        assert blobs == rows
        for id in blobs:
            blobfiles.verify(connection, id)
        blobfiles.collect(connection, timedelta(0))
        cursor = connection.cursor()
        for left_over in (
            "SELECT id FROM blobfiles_blob WHERE state <> 'published'",
            "SELECT blob_id FROM blobfiles_chunk WHERE blob_id NOT IN"
            " (SELECT id FROM blobfiles_blob)",
        ):
            cursor.execute(left_over)
            assert list(cursor.fetchall()) == []
    finally:
        connection.close()
    return len(blobs)


def kill_often(database: databases.File | databases.Server, kills: int, seed: int) -> str:
    """Kill it so many times, looking each time; say how it went in a line."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(database.url, Path(folder))
    killed = {"application": 0, "database": 0}
    seen = 0
    for number in range(kills):
        what = kill_once(database, f"{seed}/{database.name}/{number}")
        killed[what] += 1
        try:
            seen += assert_whole(database.url)
        except Exception as error:
            error.add_note(f"after kill {number} of seed {seed}, which was of the {what}")
            raise
    return (
        f"{database.name}: {killed['application']} kills of the application and"
        f" {killed['database']} of the database, {seen} times a file was there, whole"
    )


def main() -> None:
    """Kill on the databases that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("names", nargs="*", metavar="DATABASE", help=", ".join(databases.NAMES))
    given = parser.parse_args()
    print(f"kills: seed {given.seed}", flush=True)
    with ExitStack() as stack:
        engine = stack.enter_context(testbed.engine_session())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for name in given.names or databases.NAMES:
            with databases.database(name, Path(folder), engine) as database:
                print(f"kills: {kill_often(database, given.kills, given.seed)}", flush=True)


if __name__ == "__main__":
    main()
