"""The server: uvicorn, with limits of time for clients that are slow on purpose."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
# At a signal, what is under way may go on for so long.
GRACE_SECONDS = 5


@contextmanager
def prepared(settings: Settings) -> Iterator[Any]:
    """Give a connection to a database whose tables are up to date.

    Others that start now wait for it.
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
    """Serve until a signal says stop."""
    with prepared(settings):
        pass
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
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=settings.idle_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Leave the health check out of the log, which comes every few seconds."""
    return '"GET /health ' not in record.getMessage()


def say(line: str) -> None:
    """Write a line to the log."""
    print(line, file=sys.stderr, flush=True)
