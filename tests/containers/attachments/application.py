"""The attachments application in its own run image, started and looked into as a user would."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.conftest import Project
from tests.containers.attachments.clients import Client, everything
from tests.containers.laptop import Laptop, free_port

Result = TypeVar("Result")
PASSWORD = "development"

# What must hold whenever nothing is written: every row has its bytes, and nothing else is left.
AUDIT = """
import datetime, json, os, sys
import blobfiles
from blobfiles import databases
url = os.environ.get("DATABASE_URL") or "sqlite:////files/attachments.db"
connection = blobfiles.connect(url)
blobfiles.collect(connection, datetime.timedelta(0))
rows = lambda query: [tuple(row) for row in databases.of(connection).rows(connection, query)]
ids = [id for (id,) in rows("SELECT blob_id FROM attachments_file")]
for id in ids:
    blobfiles.verify(connection, id)
print(json.dumps({
    "files": len(ids),
    "published": sorted(blob.id for blob in blobfiles.list(connection)) == sorted(ids),
    "unpublished": rows("SELECT COUNT(*) FROM blobfiles_blob WHERE state <> 'published'")[0][0],
    "orphans": rows("SELECT COUNT(*) FROM blobfiles_chunk WHERE blob_id NOT IN"
                    " (SELECT id FROM blobfiles_blob)")[0][0],
    "totals": rows("SELECT files, bytes FROM attachments_total")[0]
    == rows("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM attachments_file")[0],
}))
"""


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """Run what is asynchronous to its end."""
    return asyncio.run(work)


# A request from within, where there is no curl; prints the answer's body.
ASK = """
import os, sys, urllib.request
method, target, *body = sys.argv[1:]
url = f"http://127.0.0.1:{os.environ['PORT']}{target}"
request = urllib.request.Request(url, "".join(body).encode() or None, method=method)
print(urllib.request.urlopen(request).read().decode())
"""


@dataclass
class Attachments:
    """A generated project with its image, of which one container runs at a time."""

    laptop: Laptop
    project: Project
    name: str
    port: int = 0
    volumes: list[str] = field(default_factory=list)

    @property
    def container(self) -> str:
        """The container that `make run` starts."""
        return f"{self.name}-local"

    def run(self, *words: str, **environment: str) -> int:
        """Start it on a new volume, with an environment of its own; return the port."""
        self.port = free_port()
        self.volumes.append(f"{self.name}-{secrets.token_hex(3)}")
        environment = {"WRITE_TOKEN": "", **environment}
        lines = "".join(f"{name}={value}\n" for name, value in environment.items())
        (self.project.path / "deploy" / "run.env").write_text(lines, encoding="utf-8")
        volume = f"VOLUMES={self.volumes[-1]}:/files"
        self.laptop.make(self.project, "run", f"PORT={self.port}", volume, *words)
        return self.port

    def make(self, *words: str) -> str:
        """Run make in the project, for what runs here."""
        return self.laptop.make(self.project, *words, "DEPLOY_HOST=")

    def inside(self, *command: str) -> str:
        """Run a program in the container."""
        return self.laptop.docker("exec", self.container, *command)

    def memory(self) -> int:
        """Return the most memory in bytes that the application had since it was started."""
        said = self.inside("sh", "-c", "grep -h VmHWM /proc/[0-9]*/status")
        return max(int(kilobytes) for kilobytes in re.findall(r"(\d+) kB", said)) * 1024

    def audit(self) -> dict[str, Any]:
        """Collect what is left over, and look at every row and byte."""
        said: dict[str, Any] = json.loads(self.inside("/appenv/bin/python", "-c", AUDIT))
        return said

    def is_consistent(self) -> bool:
        """Return whether rows and bytes belong together, and nothing is left over."""
        found = self.audit()
        return found == {
            **found,
            **{"published": True, "unpublished": 0, "orphans": 0, "totals": True},
        }

    def kill(self, container: str) -> None:
        """End a container as a power cut would, start it again, and wait for the application."""
        self.laptop.docker("restart", "--time", "0", container)
        self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = finish(Client(self.port).request("GET", "/health"))
                assert answer.status == 200
                return
            except (OSError, asyncio.IncompleteReadError, AssertionError):
                assert time.monotonic() < deadline, self.laptop.docker("logs", self.container)
                time.sleep(0.05)

    def files(self) -> list[dict[str, Any]]:
        """List all files."""
        return finish(everything(Client(self.port)))

    def database(self, kind: str) -> tuple[str, str]:
        """Start an empty database by its profile; return its DATABASE_URL and how to reach it."""
        self._end_databases()
        scheme = {"postgres": "postgresql", "mariadb": "mysql"}[kind]
        ports = {"POSTGRES_PORT": str(free_port()), "MARIADB_PORT": str(free_port())}
        self.laptop.make(self.project, "database", f"DATABASE={kind}", **ports)
        network = f"{self.project.path.name}_default"
        return (
            f"{scheme}://attachments:{PASSWORD}@{kind}/attachments",
            f"RUN_OPTIONS=--network {network}",
        )

    def database_container(self, kind: str) -> str:
        """The container that a database runs in."""
        return f"{self.project.path.name}-{kind}-1"

    def end(self) -> None:
        """Remove what was started, with its data."""
        self._end_databases()
        for volume in self.volumes:
            self.laptop.docker("volume", "rm", "--force", volume)

    def _end_databases(self) -> None:
        self.make("stop")  # or it would keep their network
        down = ("docker", "compose", "--profile", "*", "down", "--volumes")
        done = self.laptop.run(self.project, *down)
        assert done.returncode == 0, done.stdout


class Deployed(Attachments):
    """The same application on the laptop's server, where a SQLite file in a volume is its own."""

    # One that needs sudo for docker, one of the docker group, and root.
    accounts = ("sudoer@server", "deployer@server", "root@server")

    def inside(self, *command: str) -> str:
        """Run a program in the release's container."""
        return self.laptop.server.docker("exec", self.name, *command)

    def make(self, *words: str, account: str = accounts[0]) -> str:
        """Run make in the project, for the server."""
        return self.laptop.make(self.project, *words, f"DEPLOY_HOST={account}", "PORT=8090")

    def ask(self, method: str, target: str, body: str = "") -> str:
        """Return the answer to a request."""
        return self.inside("/appenv/bin/python", "-c", ASK, method, target, body)

    def files(self) -> list[dict[str, Any]]:
        """List all files, which are few."""
        found: list[dict[str, Any]] = json.loads(self.ask("GET", "/files"))["files"]
        return found

    def end(self) -> None:
        """Remove the releases and the volume."""
        script = 'docker rm --force $(docker ps --all --quiet --filter name="$1")'
        self.laptop.server.run("sh", "-c", f'{script}; docker volume rm "$1-files"', "-", self.name)
