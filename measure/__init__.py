"""Measurements: slipway compared with its peers, and tables of what it builds and runs."""

from __future__ import annotations

import os

from testbed.projects import MAKE_VARIABLES

# The projects that are measured run make themselves, which must not read the options of the make
# that started this.
for variable in MAKE_VARIABLES:
    os.environ.pop(variable, None)
