"""The attachments application's command, without an installation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """The application's console script, as pip would write it."""
    script = tmp_path / "run-the-app"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nfrom attachments import main\nsys.exit(main())\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    return script
