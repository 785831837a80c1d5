"""Tables that a slow command fills row by row, used by all `make …-table` targets."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from testbed.console import HarnessError, say
from testbed.projects import Baker, copy_template


class Named(Protocol):
    """The subject of a row."""

    @property
    def name(self) -> str:
        """The name of the row."""
        ...


Case = TypeVar("Case", bound=Named)


class Table:
    """The figures of a table and its page.

    Both are written after each row, so that an interrupted run continues where it stopped.
    """

    def __init__(self, title: str, output: Path, page: Callable[[dict[str, Any]], str]) -> None:
        """Read the figures of earlier runs; page is a function that writes the page about them."""
        self.title = title
        self.output = output
        self.page = page
        self.found: dict[str, Any] = {}
        if output.exists():
            self.found = json.loads(output.read_text(encoding="utf-8"))

    def fill(
        self,
        cases: Iterable[Case],
        names: Sequence[str],
        row: Callable[[Case], dict[str, Any]],
        section: str = "",
    ) -> None:
        """Measure the rows with these names; without names, the rows that are missing."""
        rows = self.found.setdefault(section, {}) if section else self.found
        for case in cases:
            if case.name not in names if names else case.name in rows:
                continue
            rows[case.name] = row(case)
            where = f"{section}: {case.name}" if section else case.name
            say(self.title, f"{where}: {json.dumps(rows[case.name])}")
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
            self.output.with_suffix(".md").write_text(self.page(self.found), encoding="utf-8")


def baker(place: Path) -> Baker:
    """Return a baker of projects from this repository as it is now, in new folders below place."""
    return Baker(copy_template(place / "template"), lambda: Path(tempfile.mkdtemp(dir=place)))


def cell(text: str, longest: int = 160) -> str:
    """Return a text as a cell of a table in Markdown."""
    return text.strip().replace("|", "\\|")[:longest]


def for_interpreter(
    prog: str,
    description: str | None,
    output: Path,
    measure: Callable[[str, Sequence[str], Path], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Read the command line of a table with a section per interpreter, and fill the table.

    Return the exit status.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=description)
    parser.add_argument("--python", choices=("CPython", "PyPy"), default="CPython")
    parser.add_argument("--output", type=Path, default=output, help="where the figures go")
    parser.add_argument(
        "names", nargs="*", help="rows to measure again (default: those that are missing)"
    )
    options = parser.parse_args(arguments)
    try:
        measure(options.python, options.names, options.output)
    except HarnessError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0
