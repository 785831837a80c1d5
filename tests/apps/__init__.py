"""The sample applications, tested where they are in the template.

Beside the tests there is a busy application, and a program that kills it.
"""

from __future__ import annotations

import sys

from testbed.projects import BLOBFILES as SOURCES
from testbed.projects import ROOT

__all__ = ["ATTACHMENTS", "PACKAGE", "ROOT", "SOURCES", "SUITE"]

ATTACHMENTS = SOURCES.parent
SUITE = ATTACHMENTS / "tests" / "test_blobfiles.py"
PACKAGE = SOURCES / "blobfiles"
# pytest reads the same folder from pyproject.toml; programs that run without pytest do not.
if str(SOURCES) not in sys.path:
    sys.path.insert(0, str(SOURCES))
