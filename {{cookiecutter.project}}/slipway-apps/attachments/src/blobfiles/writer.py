"""A new file as a Python file object to write."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from . import databases, identifiers
from .databases import Connection
from .errors import NotFound, TooLarge

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from .databases import Change

# Measured: smaller chunks take longer to write, and larger ones only more memory.
CHUNK_SIZE = 512 << 10
# Hides a file from everybody but `collect`, which needs no size or hash.
GIVE_UP = (
    "UPDATE blobfiles_blob SET state = 'deleted', size = COALESCE(size, 0),"
    " sha256 = COALESCE(sha256, %s)"
)
# A staged file that gets no bytes for this long is touched, so that `collect` leaves it alone.
TOUCH_SECONDS = 60


class Writer(io.RawIOBase):
    """Writes one new file, chunk by chunk; at most one chunk is in memory.

    A *joined* writer works in the caller's transaction: after it is closed, the file exists when
    the caller commits. A *staged* writer commits each chunk at once in a transaction of its own, on
    a connection that is not in a transaction. Nobody sees the file before `publish`.

    An exception inside `with writer:` discards the file. A writer that is neither closed nor
    discarded leaves no file either, at most remains for `collect`.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        media_type: str,
        max_size: int | None = None,
        staged: bool = False,
        identity: tuple[str, int] | None = None,
    ) -> None:
        """Begin a file; the database is used only when there is a chunk to store.

        `max_size` is in bytes. `identity` is the identifier and time of a file that is restored.
        """
        if "\0" in name + media_type:
            raise ValueError("a name has a NUL character, which not every database can store")
        (name + media_type).encode()  # raises UnicodeEncodeError, which is a ValueError too
        self.id, self._created = identity or identifiers.new()
        self.size = 0
        self._connection = connection
        self._database = databases.of(connection)
        self._name = name
        self._media_type = media_type
        self._max_size = max_size
        self._staged = staged
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._chunks = 0
        self._heard = time.monotonic()
        self._usable = True

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of all bytes, after the file is closed."""
        return self._hash.digest()

    def writable(self) -> bool:
        """Return True: the file is open for writing."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Raise UnsupportedOperation: the file is open for writing only."""
        raise io.UnsupportedOperation("a new file is only written")

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all bytes; raise TooLarge, after which the file can only be discarded."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if isinstance(data, bytes):
            self._take(data)
            return len(data)
        with memoryview(data) as view:
            # No cast: PyPy reads a cast view byte by byte.
            plain = view.format == "B" and view.ndim == 1 and view.contiguous
            self._take(view if plain else view.tobytes())
            return view.nbytes

    def close(self) -> None:
        """Store the last chunk, size and hash; a joined file is then published."""
        if self.closed:
            return
        try:
            if self._usable:
                self._finish()
        finally:
            self._forget()

    def publish(self, connection: Connection) -> None:
        """Publish a staged file that is closed, in the connection's transaction.

        Raise NotFound if the file was discarded, or collected because nothing was written for long.
        """
        if not self._staged or not self.closed:
            raise ValueError("publish() is for a staged file that is closed")
        statement = (
            "UPDATE blobfiles_blob SET state = 'published'"
            " WHERE id = %s AND state = 'staged' AND sha256 IS NOT NULL"
        )
        if databases.of(connection).execute(connection, statement, self.id) != 1:
            raise NotFound(f"the staged file {self.id!r} is gone: write it again")

    def discard(self) -> None:
        """Remove the file, published or not; a joined one in the caller's transaction."""
        self._forget()
        if self._chunks:
            self._chunks = 0
            self._remove()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file, or discard it after an exception."""
        if kind is None:
            self.close()
            return
        self._forget()
        # If this fails too, the caller's rollback or `collect` removes the rest.
        with contextlib.suppress(Exception):
            self.discard()

    def __del__(self) -> None:
        """Do nothing: the base class would close the file, which publishes it."""

    def _take(self, data: bytes | memoryview) -> None:
        """Split the bytes into chunks; the last one, full or not, waits for `close`."""
        if not self._usable:
            raise ValueError("an earlier write failed: discard this file and write another")
        self._usable = False  # until all of it is stored
        if self._max_size is not None and self.size + len(data) > self._max_size:
            raise TooLarge(f"a file may have {self._max_size} bytes")
        room = CHUNK_SIZE - len(self._buffer)
        if len(data) <= room:
            self._buffer += data
        else:
            # At least one byte is kept, so that the last chunk is stored with size and hash.
            first = room % CHUNK_SIZE
            self._buffer += data[:first]
            rest = first + (len(data) - first - 1) // CHUNK_SIZE * CHUNK_SIZE
            chunks: list[ReadableBuffer] = [self._buffer] if self._buffer else []
            with memoryview(data) as view:
                for start in range(first, rest, CHUNK_SIZE):
                    chunks.append(view[start : start + CHUNK_SIZE])
                together = self._database.stored_together
                for start in range(0, len(chunks), together):
                    self._store(chunks[start : start + together])
            self._buffer = bytearray(data[rest:])
        self.size += len(data)
        if self._staged and self._chunks and time.monotonic() - self._heard > TOUCH_SECONDS:
            self._store([])
        self._usable = True

    def _store(self, chunks: Sequence[ReadableBuffer], state: str | None = None) -> None:
        """Store chunks, and the state of the file if it is complete.

        For a staged file this is a transaction of its own. It updates the time in the file's row,
        so that `collect` leaves the file alone. Raise NotFound if `collect` came first.
        """
        for chunk in chunks:
            self._hash.update(chunk)
        change = self._change(state) if self._staged or state or not self._chunks else None
        place = (self.id, self._chunks)
        if not self._database.store(self._connection, change, place, chunks, self._staged):
            raise NotFound(f"the unfinished file {self.id!r} was collected: write it again")
        self._chunks += len(chunks)
        self._heard = time.monotonic()

    def _change(self, state: str | None) -> Change:
        """Return the statement that changes the file's row; nobody sees a row without a state."""
        whole = (state, self.size, self.sha256) if state else ()
        now = self._database.now
        if self._chunks:
            columns = "state = %s, size = %s, sha256 = %s, " if state else ""
            statement = f"UPDATE blobfiles_blob SET {columns}touched = {now}"
            return f"{statement} WHERE id = %s AND state = 'staged'", (*whole, self.id)
        columns, places = (", size, sha256", "%s, %s, %s") if state else ("", "'staged'")
        statement = (
            f"INSERT INTO blobfiles_blob (touched, state{columns},"
            " id, name, media_type, chunk_size, created)"
            f" VALUES ({now}, {places}, %s, %s, %s, %s, %s)"
        )
        row = (self.id, self._name, self._media_type, CHUNK_SIZE, self._created)
        return statement, (*whole, *row)

    def _finish(self) -> None:
        chunks = [self._buffer] if self._buffer else []
        self._store(chunks, "staged" if self._staged else "published")
        self._chunks += 1  # the database has something to remove, even for an empty file

    def _forget(self) -> None:
        """Close without storing anything."""
        self._usable = False
        self._buffer = bytearray()
        super().close()

    def _remove(self) -> None:
        """Delete a joined file in the caller's transaction; leave a staged one to `collect`."""
        if self._staged:
            with self._database.batch(self._connection):
                # Nobody has seen the file, so the next `collect` need not wait.
                given_up = f"{GIVE_UP}, touched = 0 WHERE id = %s"
                self._database.execute(self._connection, given_up, b"", self.id)
            return
        for table, column in (("chunk", "blob_id"), ("blob", "id")):
            statement = f"DELETE FROM blobfiles_{table} WHERE {column} = %s"
            self._database.execute(self._connection, statement, self.id)
