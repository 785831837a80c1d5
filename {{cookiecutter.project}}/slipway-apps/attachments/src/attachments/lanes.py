"""A small number of threads for blocking work, each with its own connection.

A slow client holds no thread and no transaction: it uses its lane for one piece at a time. So a few
lanes serve hundreds of clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import blobfiles
from blobfiles import databases

Result = TypeVar("Result")
DRIVERS = ("sqlite3", "psycopg", "pymysql", "MySQLdb")


class Unavailable(Exception):
    """The database does not answer, or refuses a statement for the moment."""


class Lane:
    """One thread and its connection, which is opened again after the database was away."""

    def __init__(self, url: str) -> None:
        """Keep the DATABASE_URL; nothing is opened yet."""
        self.waiting = 0
        self._url = url
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")
        self._connection: Any = None

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run `work(connection, …)` in the thread, after the work that waits already.

        Raise NoRoom if the driver reports a full disk, and Unavailable for its other errors.
        """
        loop = asyncio.get_running_loop()
        call = functools.partial(self._call, work, *arguments)
        self.waiting += 1
        future = loop.run_in_executor(self._thread, call)
        future.add_done_callback(self._done)
        return await future

    def close(self) -> None:
        """Close the connection after the last piece of work."""
        self._thread.submit(self._hang_up)
        self._thread.shutdown()

    def _done(self, future: asyncio.Future[Any]) -> None:
        self.waiting -= 1
        if not future.cancelled():
            future.exception()  # the client may have gone, and nobody else needs the result

    def _call(self, work: Callable[..., Result], *arguments: object) -> Result:
        try:
            if self._connection is None:
                self._connection = blobfiles.connect(self._url)
            return work(self._connection, *arguments)
        except Exception as problem:
            if not is_of_driver(problem):
                raise
            full = self._connection is not None and databases.of(self._connection).is_full(problem)
            self._look()
            if full:
                raise blobfiles.NoRoom(str(problem)) from problem
            raise Unavailable(f"{type(problem).__name__}: {problem}".strip()) from problem

    def _look(self) -> None:
        """Close the connection if it cannot be used any more."""
        try:
            self._connection.rollback()
            with contextlib.closing(self._connection.cursor()) as cursor:
                cursor.execute("SELECT 1")
                cursor.fetchall()
        except Exception:
            self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


class Lanes:
    """All lanes; each piece of work goes to one that has little work."""

    def __init__(self, url: str, count: int) -> None:
        """Start the lanes; nothing is opened before the first work."""
        self._lanes = [Lane(url) for _ in range(count)]

    def choose(self) -> Lane:
        """Return the lane with the least work, for all pieces of one client."""
        chosen = min(self._lanes, key=lambda lane: lane.waiting)
        # Among equal lanes, the next choice is another one.
        self._lanes.remove(chosen)
        self._lanes.append(chosen)
        return chosen

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run one piece of work that only reads, in any lane."""
        return await self.run_in(self.choose(), work, *arguments)

    async def run_in(self, lane: Lane, work: Callable[..., Result], *arguments: object) -> Result:
        """Run it in one lane; repeat it on a new connection if the old one was lost."""
        try:
            return await lane.run(work, *arguments)
        except Unavailable:
            return await lane.run(work, *arguments)

    def close(self) -> None:
        """Wait for running work, and close all connections."""
        for lane in self._lanes:
            lane.close()


def is_of_driver(problem: BaseException) -> bool:
    """Return whether an exception is an Error of the database's driver, PEP 249."""
    return any(
        kind.__name__ == "Error" and kind.__module__.partition(".")[0] in DRIVERS
        for kind in type(problem).__mro__
    )


def connect_patiently(url: str, seconds: float, say: Callable[[str], None]) -> Any:
    """Connect to a database that may still be starting; raise the driver's last error."""
    deadline = time.monotonic() + seconds
    said = False
    while True:
        try:
            return blobfiles.connect(url)
        except Exception as problem:
            if not is_of_driver(problem) or time.monotonic() > deadline:
                raise
            if not said:
                say(f"waiting for the database: {problem}".strip())
            said = True
            time.sleep(0.5)
