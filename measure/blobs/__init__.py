"""blobfiles compared with plain files and with other ways to store files in a database."""

from __future__ import annotations

import sys

from testbed.projects import BLOBFILES

# The package blobfiles is measured where it is in the template.
if str(BLOBFILES) not in sys.path:
    sys.path.insert(0, str(BLOBFILES))
