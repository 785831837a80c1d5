"""Fill the table of packages with C libraries: `python -m measure.c_libraries [NAME…]`.

Each package is built from its source distribution by `make image NATIVE=auto`. At the start, NATIVE
contains only the library names that the package's case lists, which are usually none. Then the
package is used in the run image, which has no compiler and no headers.
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

OUTPUT = ROOT / "docs" / "figures" / "native.json"
CACHE = "native-table"
# fails in an image with a compiler or headers
BARE = "! command -v gcc cc make && ! find /usr/include -name '*.h' | grep -q ."


class Workbench:
    """A project of an interpreter, in which one package after another is built."""

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
        """Run make in the project; return whether it succeeded, and its output."""
        variables = {**self.engine.environment, "DEPLOY_CACHE": CACHE}
        done = self.project.run("make", *words, **variables)
        return done.returncode == 0, done.stdout

    def write(self, case: Case) -> None:
        """Write the requirements and the settings for one package."""
        path = self.project.path
        names = case.requirements.split()
        lines = [*names, *case.others.split(), f"--no-binary {','.join(names)}"]
        (path / "requirements.in").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (path / "requirements.txt").unlink(missing_ok=True)
        settings = self.settings
        for name, value in (("HEALTH", "none"), ("NATIVE", case.words)):
            settings = re.sub(rf"^{name} :=.*", f"{name} := {value}", settings, flags=re.M)
        (path / "deploy" / "settings.mk").write_text(settings, encoding="utf-8")

    def row(self, case: Case) -> dict[str, Any]:
        """Build one package; lock it only if it is not supported on this interpreter."""
        return self.refused(case) if case in self.unsupported else self.built(case)

    def built(self, case: Case) -> dict[str, Any]:
        """Build one package and use it; return the row."""
        self.write(case)
        began = time.monotonic()
        good, output = self.make("image", "NATIVE=auto")
        row: dict[str, Any] = {"name": case.name, "from the user": case.words.split()}
        row["seconds"] = round(time.monotonic() - began)
        row["built"] = good
        row["added"] = added(case.words, self.project.read("deploy/settings.mk"))
        if good:
            lock = self.project.read("requirements.txt")
            row["version"] = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.M)).get(case.name, "")
            image = f"{self.name}-run"
            row["bare"] = self.runs(image, "sh", "-c", BARE) == ""
            row["error"] = self.runs(image, "/appenv/bin/python", "-c", case.use)
        else:
            row["error"] = "\n".join(output.strip().splitlines()[-6:])
        row["used"] = good and not row["error"]
        return row

    def refused(self, case: Case) -> dict[str, Any]:
        """Lock a package whose authors do not support this interpreter; return the row."""
        self.write(case)
        began = time.monotonic()
        good, output = self.make("lock")
        lines = [
            line for line in output.splitlines() if f"{case.name} does not work on PyPy" in line
        ]
        return {
            "name": case.name,
            "seconds": round(time.monotonic() - began),
            "refused": not good and bool(lines),
            "said": lines[-1] if lines else output.strip().splitlines()[-1],
        }

    def runs(self, image: str, *command: str) -> str:
        """Run a command in an image without a network; return the last line if it fails."""
        words = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"]
        program, *arguments = command
        done = subprocess.run(
            [*words, "--entrypoint", program, image, *arguments],
            env=dict(self.engine.environment),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        lines = done.stdout.strip().splitlines()
        return "" if done.returncode == 0 else (lines or ["failed without output"])[-1]


def added(before: str, settings: str) -> list[str]:
    """Return the library names that NATIVE in a settings.mk has gained, in their order."""
    found = re.search(r"^NATIVE :=(.*)", settings, re.M)
    names = found[1].split() if found else []
    return [name for name in names if name not in before.split()]


def measure(python: str, names: Sequence[str], output: Path) -> None:
    """Fill the rows of an interpreter with these names, or those that are missing."""
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
