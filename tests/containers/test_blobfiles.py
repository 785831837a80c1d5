"""blobfiles on real servers, with the interpreters of the base image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import harness
from tests.blobs import databases, kills

# Each kind of database is killed so often here; `make kill-blobs` does it 100 times.
KILLS = {"sqlite": 8, "postgresql": 4, "mysql": 4}


@pytest.fixture(scope="module", params=databases.NAMES)
def database(
    request: pytest.FixtureRequest, engine: harness.Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[databases.File | databases.Server]:
    """One database of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    with databases.database(request.param, folder, engine) as started:
        yield started


def test_nothing_is_lost_or_left_when_all_is_killed(
    database: databases.File | databases.Server, tmp_path: Path
) -> None:
    """Files and rows belong together, hashes are right, and one collect removes the rest."""
    kills.kill_often(database, KILLS[database.name], seed=1)
