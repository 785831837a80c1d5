"""Databases to test on: a file, or a server in a container that can be killed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import blobfiles
import testbed

PASSWORD = "secret"
SERVERS = {
    "postgresql": (
        testbed.POSTGRES,
        5432,
        ("POSTGRES_USER=app", f"POSTGRES_PASSWORD={PASSWORD}", "POSTGRES_DB=app"),
    ),
    "mysql": (
        testbed.MARIADB,
        3306,
        ("MARIADB_USER=app", f"MARIADB_PASSWORD={PASSWORD}", "MARIADB_DATABASE=app"),
    ),
}
NAMES = ("sqlite", *SERVERS)
START_SECONDS = 120


class File:
    """SQLite: there is no server, and nothing to kill but the application."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        """Take the folder that the database's files will be in."""
        self.path = folder / "files.db"

    @property
    def url(self) -> str:
        """Its DATABASE_URL."""
        return f"sqlite:///{self.path}"

    def kill(self) -> bool:
        """Say that there is nothing to kill."""
        return False

    def restart(self) -> None:
        """Do nothing, since nothing ended."""


class Server:
    """PostgreSQL or MariaDB in a container, on a port of this machine's loopback."""

    def __init__(self, engine: testbed.Engine, name: str) -> None:
        """Start it and wait until it answers."""
        self.name = name
        self._engine = engine
        self._container = f"blobs-{name}-{secrets.token_hex(3)}"
        image, self._port, variables = SERVERS[name]
        testbed.provide(engine, image)
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
        """Its DATABASE_URL, with another port after each start."""
        published = self._docker("port", self._container, f"{self._port}/tcp")
        return f"{self.name}://app:{PASSWORD}@{published.split()[0]}/app"

    @property
    def network(self) -> str:
        """What `docker run --network` takes, to find it at its own port on 127.0.0.1."""
        return f"container:{self._container}"

    @property
    def url_in_network(self) -> str:
        """Its DATABASE_URL for a container in that network."""
        return f"{self.name}://app:{PASSWORD}@127.0.0.1:{self._port}/app"

    def kill(self) -> bool:
        """End all of its processes at once."""
        self._docker("kill", "--signal", "KILL", self._container)
        return True

    def restart(self) -> None:
        """Start it after that, and wait until it has recovered."""
        self._docker("start", self._container)
        self._wait()

    def _wait(self) -> None:
        last: Exception | None = None
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                blobfiles.connect(self.url).close()
                return
            except Exception as error:  # each driver has its own for a server that starts
                last = error
                time.sleep(0.1)
        raise testbed.HarnessError(f"{self.name} does not answer after its start: {last}")

    def remove(self) -> None:
        """Leave nothing of it."""
        self._engine.succeeds("docker", "rm", "--force", "--volumes", self._container)


@contextmanager
def database(name: str, folder: Path, engine: testbed.Engine | None) -> Iterator[File | Server]:
    """Have a database of that kind for as long as the block lasts."""
    if name == File.name:
        yield File(folder)
        return
    assert engine
    server = Server(engine, name)
    try:
        yield server
    finally:
        server.remove()
