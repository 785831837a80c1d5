"""The attachments application's own tests, run where it stands in the template."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.apps import ATTACHMENTS, SOURCES

# In a project the command has been installed; its name is rendered into test_application.py.
RUN = """\
import sys, unittest
from pathlib import Path
tests, command = sys.argv[1:]
sys.path.insert(0, tests)
for path in sorted(Path(tests).glob("test_*.py")):
    __import__(path.stem)
sys.modules["test_application"].COMMAND = Path(command)
unittest.main(None, argv=["unittest", "discover", "--verbose", tests])
"""


def test_attachments_passes_its_own_tests(command: Path) -> None:
    """Every test that a generated project has passes on this Python and SQLite."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, ATTACHMENTS / "tests", command],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    assert "\nOK" in done.stdout
    for name in ATTACHMENTS.glob("tests/test_*.py"):
        assert f"({name.stem}." in done.stdout, f"{name.stem} was not run"
