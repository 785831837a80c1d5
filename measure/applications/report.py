"""The page with the table of applications."""

from __future__ import annotations

from typing import Any

from measure.table import cell

HEAD = """\
# Public applications from PyPI

`make apps-table` wrote this page, on debian:trixie-slim. For each application it generates a
project with `app=existing`, writes requirements.in and the settings of the row and nothing else,
and runs `make wheels image push deploy`. The server has sshd and Docker.

*Answer* is the response to a GET request at the server's address. The base image and the builder's
packages are built with the first row, and come from the engine's cache for the others. Seconds were
measured on two cores that others were using.
"""


def page(found: dict[str, Any]) -> str:
    """Return the page about all rows."""
    return "\n".join([HEAD, *(section(python, rows) for python, rows in found.items())])


def works(row: dict[str, Any]) -> bool:
    """Check whether an application answered."""
    return str(row.get("answer", "")).startswith(("2", "3", "401", "403"))


def section(python: str, rows: dict[str, Any]) -> str:
    """Return the section of one interpreter."""
    tried = {name: row for name, row in rows.items() if "refused" not in row}
    good = sum(works(row) for row in tried.values())
    lines = [
        f"## {python}\n",
        f"Of {len(tried)} applications {good} answered.\n",
        "| requirements.in | `COMMAND` | other settings | dependencies | answer | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for row in tried.values():
        error = row.get("error", "").splitlines() or [""]
        answer = row.get("answer") or f"no: {cell(error[-1])}"
        others = [*row["settings"], *(f"run.env: {line}" for line in row["environment"])]
        settings = ", ".join(f"`{cell(each)}`" for each in others)
        lines.append(
            f"| {row['requirements']} | `{cell(row['command'], 300)}` | {settings} |"
            f" {row.get('dependencies', '')} | {answer} | {row.get('seconds', '')} |"
        )
    refused = {name: row for name, row in rows.items() if "refused" in row}
    if refused:
        lines += ["\nRefused when they are locked, before anything is compiled:\n"]
        lines += [
            f"- {name}: {row['refused']} ({row['seconds']} s)" for name, row in refused.items()
        ]
    return "\n".join(lines) + "\n"
