"""Messages between the builder and its sandbox."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.builder import messages


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


Pair = tuple[socket.socket, socket.socket]


def test_a_message_arrives_as_it_was_sent(pair: Pair, tmp_path: Path) -> None:
    """With an open file, which programs that are started do not inherit."""
    one, other = pair
    path = tmp_path / "file"
    path.write_text("content")
    with path.open("rb") as file:
        messages.send(one, {"name": "a\udcffb", "number": 1}, file.fileno())
    messages.send(one, {})
    message, received = messages.receive(other)
    assert message == {"name": "a\udcffb", "number": 1}
    assert received is not None
    assert not os.get_inheritable(received)
    with open(received, "rb") as copy:
        assert copy.read() == b"content"
    assert messages.receive(other) == ({}, None)


def test_the_end_of_the_other_side_is_noticed(pair: Pair) -> None:
    """Between messages, and within one."""
    one, other = pair
    one.sendall(struct.pack("!I", 9) + b"{")
    one.close()
    for _ in range(2):
        with pytest.raises(EOFError):
            messages.receive(other)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!I", messages.LIMIT + 1),
        struct.pack("!I", 4) + b"null",
        struct.pack("!I", 2) + b"\xff\xfe",
        struct.pack("!I", 99_999) + b"[" * 99_999,
    ],
    ids=["too long", "no object", "no text", "nested"],
)
def test_nonsense_is_refused(pair: Pair, data: bytes) -> None:
    """Nothing is allocated for a length that is merely claimed."""
    one, other = pair
    one.sendall(data)
    with pytest.raises(ValueError, match=r"message|decode|nested|Expecting"):
        messages.receive(other)


def test_more_files_than_one_are_refused(pair: Pair) -> None:
    """None of them stays open."""
    one, other = pair
    socket.send_fds(one, [struct.pack("!I", 2)], [0] * 5)
    one.sendall(b"{}")
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(ValueError, match="too many files"):
        messages.receive(other)
    assert len(os.listdir("/dev/fd")) == before


def test_a_message_that_is_too_long_is_not_sent(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side would refuse it."""
    monkeypatch.setattr(messages, "LIMIT", 10)
    with pytest.raises(ValueError, match="too long"):
        messages.send(pair[0], {"text": "x" * 11})
