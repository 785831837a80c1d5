"""Hundreds of slow connections of one client, from an address of its own on this machine."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.apps import SOURCES

# As an attacker's: a body of a byte now and then, a request without an end, silence.
STARTS = (
    b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nx",
    b"GET /files HTTP/1.1\r\nHost: x\r\n",
    b"",
)
HERE, ATTACKER, CLIENT = "127.0.0.1", "127.0.0.2", "127.0.0.3"

Start = Callable[..., int]


@pytest.fixture
def start(command: Path, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server with variables, and returns its port."""
    with ExitStack() as stack:

        def started(**variables: str) -> int:
            process = subprocess.Popen(
                [command],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(SOURCES), "WRITE_TOKEN": "", **variables},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            assert process.stderr
            for line in process.stderr:
                if found := re.search(r"running on http://0.0.0.0:(\d+)", line):
                    return int(found[1])
            raise AssertionError(f"the server ended with status {process.wait()}")

        yield started


def ask(port: int, address: str, target: str = "/files") -> int:
    """Return the status of a request that an address sends."""
    connection = http.client.HTTPConnection(HERE, port, timeout=30, source_address=(address, 0))
    try:
        connection.request("GET", target)
        return connection.getresponse().status
    finally:
        connection.close()


@contextmanager
def attack(port: int, number: int, address: str) -> Iterator[list[socket.socket]]:
    """Hold a number of slow connections, each of which has sent something."""
    with ExitStack() as stack:
        held = []
        for each in range(number):
            connection = socket.create_connection((HERE, port), 30, (address, 0))
            held.append(stack.enter_context(connection))
            with suppress(OSError):  # the server may have refused it already
                connection.sendall(STARTS[each % len(STARTS)])
        yield held


def is_open(connection: socket.socket) -> bool:
    """Return whether the server keeps a connection, to which it has sent nothing."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_one_address_cannot_take_all_places(start: Start) -> None:
    """The others are answered at once, while the attacker keeps what one address may have."""
    port = start(PORT="0", MAX_CONNECTIONS="100", MAX_CONNECTIONS_PER_ADDRESS="40")
    for _ in range(2):
        with attack(port, 300, ATTACKER) as held:
            for _ in range(20):
                assert ask(port, CLIENT) == 200
                assert ask(port, HERE, "/health") == 200
            assert 0 < sum(map(is_open, held)) <= 2 * 40  # as many wait for their refusal


def test_the_slowest_makes_way_when_all_places_are_taken(start: Start) -> None:
    """Behind a proxy all come from one address: those that make progress are answered."""
    port = start(PORT="0", MAX_CONNECTIONS="100", MAX_CONNECTIONS_PER_ADDRESS="100")
    with attack(port, 300, ATTACKER) as held:
        assert ask(port, HERE, "/health") == 200
        time.sleep(1.5)  # a place is kept for a second
        for _ in range(20):
            assert ask(port, ATTACKER) == 200
            assert ask(port, CLIENT) == 200
        assert sum(map(is_open, held)) <= 2 * 100


def test_connections_in_use_are_not_cut_off(start: Start) -> None:
    """An upload that gets on is kept, and those who wait for nothing make way."""
    port = start(PORT="0", MAX_CONNECTIONS="20", MAX_CONNECTIONS_PER_ADDRESS="20")
    with attack(port, 60, ATTACKER):
        size, pieces = 20_000, 30
        head = f"PUT /files/a HTTP/1.1\r\nHost: x\r\nContent-Length: {size * pieces}\r\n\r\n"
        time.sleep(1.5)
        upload = socket.create_connection((HERE, port), 30, (CLIENT, 0))
        upload.sendall(head.encode())
        with upload:
            for _ in range(pieces):
                upload.sendall(bytes(size))
                time.sleep(0.1)
                assert ask(port, ATTACKER) == 200
            assert upload.recv(1000).startswith(b"HTTP/1.1 201 ")


def test_a_connection_beyond_all_limits_is_refused(start: Start) -> None:
    """With 503, as long as all others have only just come; health is answered all the same."""
    port = start(PORT="0", MAX_CONNECTIONS="10", MAX_CONNECTIONS_PER_ADDRESS="10")
    for _ in range(20):  # on a busy machine the first of the others are no longer new
        with attack(port, 12, ATTACKER):
            statuses = [ask(port, CLIENT), ask(port, HERE, "/files")]
            assert ask(port, HERE, "/health") == 200
        if statuses == [503, 503]:
            break
    assert statuses == [503, 503]
