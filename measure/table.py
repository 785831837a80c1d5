"""Tables that a slow command makes, row by row: what `make …-table` have in common."""

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
    """What a row is about."""

    @property
    def name(self) -> str:
        """What the row is called."""
        ...


Case = TypeVar("Case", bound=Named)


class Table:
    """The figures of a table and its page, written after each row.

    So that a run which is cut off goes on where it was.
    """

    def __init__(self, title: str, output: Path, page: Callable[[dict[str, Any]], str]) -> None:
        """Read the figures that there are; page writes the page that shows them."""
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
        """Make the rows that are asked for by name, or else those that are not there yet."""
        rows = self.found.setdefault(section, {}) if section else self.found
        for case in cases:
            if case.name not in names if names else case.name in rows:
                continue
            rows[case.name] = row(case)
            where = f"{section}: {case.name}" if section else case.name
            say(self.title, f"{where}: {json.dumps(rows[case.name])}")
            self.output.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
            self.output.with_suffix(".md").write_text(self.page(self.found), encoding="utf-8")


def baker(place: Path) -> Baker:
    """Generate projects from this repository as it is now, in new folders of a place."""
    return Baker(copy_template(place / "template"), lambda: Path(tempfile.mkdtemp(dir=place)))


def cell(text: str, longest: int = 160) -> str:
    """Give a text as a cell of a page's table takes it."""
    return text.strip().replace("|", "\\|")[:longest]


def for_interpreter(
    prog: str,
    description: str | None,
    output: Path,
    measure: Callable[[str, Sequence[str], Path], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Read the command line of a table with a section for each interpreter, and make it.

    Gives the exit status.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=description)
    parser.add_argument("--python", choices=("CPython", "PyPy"), default="CPython")
    parser.add_argument("--output", type=Path, default=output)
    parser.add_argument("names", nargs="*", help="rows to make again; none: those not made yet")
    options = parser.parse_args(arguments)
    try:
        measure(options.python, options.names, options.output)
    except HarnessError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0
