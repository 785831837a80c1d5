"""HTTP clients for the attachments application: many at once, slow ones, and ones that give up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

PIECE = 64 << 10


@dataclass(frozen=True)
class Answer:
    """What came back; of a long body its hash alone."""

    status: int
    fields: dict[str, str]
    body: bytes
    sha256: str


class Client:
    """One connection, which is kept for the next request."""

    def __init__(self, port: int) -> None:
        """Remember the port on 127.0.0.1; the first request connects."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | AsyncIterator[bytes] | None = None,
        **fields: str,
    ) -> Answer:
        """Send a request, whose body may be an iterator, and read all of the answer."""
        reader, writer = await self._connected()
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{self._port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join((*lines, "", "")).encode())
        if isinstance(body, bytes):
            for first in range(0, len(body), PIECE):
                writer.write(body[first : first + PIECE])
                await writer.drain()
        elif body is not None:
            async for piece in body:
                writer.write(piece)
                await writer.drain()
        answer = await self._answer(reader, method)
        if answer.fields.get("connection", "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Cut the connection."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader, method: str) -> Answer:
        status, fields = await read_head(reader)
        left = 0
        if method != "HEAD" and status not in (204, 304):
            left = int(fields["content-length"])
        whole, kept = hashlib.sha256(), b""
        while left:
            piece = await reader.read(min(left, PIECE))
            if not piece:
                raise ConnectionError("the answer was cut off")
            whole.update(piece)
            kept = kept + piece if len(kept) < PIECE else kept
            left -= len(piece)
        return Answer(status, fields, kept, whole.hexdigest())


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Read an answer's status and fields, leaving out those that say to continue."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        status = int(first.split()[1])
        if status != 100:
            return status, {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines if line)
            }


async def everything(client: Client) -> list[dict[str, Any]]:
    """List all files, page by page."""
    found: list[dict[str, Any]] = []
    following = "/files"
    while following:
        answer = await client.request("GET", following)
        said = await whole_json(client, following, answer)
        found += said["files"]
        following = said["next"]
    return found


async def whole_json(client: Client, target: str, answer: Answer) -> Any:
    """Read an answer that may be longer than what is kept of it."""
    assert answer.status == 200, answer
    if len(answer.body) == int(answer.fields["content-length"]):
        return json.loads(answer.body)
    raise AssertionError(f"{target} is longer than {PIECE} bytes")


class Crowd:
    """Clients that upload, download and delete what is theirs, and look at every hash."""

    def __init__(self, port: int, sizes: Iterable[int], seed: int = 0) -> None:
        """Remember the port, and the sizes of files; all bytes come out of one block."""
        self._port = port
        self._random = random.Random(seed)
        self._sizes = list(sizes)
        self._block = self._random.randbytes(max(self._sizes))
        self.uploads = self.downloads = self.deletions = 0
        self.errors: list[str] = []

    async def run(self, count: int, seconds: float) -> None:
        """Run so many clients for so long."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._work(until) for _ in range(count)))

    async def _work(self, until: float) -> None:
        client = Client(self._port)
        while time.monotonic() < until:
            try:
                await self._round(client)
            except (OSError, asyncio.IncompleteReadError, ConnectionError, AssertionError) as error:
                self.errors.append(repr(error))
                client.close()
        client.close()

    async def _round(self, client: Client) -> None:
        size = self._random.choice(self._sizes)
        first = self._random.randrange(len(self._block) - size + 1)
        body = self._block[first : first + size]
        expected = hashlib.sha256(body).hexdigest()
        made = await client.request("POST", "/files", body)
        assert made.status == 201, made
        assert json.loads(made.body)["sha256"] == expected
        self.uploads += 1
        target = made.fields["location"]
        for _ in range(self._random.randrange(1, 4)):
            got = await client.request("GET", target)
            assert got.status == 200, got
            assert got.sha256 == expected, target
            self.downloads += 1
        if self._random.random() < 0.7:
            gone = await client.request("DELETE", target, If_Match=made.fields["etag"])
            assert gone.status == 204, gone
            self.deletions += 1
