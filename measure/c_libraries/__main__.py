"""The command line: `python -m measure.c_libraries [--python CPython|PyPy] [NAME…]`.

Each package is built from its source distribution with no word in NATIVE but those it was given,
by `make image NATIVE=auto`; then it is used in the run image, which has no compiler and no headers.
The figures are written after each, so that a run which is cut off goes on where it was.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import testbed
from measure.c_libraries.packages import CASES, PYPY_CASES, REFUSED, Case
from measure.c_libraries.report import page
from measure.table import Table, baker, for_interpreter
from testbed.projects import ROOT, Project

OUTPUT = ROOT / "docs" / "native.json"
CACHE = "native-table"
# what no run image may have
BARE = "! command -v gcc cc make && ! find /usr/include -name '*.h' | grep -q ."


class Workbench:
    """One project of an interpreter, in which one package after another is built."""

    def __init__(self, engine: testbed.Engine, python: str, place: Path) -> None:
        """Generate the project."""
        self.engine = engine
        self.cases = CASES if python == "CPython" else PYPY_CASES
        self.unsupported = () if python == "CPython" else REFUSED
        self.name = f"native-table-{python.lower()}"
        self.project: Project = baker(place)(
            project=self.name, app="existing", python=python, native_deps=" ", command="python"
        )
        testbed.copy_certificates(self.project.path / "deploy" / "ca")
        self.settings = self.project.read("deploy/settings.mk")

    def make(self, *words: str) -> tuple[bool, str]:
        """Run make in the project; gives whether it went well, and what it said."""
        variables = {**self.engine.environment, "DEPLOY_CACHE": CACHE}
        done = self.project.run("make", *words, **variables)
        return done.returncode == 0, done.stdout

    def write(self, case: Case) -> None:
        """Ask for one package and nothing else."""
        path = self.project.path
        names = case.requirements.split()
        lines = [*names, *case.others.split(), f"--no-binary {','.join(names)}"]
        (path / "requirements.in").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (path / "requirements.txt").unlink(missing_ok=True)
        settings = self.settings.replace("HEALTH := /", "HEALTH := none")
        settings = re.sub(r"^NATIVE :=.*", f"NATIVE := {case.words}", settings, flags=re.M)
        (path / "deploy" / "settings.mk").write_text(settings, encoding="utf-8")

    def row(self, case: Case) -> dict[str, Any]:
        """Build one package, or see that it is refused."""
        return self.refused(case) if case in self.unsupported else self.built(case)

    def built(self, case: Case) -> dict[str, Any]:
        """Build one package, use it, and say what came of it."""
        self.write(case)
        began = time.monotonic()
        good, said = self.make("image", "NATIVE=auto")
        row: dict[str, Any] = {"name": case.name, "from the user": case.words.split()}
        row["seconds"] = round(time.monotonic() - began)
        row["built"] = good
        added = re.findall(r"words\.py: adds (.*) to NATIVE", said)
        row["added"] = " ".join(added).split()
        row["because"] = re.findall(r"needs .* \((.*)\): add", said)
        if good:
            lock = self.project.read("requirements.txt")
            row["version"] = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.M)).get(case.name, "")
            image = f"{self.name}-run"
            row["bare"] = self.runs(image, "sh", "-c", BARE) == ""
            row["error"] = self.runs(image, "/appenv/bin/python", "-c", case.use)
        else:
            row["error"] = "\n".join(said.strip().splitlines()[-6:])
        row["used"] = good and not row["error"]
        return row

    def refused(self, case: Case) -> dict[str, Any]:
        """Lock a package that its authors do not support here; gives what is said of it."""
        self.write(case)
        began = time.monotonic()
        good, said = self.make("lock")
        lines = [line for line in said.splitlines() if f"{case.name} does not work on PyPy" in line]
        return {
            "name": case.name,
            "seconds": round(time.monotonic() - began),
            "refused": not good and bool(lines),
            "said": lines[-1] if lines else said.strip().splitlines()[-1],
        }

    def runs(self, image: str, *command: str) -> str:
        """Run a command in an image without a network; gives the end of what a failing one says."""
        words = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"]
        program, *arguments = command
        done = subprocess.run(
            [*words, "--entrypoint", program, image, *arguments],
            env=dict(self.engine.environment),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said = done.stdout.strip().splitlines()
        return "" if done.returncode == 0 else (said or ["failed without a word"])[-1]


def measure(python: str, names: Sequence[str], output: Path) -> None:
    """Fill in the rows of an interpreter that are asked for, or that are not there yet."""
    table = Table("native-table", output, page)
    with testbed.engine_session() as engine, tempfile.TemporaryDirectory() as folder:
        testbed.provide(engine, testbed.BASE)
        bench = Workbench(engine, python, Path(folder))
        try:
            table.fill((*bench.cases, *bench.unsupported), names, bench.row, python)
        finally:
            bench.make("clean")


if __name__ == "__main__":
    sys.exit(for_interpreter("measure.c_libraries", __doc__, OUTPUT, measure))
