"""A server without Docker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import testbed
from tests.containers import faulty_application
from tests.containers.laptop import PORTS


@pytest.fixture(scope="module")
def bare(engine: testbed.Engine) -> Iterator[testbed.Systemd]:
    """A server with systemd and Python, and no Docker."""
    with testbed.Systemd(engine, ports=(faulty_application.PORT, *PORTS.values())) as server:
        yield server
