"""Fill the table of adopted repositories: `python -m measure.repositories [NAME…]`.

Each public repository is cloned, and gets a copy of deploy/ and one line in its Makefile. Then
follow the commands of the documentation: `make adopt YES=1`, `make lock`, `make wheels image`. No
other file of the repository is edited. --source clones from another address.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import testbed
from measure.table import Table, baker, cell
from testbed.console import HarnessError
from testbed.projects import ROOT, Project

OUTPUT = ROOT / "docs" / "figures" / "adopt.json"
STEPS = (("adopt", "YES=1"), ("lock",), ("wheels", "image"))
HEAD = """\
# Public repositories, adopted

`make adopt-table` wrote this page, on debian:trixie-slim with CPython. It clones each repository,
copies `deploy/` into it, adds one line to its Makefile, and runs `make adopt YES=1`, `make lock`
and `make wheels image`. *By hand* lists the settings that the repository does not contain and that
were given on the command line. *Unchanged* tells which of its own files `git status` reports as
unchanged.

| repository | commit | back end | command | by hand | image | unchanged | seconds |
|---|---|---|---|---|---|---|---|
"""


class Case(NamedTuple):
    """A public repository.

    Attributes:
        name: its name on GitHub.
        back_end: the build back end in its pyproject.toml.
        typed: settings for make adopt that the repository does not contain.
    """

    name: str
    back_end: str
    typed: tuple[str, ...] = ()


CASES = (
    Case("benoitc/gunicorn", "setuptools"),
    Case("encode/uvicorn", "hatchling"),
    Case("pypa/build", "flit_core"),
    Case("python-poetry/poetry-core", "poetry-core", ("COMMAND=python",)),
    Case("pdm-project/pdm", "pdm-backend"),
    Case("samuelcolvin/rtoml", "maturin", ("COMMAND=python",)),
)


class Workbench:
    """An engine, and a generated project whose folder deploy/ is copied."""

    def __init__(self, engine: testbed.Engine, place: Path, sources: Mapping[str, str]) -> None:
        """Generate the project."""
        self.engine = engine
        self.place = place
        self.sources = sources
        self.origin: Project = baker(place)(app="existing", python="CPython", native_deps=" ")
        testbed.copy_certificates(self.origin.path / "deploy" / "ca")

    def adopt(self, case: Case) -> Project:
        """Clone a repository, copy deploy/ into it, and add the line to its Makefile."""
        folder = self.place / case.name.replace("/", "-")
        address = self.sources.get(case.name, f"https://github.com/{case.name}")
        subprocess.run(["git", "clone", "--quiet", address, folder], check=True)
        shutil.copytree(self.origin.path / "deploy", folder / "deploy")
        with (folder / "Makefile").open("a", encoding="utf-8") as makefile:
            makefile.write("\ninclude deploy/deploy.mk\n")
        return Project(folder, "")

    def row(self, case: Case) -> dict[str, Any]:
        """Run all steps; return the row."""
        project = self.adopt(case)
        began = time.monotonic()
        row: dict[str, Any] = {"back end": case.back_end, "typed": list(case.typed), "error": ""}
        row["commit"] = project.run("git", "rev-parse", "--short=12", "HEAD").stdout.strip()
        try:
            for step in STEPS:
                words = (*step, *case.typed) if step[0] == "adopt" else step
                done = project.run("make", *words, **self.engine.environment)
                if done.returncode:
                    row["error"] = "\n".join(done.stdout.strip().splitlines()[-8:])
                    break
            row["seconds"] = round(time.monotonic() - began)
            settings = project.read("deploy/settings.mk")
            row["command"] = "".join(re.findall(r"^COMMAND := (.*)", settings, re.M))
            changed = project.run("git", "status", "--porcelain", "--untracked-files=no").stdout
            row["changed"] = [line[3:] for line in changed.splitlines()]
        finally:
            project.run("make", "slipway-clean", **self.engine.environment)
        return row


def page(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page about all rows."""
    lines = []
    for name, row in rows.items():
        why = cell(row["error"].splitlines()[-1]) if row["error"] else ""
        others = [each for each in row["changed"] if each != "Makefile"]
        cells = (
            *(f"[{name}](https://github.com/{name})", row["commit"], row["back end"]),
            *(f"`{row['command']}`", " ".join(row["typed"]), f"no: {why}" if why else "yes"),
            *(", ".join(others) if others else "all", str(row["seconds"])),
        )
        lines.append(f"| {' | '.join(cells)} |\n")
    good = sum(not row["error"] for row in rows.values())
    return f"{HEAD}{''.join(lines)}\n{good} of {len(rows)} repositories were built into an image.\n"


def measure(names: Sequence[str], sources: Mapping[str, str], output: Path) -> None:
    """Fill the rows with these names, or those that are missing."""
    table = Table("adopt-table", output, page)
    with testbed.engine_session() as engine, tempfile.TemporaryDirectory() as folder:
        testbed.provide(engine, testbed.BASE)
        table.fill(CASES, names, Workbench(engine, Path(folder), sources).row)


def main(arguments: list[str] | None = None) -> int:
    """Fill the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m measure.repositories", description=__doc__)
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME=ADDRESS", help="clone from here"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the figures go")
    parser.add_argument(
        "names", nargs="*", help="rows to measure again (default: those that are missing)"
    )
    options = parser.parse_args(arguments)
    sources = dict(each.split("=", 1) for each in options.source)
    os.environ.setdefault("GIT_TERMINAL_PROMPT", "0")
    try:
        measure(options.names, sources, options.output)
    except (HarnessError, subprocess.CalledProcessError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
