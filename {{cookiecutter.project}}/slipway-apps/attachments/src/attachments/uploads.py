"""Uploads: the bytes of a request become files that are not published yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from starlette.exceptions import HTTPException

import blobfiles

from .fields import clean_name, media_type, parameters
from .files import Check, File, Full, Space, Totals, Upload, publish, totals
from .lanes import Lane, Unavailable

FILES_IN_A_FORM = 100
FIELD_BYTES = 4096


class Receiving:
    """The files of one request, in one lane.

    At its end, `async with` discards the files that were not published.
    """

    def __init__(self, lane: Lane, max_size: int, space: Space) -> None:
        """Keep the lane, the largest size of all files, and the room in which they count."""
        self.uploads: list[Upload] = []
        self._lane = lane
        self._max_size = max_size
        self._space = space
        self._received = 0
        self._published = False

    async def __aenter__(self) -> Receiving:
        """Return this object; no file is begun yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Discard unpublished files; if the database refuses, they are collected later."""
        try:
            if not self._published:
                for upload in self.uploads:
                    with suppress(Unavailable, blobfiles.BlobError):
                        await self._lane.run(_discard, upload.writer)
                self._space.given_up.set()
        finally:
            self._forget()

    async def begin(self, name: str, content_type: str, path: str = "") -> Upload:
        """Begin a file; without a path, its id is the path."""
        kind = media_type(content_type)
        writer = await self._lane.run(_create, name, kind, self._max_size)
        upload = Upload(path or writer.id, name, kind, writer)
        self.uploads.append(upload)
        return upload

    async def write(self, upload: Upload, piece: bytes) -> None:
        """Write some bytes of a file; raise Full if they are too many for all uploads together."""
        self._received += len(piece)
        self._space.staged += len(piece)
        if self._received > self._max_size:
            raise blobfiles.TooLarge(f"an upload may have {self._max_size} bytes")
        if self._space.is_exceeded():
            self._space.published = await self._lane.run(totals)
            if self._space.is_exceeded():
                self._forget()  # the others can continue
                raise Full
        await self._lane.run(_write, upload.writer, piece)

    def _forget(self) -> None:
        self._space.staged -= self._received
        self._received = 0

    async def receive(self, upload: Upload, pieces: AsyncIterator[bytes]) -> None:
        """Write all bytes of a file."""
        async for piece in pieces:
            await self.write(upload, piece)

    async def receive_form(
        self, content_type: str, pieces: AsyncIterator[bytes], allow: Callable[[str], None]
    ) -> None:
        """Write all files of a multipart/form-data body.

        `allow` is called before each file with the value of the field `token`, and raises if the
        value is wrong. Raise HTTPException if the body is not a valid form.
        """
        try:
            await self._receive_form(content_type, pieces, allow)
        except ParserLimitReached as problem:
            raise HTTPException(413, f"the form has too much in it: {problem}") from None
        except MultipartError as problem:
            raise HTTPException(400, f"this is not valid multipart/form-data: {problem}") from None

    async def _receive_form(
        self, content_type: str, pieces: AsyncIterator[bytes], allow: Callable[[str], None]
    ) -> None:
        upload: Upload | None = None
        token: bytearray | None = None
        said = b""
        boundary = parameters(content_type).get("boundary", "")
        with PushMultipartParser(
            boundary, max_segment_count=FILES_IN_A_FORM, strict=True
        ) as parser:
            async for piece in pieces:
                for event in parser.parse(piece):
                    if isinstance(event, MultipartSegment):
                        token = bytearray() if event.name == "token" else None
                        if event.filename:
                            allow(said.decode("latin-1"))
                            name = clean_name(event.filename)
                            upload = await self.begin(name, event.header("Content-Type", ""))
                    elif event is None:
                        said = bytes(token) if token is not None else said
                        upload = token = None
                    elif upload:
                        await self.write(upload, bytes(event))
                    elif token is not None and len(token) < FIELD_BYTES:
                        token += event
        allow(said.decode("latin-1"))
        if not self.uploads:
            raise HTTPException(400, "there is no file in this form")

    async def publish(self, check: Check) -> list[tuple[File, bool]]:
        """Publish all files or none; return what files.publish returns."""
        for upload in self.uploads:
            await self._lane.run(_close, upload.writer)
        published = await self._lane.run(publish, self.uploads, check, self._space.limits)
        self._published = True
        files, size = self._space.published.files, self._space.published.bytes
        self._space.published = Totals(files + len(published), size + self._received)
        return published


def _create(connection: Any, name: str, kind: str, max_size: int) -> blobfiles.Writer:
    return blobfiles.create(connection, name, kind, max_size=max_size, staged=True)


def _write(_: Any, writer: blobfiles.Writer, piece: bytes) -> None:
    writer.write(piece)


def _close(_: Any, writer: blobfiles.Writer) -> None:
    writer.close()


def _discard(_: Any, writer: blobfiles.Writer) -> None:
    writer.discard()
