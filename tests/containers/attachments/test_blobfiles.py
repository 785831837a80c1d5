"""blobfiles on real servers, with the interpreters of the base image."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import blobfiles
import testbed
from testbed import databases
from tests import apps
from tests.apps import kills

HERE = Path(apps.__file__).parent
MEMORY = Path(databases.__file__).with_name("memory.py")
# Each kind of database is killed so often here; `make kills` does it 100 times.
KILLS = {"sqlite": 8, "postgresql": 4, "mysql": 4}
# A file of so many MiB, and by how many MiB the memory's peak may grow meanwhile.
LARGE = 96
GROWTH = {"python3": 24, "pypy3": 64}
# The write-ahead log's limit in bytes.
LOG_LIMIT = 64 << 20
PYTHONS = pytest.mark.parametrize("python", GROWTH)

Database = databases.File | databases.Server


@pytest.fixture(scope="module", params=databases.NAMES)
def database(
    request: pytest.FixtureRequest, engine: testbed.Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """One database of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    with databases.database(request.param, folder, engine) as started:
        yield started


@pytest.fixture(scope="module")
def interpreters(engine: testbed.Engine) -> str:
    """An image with CPython, PyPy and the drivers."""
    recipe = (HERE / "interpreters.docker").read_text(encoding="utf-8")
    return engine.run("docker", "build", "--quiet", "-", stdin=recipe).strip()


def run_inside(engine: testbed.Engine, image: str, database: Database, *command: str | Path) -> str:
    """Run a command in a container beside the database, and return its output."""
    network, url = "none", "sqlite:////tmp/files.db"
    if isinstance(database, databases.Server):
        network, url = database.network, database.url_in_network
    return engine.run(
        *("docker", "run", "--rm", "--network", network, "--env", f"DATABASE_URL={url}"),
        *("--volume", f"{apps.SOURCES}:/sources:ro", "--volume", f"{MEMORY}:/memory.py:ro"),
        *("--volume", f"{apps.SUITE.parent}:/suite:ro"),
        *(image, *command),
    )


@PYTHONS
def test_suite_passes(
    engine: testbed.Engine, interpreters: str, database: Database, python: str
) -> None:
    """The suite that comes with a generated project, on each interpreter and database."""
    run_inside(engine, interpreters, database, python, f"/suite/{apps.SUITE.name}")


@PYTHONS
def test_memory_does_not_grow_with_the_file(
    engine: testbed.Engine, interpreters: str, database: Database, python: str
) -> None:
    """A large file is stored and read in the memory that a small one takes, or little more."""
    command = (python, "/memory.py", str(LARGE))
    grown = int(run_inside(engine, interpreters, database, *command))
    assert grown <= GROWTH[python] << 10, f"{grown} KiB"


def test_nothing_is_lost_or_left_when_all_is_killed(database: Database) -> None:
    """Files and rows belong together, hashes are right, and one collect removes the rest."""
    kills.kill_often(database, KILLS[database.name], seed=1)


def test_others_write_to_sqlite_while_a_large_file_is_stored(tmp_path: Path) -> None:
    """Those too who know nothing of blobfiles, and the log stays short; readers never stop."""
    file = databases.File(tmp_path)
    connection = blobfiles.connect(file.url)
    blobfiles.migrate(connection)
    connection.execute("CREATE TABLE other (number INTEGER)")
    with blobfiles.create(connection, name="a", media_type="b", staged=True) as first:
        first.write(bytes(4 << 20))
    first.publish(connection)
    ended = threading.Event()
    written, logs = 0, []

    def store() -> None:
        try:
            with blobfiles.create(connection, name="a", media_type="b", staged=True) as writer:
                for _ in range(LARGE):
                    writer.write(bytes(1 << 20))
        finally:
            ended.set()

    def read() -> None:
        own = blobfiles.connect(file.url)
        while not ended.is_set():
            with blobfiles.open(own, first.id) as reader:
                reader.read()
        own.close()

    threads = [threading.Thread(target=each) for each in (store, read)]
    for thread in threads:
        thread.start()
    other = sqlite3.connect(file.path, isolation_level=None)
    while not ended.is_set():
        other.execute("INSERT INTO other VALUES (1)")
        written += 1
        logs.append(Path(f"{file.path}-wal").stat().st_size)
    for thread in threads:
        thread.join()
    other.close()
    connection.close()
    assert written > LARGE / 8  # one for each time that the log is copied, at the least
    assert max(logs) <= LOG_LIMIT
