"""Messages between the builder and its sandbox: JSON of a known length, and perhaps one open file.

A message longer than LIMIT is refused, and bytes that are no message are a ValueError. A file is
passed as a descriptor, so that the two need no folder in common.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

LIMIT = 32 << 20  # bytes
HEADER = struct.Struct("!I")


def send(connection: socket.socket, message: object, file: int | None = None) -> None:
    """Send a message, and an open file with it."""
    data = json.dumps(message).encode()
    if len(data) > LIMIT:
        raise ValueError(f"a message of {len(data)} bytes is too long")
    header = HEADER.pack(len(data))
    if file is None:
        connection.sendall(header + data)
    else:
        socket.send_fds(connection, [header], [file])
        connection.sendall(data)


def receive(connection: socket.socket) -> tuple[dict[str, Any], int | None]:
    """Return the next message and the open file that came with it; ValueError for anything else.

    EOFError says that the other side is gone.
    """
    header, files, flags, _ = socket.recv_fds(connection, HEADER.size, 1)
    for file in files:
        os.set_inheritable(file, False)
    try:
        if flags & socket.MSG_CTRUNC:
            raise ValueError("a message has too many files")
        header += _exactly(connection, HEADER.size - len(header))
        (length,) = HEADER.unpack(header)
        if length > LIMIT:
            raise ValueError(f"a message of {length} bytes is too long")
        message = json.loads(_exactly(connection, length))
        if not isinstance(message, dict):
            raise ValueError("a message is not a JSON object")
    except RecursionError:
        _close(files)
        raise ValueError("a message is nested too deeply") from None
    except BaseException:
        _close(files)
        raise
    return message, files[0] if files else None


def _exactly(connection: socket.socket, length: int) -> bytes:
    """Return the next bytes; EOFError if there are less."""
    found = bytearray()
    while len(found) < length:
        block = connection.recv(min(length - len(found), 1 << 20))
        if not block:
            raise EOFError("the other side is gone")
        found += block
    return bytes(found)


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)
