"""The page with the table of packages."""

from __future__ import annotations

import re
from typing import Any

from measure.table import cell

# Lines that follow the reason of a failure. Figures of earlier versions have the names of scripts.
NO_REASON = r"make: |(slipway|build\.sh): wheels: not built|(slipway|lock\.sh): no lock"

HEAD = """\
# Packages that need a C library, built from source

`make native-table` wrote this page, on debian:trixie-slim. Each package is required alone, as a
source distribution, with an empty `NATIVE`, and built by `make image NATIVE=auto`.

- *Added* lists the libraries that this command wrote into the settings on its own.
- *By hand* lists the libraries that a person had to add.
- *Used* tells whether one line of Python works in the run image, which has no compiler and no
  headers ([the lines](../../measure/c_libraries/packages.py)).
- Seconds include whatever else the machine did at the time, so they say little.

A package of that list without a row has not been measured yet.
"""


def page(found: dict[str, Any]) -> str:
    """Return the page about all rows."""
    return "\n".join([HEAD, *(section(python, rows) for python, rows in found.items())])


def section(python: str, rows: dict[str, Any]) -> str:
    """Return the section of one interpreter."""
    built = [row for row in rows.values() if "built" in row]
    refused = [row for row in rows.values() if "refused" in row]
    good = [row for row in built if row["used"]]
    alone = [row for row in good if not row["from the user"]]
    lines = [
        f"## {python}\n",
        f"Of {len(built)} packages {len(good)} were built, imported and used,"
        f" {len(alone)} of them without help.\n",
        "| package | version | added | by hand | used | seconds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row.get('version', '')} | {' '.join(row['added'])} |"
        f" {' '.join(row['from the user'])} | {'yes' if row['used'] else 'no: ' + brief(row)} |"
        f" {row['seconds']} |"
        for row in built
    ]
    if refused:
        lines += ["\nRefused when they are locked:\n"]
        lines += [f"- {row['said']} ({row['seconds']} s)" for row in refused]
    return "\n".join(lines) + "\n"


def brief(row: dict[str, Any]) -> str:
    """Return the last line of an error that contains a reason."""
    lines = [line for line in str(row["error"]).splitlines() if not re.match(NO_REASON, line)]
    return cell(lines[-1], 400) if lines else ""
