"""Bodies on their way in and out, a piece at a time."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TypeVar

from blobfiles import Reader

from .fields import Malformed, digests
from .lanes import Lane
from .messages import Gone, Problem, Receive, Request, Send

Result = TypeVar("Result")
# Less than this is collected first: a client that sends single bytes costs no work for each.
PIECE = 64 << 10
HASHES = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


class Pace:
    """The patience with a client: some seconds in all, and more with every byte that comes."""

    def __init__(self, seconds: float, rate: float) -> None:
        """Take the seconds, and how many bytes earn one more of them; never more than at first."""
        self.seconds = self._most = seconds
        self._rate = rate

    async def wait(self, awaitable: Awaitable[Result]) -> Result:
        """Wait for the client; raises Problem when patience is at its end."""
        began = time.monotonic()
        try:
            return await asyncio.wait_for(awaitable, self.seconds)
        except asyncio.TimeoutError:
            raise Problem(408, "too slow: send it again, and faster", connection="close") from None
        finally:
            self.seconds -= time.monotonic() - began

    def earn(self, received: int) -> None:
        """Say how many bytes came."""
        self.seconds = min(self._most, self.seconds + received / self._rate)


class Body:
    """A request's body."""

    def __init__(self, request: Request, receive: Receive, pace: Pace) -> None:
        """Read nothing yet; raises Problem when its digests cannot be read."""
        self._receive = receive
        self._pace = pace
        try:
            # without a content coding, which is refused, both are of the same bytes
            self._expected = [
                (algorithm, digest)
                for name in ("content-digest", "repr-digest")
                for algorithm, digest in digests(request.field(name)).items()
                if algorithm in HASHES
            ]
        except Malformed as problem:
            raise Problem(400, str(problem)) from None
        self._hashes = {algorithm: HASHES[algorithm]() for algorithm, _ in self._expected}

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give its bytes as they come, at the pace of who takes them.

        Raises Gone, and Problem when the client is too slow or the bytes are not those that its
        digest is of.
        """
        async for piece in _joined(self._messages()):
            for each in self._hashes.values():
                each.update(piece)
            yield piece
        for algorithm, digest in self._expected:
            if self._hashes[algorithm].digest() != digest:
                raise Problem(422, f"damaged on the way: its {algorithm} is another one")

    async def _messages(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._pace.wait(self._receive())
            if message["type"] == "http.disconnect":
                raise Gone
            received: bytes = message.get("body", b"")
            self._pace.earn(len(received))
            if received:
                yield received
            more = message.get("more_body", False)


async def _joined(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    async for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


async def send_range(
    lane: Lane, reader: Reader, first: int, end: int, receive: Receive, send: Send
) -> None:
    """Send a part of a file, reading one piece ahead; stops when the client has gone.

    Raises what reading raises; the reply is cut off then.
    """
    gone = asyncio.ensure_future(_until_gone(receive))
    pieces = iter(_pieces(first, end, reader.blob.chunk_size))
    coming = _read(lane, reader, pieces)
    try:
        while coming is not None and not gone.done():
            data = await coming
            coming = _read(lane, reader, pieces)
            await send({"type": "http.response.body", "body": data, "more_body": True})
        if coming is None:
            await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        if coming is not None:
            await asyncio.wait([coming])


def _read(
    lane: Lane, reader: Reader, pieces: Iterable[tuple[int, int]]
) -> asyncio.Future[bytes] | None:
    for first, end in pieces:
        return asyncio.ensure_future(lane.run(_read_piece, reader, first, end - first))
    return None


def _read_piece(_: object, reader: Reader, first: int, length: int) -> bytes:
    reader.seek(first)
    return reader.read(length)


def _pieces(first: int, end: int, size: int) -> Iterable[tuple[int, int]]:
    """Cut a range where the file's chunks end."""
    while first < end:
        until = min(end, (first // size + 1) * size)
        yield first, until
        first = until


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
