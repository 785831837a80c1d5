"""A published file as a Python file object to read."""

from __future__ import annotations

import io
import os
import zlib
from typing import TYPE_CHECKING

from . import databases
from .blobs import Blob, stat
from .databases import Connection
from .errors import Corrupt

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class Reader(io.RawIOBase):
    """Reads a file chunk by chunk, and keeps the last one in memory.

    Each read is a query of its own: on a connection in autocommit mode nothing stays open between
    reads. A chunk that is missing or has the wrong length raises Corrupt. With `check` the CRC is
    compared too, which takes 0.15 ms per MiB. `verify` compares the whole file's SHA-256.
    """

    def __init__(self, connection: Connection, id: str, check: bool = False) -> None:
        """Open a published file by its id; raise NotFound."""
        self.blob: Blob = stat(connection, id)
        self._connection = connection
        self._check = check
        self._position = 0
        # Chunks that were fetched and not read to their end yet, and the number of the first one.
        self._fetched: list[bytes] = []
        self._first = 0

    def readable(self) -> bool:
        """Return True: the file is open for reading."""
        return True

    def seekable(self) -> bool:
        """Return True: reading can start anywhere."""
        return True

    @property
    def name(self) -> str:
        """The name under which the file was stored; other open files have this attribute too."""
        return self.blob.name

    def tell(self) -> int:
        """Return the position of the next read, in bytes from the start."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to another position, which may be after the end, as in any file."""
        self._check_open()
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        base = (0, self._position, self.blob.size)[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer from as many chunks as necessary; less only at the end of the file."""
        self._check_open()
        with memoryview(buffer) as given:
            # Cast only if necessary: PyPy writes a cast view byte by byte.
            view = given if given.format == "B" and given.ndim == 1 else given.cast("B")
            done = 0
            while done < len(view) and self._position < self.blob.size:
                part = self._part(len(view) - done)
                view[done : done + len(part)] = part
                done += len(part)
            return done

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes, or the rest of the file; fewer only at its end."""
        self._check_open()
        left = max(0, self.blob.size - self._position)
        size = left if size is None or size < 0 else min(size, left)
        part = self._part(size) if size else b""
        if len(part) == size:
            return part
        # Allocate the full size before the next chunk is fetched. Otherwise the C library returns
        # memory to the system and requests it again, which takes longer than reading.
        whole = io.BytesIO()
        whole.seek(size - 1)
        whole.write(b"\0")
        whole.seek(0)
        while True:
            size -= whole.write(part)
            if not size:
                return whole.getvalue()
            del part
            self._pass()
            part = self._part(size)

    def write(self, data: ReadableBuffer, /) -> int:
        """Raise UnsupportedOperation: the file is open for reading only."""
        raise io.UnsupportedOperation("a published file is never written")

    def readall(self) -> bytes:
        """Return the rest of the file."""
        return self.read()

    def close(self) -> None:
        """Free the chunk in memory; the connection stays open."""
        self._fetched = []
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _pass(self) -> None:
        """Free a chunk that was read to its end."""
        del self._fetched[0]
        self._first += 1

    def _part(self, size: int) -> bytes:
        """Return at most `size` of the next bytes, all from one chunk."""
        number, offset = divmod(self._position, self.blob.chunk_size)
        if number == self._first + 1 and len(self._fetched) > 1:
            self._pass()
        if number != self._first or not self._fetched:
            end = min(self.blob.size, self._position + size)
            together = databases.of(self._connection).read_together
            last = min(number + together - 1, (end - 1) // self.blob.chunk_size)
            self._fetched = fetch(self._connection, self.blob, number, last, self._check)
        self._first = number
        part = self._fetched[0][offset : offset + size]
        self._position += len(part)
        return part


def fetch(connection: Connection, blob: Blob, first: int, last: int, check: bool) -> list[bytes]:
    """Return chunks; raise Corrupt if one is missing or has the wrong bytes."""
    found = databases.of(connection).chunks(connection, blob.id, first, last)
    if [number for number, _, _ in found] != list(range(first, last + 1)):
        stat(connection, blob.id)  # raises NotFound if the file was deleted and collected meanwhile
        raise Corrupt(f"of chunks {first} to {last} of file {blob.id!r} not all are there")
    for number, data, crc in found:
        length = min(blob.chunk_size, blob.size - number * blob.chunk_size)
        if len(data) != length or (check and zlib.crc32(data) != crc):
            raise Corrupt(f"chunk {number} of file {blob.id!r} is damaged")
    return [bytes(data) for _, data, _ in found]
