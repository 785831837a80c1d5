"""The sample applications, tested where they stand in the template.

Beside the tests there are programs that the measurements of `blobfiles` share: databases, and a
busy application that is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ATTACHMENTS = ROOT / "{{cookiecutter.project}}" / "slipway-apps" / "attachments"
SOURCES = ATTACHMENTS / "src"
SUITE = ATTACHMENTS / "tests" / "test_blobfiles.py"
PACKAGE = SOURCES / "blobfiles"
# pytest reads the same folder from pyproject.toml; programs that run without pytest do not.
if str(SOURCES) not in sys.path:
    sys.path.insert(0, str(SOURCES))
