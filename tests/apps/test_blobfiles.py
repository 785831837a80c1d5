"""blobfiles beside io.BytesIO, in any order of operations; and what its README shows."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

import blobfiles
from blobfiles import writer as writers
from tests import apps

# Small chunks have all the edges that large ones have.
CHUNK = 16
PLACES = st.one_of(
    st.integers(-3, 80), st.integers(0, 5).map(lambda n: n * CHUNK), st.integers(2**33, 2**70)
)
COUNTS = st.one_of(st.none(), st.integers(-2, 80), st.integers(2**33, 2**62))
DATA = st.binary(max_size=5 * CHUNK)


def same(model: Any, real: Any, operation: str, *arguments: Any) -> None:
    """Do the same to both; results, positions and kinds of error must be the same."""
    results = []
    for file in (model, real):
        try:
            results.append(getattr(file, operation)(*arguments))
        except (ValueError, OSError, OverflowError) as error:
            results.append(ValueError if isinstance(error, OverflowError) else type(error))
    assert results[0] == results[1], (operation, arguments)
    if not model.closed:
        assert model.tell() == real.tell()


@pytest.fixture(scope="module", autouse=True)
def _small_chunks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writers, "CHUNK_SIZE", CHUNK)
        yield


class FileMachine(RuleBasedStateMachine):
    """A file that is written as a BytesIO is, then read as a BytesIO is."""

    connection: Any = None

    @initialize(staged=st.booleans(), parts=st.lists(DATA, max_size=6))
    def write(self, staged: bool, parts: list[bytes]) -> None:
        """Write the parts, and publish what they make."""
        model = io.BytesIO()
        with blobfiles.create(self.connection, "a", "b", staged=staged) as writer:
            for part in parts:
                assert writer.write(part) == model.write(part)
                assert writer.tell() == model.tell()
        if staged:
            writer.publish(self.connection)
        data = model.getvalue()
        assert writer.sha256 == hashlib.sha256(data).digest()
        self.model = io.BytesIO(data)
        self.real = blobfiles.open(self.connection, writer.id)
        assert self.real.blob.size == len(data)
        blobfiles.verify(self.connection, writer.id)

    @rule(count=COUNTS)
    def read(self, count: int | None) -> None:
        """Read so many bytes."""
        same(self.model, self.real, "read", count)

    @rule(count=st.integers(-2, 80))
    def readline(self, count: int) -> None:
        """Read up to a line's end."""
        same(self.model, self.real, "readline", count)

    @rule(size=st.integers(0, 80))
    def readinto(self, size: int) -> None:
        """Read into a buffer, whose rest is left alone."""
        one, other = bytearray(b"?" * size), bytearray(b"?" * size)
        assert self.model.readinto(one) == self.real.readinto(other)
        assert one == other
        assert self.model.tell() == self.real.tell()

    @rule(place=PLACES, whence=st.sampled_from([0, 1, 2]))
    def seek(self, place: int, whence: int) -> None:
        """Go somewhere; BytesIO stops at the start where files refuse to go before it."""
        base = (0, self.model.tell(), len(self.model.getvalue()))[whence]
        if base + place < 0:
            before = self.real.tell()
            with pytest.raises(ValueError, match="negative"):
                self.real.seek(place, whence)
            assert self.real.tell() == before
        elif base + place < 2**63:
            same(self.model, self.real, "seek", place, whence)

    @rule()
    def buffered(self) -> None:
        """Read the rest through a BufferedReader, which seeks and reads in ways of its own."""
        model, real = io.BufferedReader(self.model, 7), io.BufferedReader(self.real, 7)
        same(model, real, "read", 5)
        same(model, real, "seek", 3)
        same(model, real, "read")
        model.detach()
        real.detach()

    @rule()
    def lines(self) -> None:
        """Iterate over what is left."""
        assert list(self.model) == list(self.real)

    @rule()
    def flags(self) -> None:
        """Return what it can do."""
        assert self.real.readable()
        assert self.real.seekable()
        assert not self.real.writable()
        assert not self.real.isatty()

    def teardown(self) -> None:
        """Close both; a closed file refuses the same."""
        if hasattr(self, "real"):
            self.model.close()
            self.real.close()
            for operation in ("read", "tell", "readall", "readline"):
                with pytest.raises(ValueError, match="closed"):
                    getattr(self.real, operation)()
            blobfiles.delete(self.connection, self.real.blob.id)


def test_file_object_is_as_bytesio(tmp_path: Path) -> None:
    """Sequences of operations that hypothesis makes up."""
    FileMachine.connection = blobfiles.connect(f"sqlite:///{tmp_path}/files.db")
    blobfiles.migrate(FileMachine.connection)
    FileMachine.connection.execute("PRAGMA synchronous = OFF")
    fuller = settings(
        max_examples=300,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    try:
        run_state_machine_as_test(FileMachine, settings=fuller)
    finally:
        FileMachine.connection.close()


def test_readme_works_as_it_is_shown(tmp_path: Path) -> None:
    """By itself, in Django and in FastAPI."""
    script = Path(apps.__file__).with_name("recipes.py")
    done = subprocess.run(
        [sys.executable, script, apps.PACKAGE / "README.md", tmp_path],
        env={**os.environ, "PYTHONPATH": str(apps.SOURCES)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
