"""The server: uvicorn with the limits of `slow_clients`."""

from __future__ import annotations

import logging
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

import blobfiles

from .application import Application
from .lanes import connect_patiently
from .settings import Settings
from .slow_clients import LimitedProtocol

MIGRATIONS = Path(__file__).with_name("migrations")
HEADER_BYTES = 32 << 10
DATABASE_SECONDS = 60
# The time for running requests after a signal.
GRACE_SECONDS = 5
# Open files besides the connections of clients: the database's, and modules.
OTHER_FILES = 100


@contextmanager
def prepared(settings: Settings) -> Iterator[Any]:
    """Return a connection to a database whose tables are up to date.

    Other processes that start at the same time wait.
    """
    connection = connect_patiently(settings.database_url, DATABASE_SECONDS, say)
    try:
        for done in (
            *blobfiles.migrate(connection),
            *blobfiles.migrate(connection, MIGRATIONS, namespace="attachments"),
        ):
            say(f"migrated: {done}")
        yield connection
    finally:
        connection.close()


def serve(settings: Settings) -> None:
    """Run the server until it gets a signal."""
    with prepared(settings):
        pass
    _allow_open_files(2 * settings.max_connections + OTHER_FILES)
    logging.getLogger("uvicorn.access").addFilter(_is_of_interest)
    limited = type("LimitedProtocol", (LimitedProtocol,), {"settings": settings})
    uvicorn.run(
        Application(settings),
        host="0.0.0.0",
        port=settings.port,
        http=limited,
        loop="asyncio",
        ws="none",
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=settings.idle_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _allow_open_files(number: int) -> None:
    """Raise the limit of open files as far as necessary and possible: connections are files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        number = min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < number:
        with suppress(OSError, ValueError):  # a system may have a limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Return False for the health check, which comes every few seconds."""
    return '"GET /health ' not in record.getMessage()


def say(line: str) -> None:
    """Write a line to the log."""
    print(line, file=sys.stderr, flush=True)
