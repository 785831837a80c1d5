"""Bodies of requests and replies, a piece at a time.

Starlette's own streams are not used: `Request.stream()` has no limit of time, and
`StreamingResponse` reads the next piece only after it has sent the last one.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from blobfiles import Reader

from .fields import digests
from .lanes import Lane
from .messages import Fields, Reply

Result = TypeVar("Result")
# Smaller pieces are collected first: a client that sends single bytes causes no work for each.
PIECE = 64 << 10
HASHES = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


class Pace:
    """The patience with a client: a number of seconds in total, and more for every byte."""

    def __init__(self, seconds: float, rate: float) -> None:
        """Set the seconds, which never grow, and the number of bytes that earn one of them back."""
        self.seconds = self._most = seconds
        self._rate = rate

    async def wait(self, awaitable: Awaitable[Result]) -> Result:
        """Wait for the client; raise HTTPException when the seconds are used up."""
        began = time.monotonic()
        try:
            return await asyncio.wait_for(awaitable, self.seconds)
        except asyncio.TimeoutError:
            closing = {"connection": "close"}
            raise HTTPException(408, "too slow: send it again, and faster", closing) from None
        finally:
            self.seconds -= time.monotonic() - began

    def earn(self, received: int) -> None:
        """Add the time for a number of received bytes."""
        self.seconds = min(self._most, self.seconds + received / self._rate)


class Body:
    """A request's body."""

    def __init__(self, fields: Fields, receive: Receive, pace: Pace) -> None:
        """Read the digests in the request's fields; raise Malformed if they are invalid."""
        self._receive = receive
        self._pace = pace
        # Both are of the same bytes: a request with a content coding is refused.
        self._expected = [
            (algorithm, digest)
            for name in ("content-digest", "repr-digest")
            for algorithm, digest in digests(fields.get(name, "")).items()
            if algorithm in HASHES
        ]
        self._hashes = {algorithm: HASHES[algorithm]() for algorithm, _ in self._expected}

    async def pieces(self) -> AsyncIterator[bytes]:
        """Return the bytes as they arrive, no faster than they are used.

        Raise ClientDisconnect, or HTTPException when the client is too slow or a digest is wrong.
        """
        async for piece in _joined(self._messages()):
            for each in self._hashes.values():
                each.update(piece)
            yield piece
        for algorithm, digest in self._expected:
            if self._hashes[algorithm].digest() != digest:
                raise HTTPException(422, f"damaged on the way: the {algorithm} is different")

    async def _messages(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._pace.wait(self._receive())
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
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


class FileReply(Reply):
    """A reply whose body is a part of a file."""

    def __init__(self, lane: Lane, reader: Reader, first: int, end: int, fields: Fields) -> None:
        """Keep the file and the range; nothing is read yet."""
        super().__init__(b"", 206 if "content-range" in fields else 200, fields)
        self._file = (lane, reader, first, end)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply, as ASGI defines it."""
        if scope["method"] == "HEAD":
            await super().__call__(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send_range(*self._file, receive, send)


async def send_range(
    lane: Lane, reader: Reader, first: int, end: int, receive: Receive, send: Send
) -> None:
    """Send a part of a file, reading one piece ahead; stop when the client disconnects.

    Errors of reading are raised; the reply is cut off then.
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
    """Return the parts of a range that end where the file's chunks end."""
    while first < end:
        until = min(end, (first // size + 1) * size)
        yield first, until
        first = until


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
