"""The attachments application when the disk of its database is full, or nearly."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.containers.attachments.application import Attachments

MIB = 1 << 20
DISK = 96  # MiB
# Puts the table of chunks on the small disk in memory that every container has. MariaDB 11.8 aborts
# on a full disk now and then, so there the server only raises its error for it.
MAKE_SMALL = """
import os
import blobfiles
from blobfiles import databases
connection = blobfiles.connect(os.environ["DATABASE_URL"])
database = databases.of(connection)
if database.name == "mysql":
    trigger = "CREATE TRIGGER full BEFORE INSERT ON blobfiles_chunk FOR EACH ROW"
    error = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'"
    database.execute(connection, f"{trigger} IF NEW.number > 99 THEN {error}; END IF")
else:
    database.execute(connection, "CREATE TABLESPACE small LOCATION '/dev/shm/small'")
    database.execute(connection, "ALTER TABLE blobfiles_chunk SET TABLESPACE small")
"""


@pytest.fixture
def cpython(attachments_cpython: Attachments) -> Attachments:
    """The application on CPython."""
    return attachments_cpython


def ask(
    application: Attachments, method: str, target: str, body: bytes | Iterator[bytes] | None = None
) -> tuple[int, str]:
    """Return status and text of an answer; a body of pieces is sent in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", application.port, timeout=60)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, response.read().decode("latin-1")
    finally:
        connection.close()


def pieces(mib: int) -> Iterator[bytes]:
    """Return some MiB, one at a time."""
    return (bytes(MIB) for _ in range(mib))


@contextmanager
def small_disk(application: Attachments) -> Iterator[str]:
    """Make a volume on a disk of its own, which exists until the block ends; return its name."""
    name = f"{application.name}-{secrets.token_hex(3)}"
    docker = application.laptop.docker
    options = ("type=tmpfs", "device=tmpfs", f"o=size={DISK}m,mode=1777")
    docker("volume", "create", *(word for each in options for word in ("--opt", each)), name)
    # The disk is in memory, and would be emptied whenever no container has it.
    image = f"{application.name}-run"
    words = ("--detach", "--volume", f"{name}:/disk", "--entrypoint", "sleep", image, "infinity")
    holder = docker("run", *words).strip()
    try:
        yield name
    finally:
        application.make("stop")
        docker("rm", "--force", holder)
        docker("volume", "rm", name)


def test_a_disk_is_never_filled_and_can_be_emptied(cpython: Attachments) -> None:
    """507 before the disk is full. Deleting works even if others have filled the disk."""
    with small_disk(cpython) as volume:
        cpython.run(f"VOLUMES={volume}:/files")
        assert ask(cpython, "PUT", "/files/large", bytes(2 * DISK * MIB))[0] == 507
        for _ in range(2):
            assert ask(cpython, "PUT", "/files/large", pieces(2 * DISK))[0] == 507
        assert ask(cpython, "PUT", "/files/small", b"hello")[0] == 201
        assert ask(cpython, "DELETE", "/files/small")[0] == 204
        number = 0
        while (answer := ask(cpython, "PUT", f"/files/{number}", bytes(2 * MIB)))[0] == 201:
            number += 1
        assert answer[0] == 507
        assert "the database's disk is full: delete some files" in answer[1]
        assert number > 8
        status, said = ask(cpython, "GET", "/health")
        assert (status, said.startswith("healthy, but short of space")) == (200, True), said

        # Two deletions make room at once for what has their size.
        for deleted in range(2):
            assert ask(cpython, "DELETE", f"/files/{deleted}")[0] == 204
        assert ask(cpython, "PUT", "/files/0", bytes(2 * MIB))[0] == 201

        cpython.inside("sh", "-c", "dd if=/dev/zero of=/files/of-others bs=64k || true")
        assert ask(cpython, "PUT", "/files/small", b"hello")[0] == 507
        assert ask(cpython, "GET", "/health")[0] == 200
        assert ask(cpython, "DELETE", "/files/0")[0] == 204
        cpython.kill(cpython.container)
        for left in range(2, number):
            assert ask(cpython, "GET", f"/files/{left}")[0] == 200
            assert ask(cpython, "DELETE", f"/files/{left}")[0] == 204
        assert cpython.is_consistent()
        cpython.inside("rm", "/files/of-others")
        assert ask(cpython, "PUT", "/files/small", bytes(MIB))[0] == 201
        assert ask(cpython, "GET", "/health") == (200, "healthy\n")


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_full_disk_of_a_server_is_an_answer(cpython: Attachments, kind: str) -> None:
    """507, and nothing is left of the upload; everything else works."""
    url, network = cpython.database(kind)
    cpython.run(network, DATABASE_URL=url)
    if kind == "postgres":
        make = "mkdir /dev/shm/small && chown postgres /dev/shm/small"
        cpython.laptop.docker("exec", cpython.database_container(kind), "sh", "-c", make)
    cpython.inside("/appenv/bin/python", "-c", MAKE_SMALL)
    assert ask(cpython, "PUT", "/files/small", b"hello")[0] == 201
    status, said = ask(cpython, "PUT", "/files/large", pieces(200))
    assert (status, said) == (507, "the database's disk is full: delete some files\n")
    assert ask(cpython, "GET", "/files/small") == (200, "hello")
    assert ask(cpython, "DELETE", "/files/small")[0] == 204
    assert ask(cpython, "GET", "/health")[0] == 200
    assert cpython.is_consistent()
