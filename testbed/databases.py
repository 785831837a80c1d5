"""Databases: a file of SQLite, or a server in a container that can be killed.

The package blobfiles must be importable, see projects.BLOBFILES.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import blobfiles
from testbed.console import HarnessError
from testbed.engine import Engine
from testbed.images import MARIADB, POSTGRES, provide

PASSWORD = "secret"
SERVERS = {
    "postgresql": (
        POSTGRES,
        5432,
        ("POSTGRES_USER=app", f"POSTGRES_PASSWORD={PASSWORD}", "POSTGRES_DB=app"),
    ),
    "mysql": (
        MARIADB,
        3306,
        ("MARIADB_USER=app", f"MARIADB_PASSWORD={PASSWORD}", "MARIADB_DATABASE=app"),
    ),
}
NAMES = ("sqlite", *SERVERS)
START_SECONDS = 120


class File:
    """SQLite, which has no server that could be killed."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        """Remember the folder for the database's files."""
        self.path = folder / "files.db"

    @property
    def url(self) -> str:
        """The DATABASE_URL."""
        return f"sqlite:///{self.path}"

    def kill(self) -> bool:
        """Return False: there is nothing to kill."""
        return False

    def restart(self) -> None:
        """Do nothing, since nothing was killed."""


class Server:
    """PostgreSQL or MariaDB in a container, published on this machine's loopback interface."""

    def __init__(self, engine: Engine, name: str) -> None:
        """Start the server and wait until it answers."""
        self.name = name
        self._engine = engine
        self._container = f"blobs-{name}-{secrets.token_hex(3)}"
        image, self._port, variables = SERVERS[name]
        provide(engine, image)
        settings = [word for variable in variables for word in ("--env", variable)]
        self._docker(
            *("run", "--detach", "--name", self._container, "--shm-size", "256m"),
            *("--publish", f"127.0.0.1::{self._port}", *settings, image),
        )
        self._wait()

    def _docker(self, *words: str) -> str:
        return self._engine.run("docker", *words)

    @property
    def url(self) -> str:
        """The DATABASE_URL; the port changes with each start."""
        published = self._docker("port", self._container, f"{self._port}/tcp")
        return f"{self.name}://app:{PASSWORD}@{published.split()[0]}/app"

    @property
    def network(self) -> str:
        """A value for `docker run --network` with which the server is on 127.0.0.1."""
        return f"container:{self._container}"

    @property
    def url_in_network(self) -> str:
        """The DATABASE_URL for a container in that network."""
        return f"{self.name}://app:{PASSWORD}@127.0.0.1:{self._port}/app"

    def kill(self) -> bool:
        """Kill all processes of the server at once; return True."""
        self._docker("kill", "--signal", "KILL", self._container)
        return True

    def restart(self) -> None:
        """Start the server again, and wait until it has recovered."""
        self._docker("start", self._container)
        self._wait()

    def _wait(self) -> None:
        last: Exception | None = None
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                blobfiles.connect(self.url).close()
                return
            except Exception as error:  # the type depends on the driver
                last = error
                time.sleep(0.1)
        raise HarnessError(f"{self.name}: no answer within {START_SECONDS} seconds: {last}")

    def remove(self) -> None:
        """Remove the container and its volumes."""
        self._engine.succeeds("docker", "rm", "--force", "--volumes", self._container)


@contextmanager
def database(name: str, folder: Path, engine: Engine | None) -> Iterator[File | Server]:
    """Provide a database of this kind for the duration of the block."""
    if name == File.name:
        yield File(folder)
        return
    assert engine
    server = Server(engine, name)
    try:
        yield server
    finally:
        server.remove()
