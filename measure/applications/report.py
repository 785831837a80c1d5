"""The page that shows the table."""

from __future__ import annotations

from typing import Any

from measure.table import cell

HEAD = """\
# Public applications from PyPI

Made by `make apps-table`, on debian:trixie-slim. For each application a project is generated with
`app=existing`; then requirements.in and the settings of the row are written, and nothing else, and
`make wheels image push deploy` brings it to a server that has sshd and Docker.
*Answer* is what it said to a GET at the server's address. The base image and the builder's packages
are made with the first row, and come from the engine's cache for the others. Seconds are those of
two cores on which others were at work.
"""


def page(found: dict[str, Any]) -> str:
    """Write the page of all rows that there are."""
    return "\n".join([HEAD, *(section(python, rows) for python, rows in found.items())])


def works(row: dict[str, Any]) -> bool:
    """Say whether an application answered."""
    return str(row.get("answer", "")).startswith(("2", "3", "401", "403"))


def section(python: str, rows: dict[str, Any]) -> str:
    """Write the table of one interpreter."""
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
        told = ", ".join(f"`{cell(each)}`" for each in others)
        lines.append(
            f"| {row['requirements']} | `{cell(row['command'], 300)}` | {told} |"
            f" {row.get('dependencies', '')} | {answer} | {row.get('seconds', '')} |"
        )
    refused = {name: row for name, row in rows.items() if "refused" in row}
    if refused:
        lines += ["\nNamed when they are locked, before anything is compiled:\n"]
        lines += [
            f"- {name}: {row['refused']} ({row['seconds']} s)" for name, row in refused.items()
        ]
    return "\n".join(lines) + "\n"
