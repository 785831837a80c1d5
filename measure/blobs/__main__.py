"""Measure ways to store files: `python -m measure.blobs [--rounds N]` writes docs/figures/blobs.*.

Each round measures every way once, in a process of its own, and begins with another way. The
results are compared with the plain file of the same round, because the speed of a disk changes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import testbed
from measure.peers import plot, report
from measure.peers.figures import rotated, summary
from measure.peers.machine import description
from testbed import databases
from testbed.console import say
from testbed.projects import BLOBFILES, ROOT

HERE = Path(__file__).parent
FIGURES = ROOT / "docs" / "figures"
MIB = 1 << 20
SIZES = ((1, 16), (64, 1))  # MiB, and how many files
WAIT_MIB = 128
PLAIN = "plain file"
OURS = ("blobfiles, staged", "blobfiles, joined")
WAYS = {
    "sqlite": (PLAIN, *OURS, "one column", "incremental BLOB", "django-db-file-storage"),
    "postgresql": (PLAIN, *OURS, "one column", "large object", "django-db-file-storage"),
    "mysql": (PLAIN, *OURS, "one column"),
}
# The default of max_allowed_packet in MiB, the limit of a column.
LARGEST_COLUMN = {"mysql": 8}
TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}
MEASURES = {"write": "write, per second", "read": "read, per second", "memory": "memory"}

Values = dict[str, dict[str, list[float]]]


class Bench:
    """A virtualenv and a folder for the measurements."""

    def __init__(self, folder: Path) -> None:
        """Install the packages that the other ways need."""
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.python = str(folder / "venv/bin/python")
        requirements = str(HERE / "requirements.txt")
        subprocess.run([self.python, "-m", "pip", "-qq", "install", "-r", requirements], check=True)

    def child(self, script: str, *words: object) -> dict[str, float]:
        """Run a script in a process of its own; return the JSON that it prints."""
        environment = {**os.environ, "PYTHONPATH": f"{BLOBFILES}:{ROOT}"}
        command = [self.python, str(HERE / script), *map(str, words)]
        found: dict[str, float] = json.loads(subprocess.check_output(command, env=environment))
        return found

    def once(self, way: str, url: str, mib: int, count: int) -> dict[str, float]:
        """Measure a way once; return speeds in bytes per second, and memory in bytes."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            own = f"sqlite:///{place}/files.db" if url.startswith("sqlite") else url
            found = self.child("ways.py", way, own, place, mib * MIB, count)
        moved = mib * MIB * count
        speeds = {name: moved / found[f"{name}_s"] for name in ("write", "read")}
        return {**speeds, "memory": found["memory"]}

    def case(self, name: str, url: str, mib: int, count: int, rounds: int) -> dict[str, Any]:
        """Measure all ways on a database with files of one size, round by round."""
        ways = [
            way for way in WAYS[name] if way != "one column" or mib <= LARGEST_COLUMN.get(name, mib)
        ]
        values: Values = {way: {measure: [] for measure in MEASURES} for way in ways}
        for number in range(rounds):
            for way in rotated(ways, number):
                for measure, value in self.once(way, url, mib, count).items():
                    values[way][measure].append(value)
        return {"title": f"{TITLES[name]}, {count} x {mib} MiB", "values": values}

    def waits(self, url: str, rounds: int) -> dict[str, list[float]]:
        """Measure how long another writer waits."""
        found: dict[str, list[float]] = {"wait_s": [], "wait99_s": [], "log": []}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                own = f"sqlite:///{place}/files.db" if url.startswith("sqlite") else url
                for measure, value in self.child("waits.py", own, WAIT_MIB).items():
                    found[measure].append(value)
        return found


def table_of(case: Mapping[str, Any]) -> str:
    """Return the table of a case: a row for each way, with ratios to the plain file."""
    values: Values = case["values"]
    rows = {}
    for way, measures in values.items():
        row = {measure: report.cell(measure, found) for measure, found in measures.items()}
        for measure in ("write", "read") if way != PLAIN else ():
            pairs = zip(measures[measure], values[PLAIN][measure], strict=True)
            each = summary([ours / plain for ours, plain in pairs])
            row[measure] += f", {each.median:.2f} x plain ({each.low:.2f}..{each.high:.2f})"
        rows[way] = row
    return report.table(rows, MEASURES)


def waits_of(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the table of other writers' waits, with a row for each database."""
    headings = {"wait_s": "longest wait", "wait99_s": "99 of 100 wait less", "log": "longest log"}
    rows = {
        TITLES[name]: {measure: report.cell(measure, values) for measure, values in each.items()}
        for name, each in found.items()
    }
    return report.table(rows, headings)


def write(found: Mapping[str, Any]) -> None:
    """Write the figures, the plot and the tables."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / "blobs.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    drawn = plot.svg(found, ours="blobfiles", measures=MEASURES)
    (FIGURES / "blobs.svg").write_text(drawn, encoding="utf-8")
    parts = [report.machine(found)]
    for case in found["cases"]:
        parts += [f"### {case['title']}", table_of(case)]
    title = f"### Other writers, while a file of {WAIT_MIB} MiB is stored"
    parts += [title, waits_of(found["waits"])]
    page = FIGURES / "blobs.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    page.write_text(report.inserted(text, "\n\n".join(parts)), encoding="utf-8")
    say("bench", "wrote docs/figures/blobs.json, blobs.svg and blobs.md")


def main() -> None:
    """Measure, and write the figures, the plot and the tables."""
    parser = argparse.ArgumentParser(prog="python -m measure.blobs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case (%(default)s)")
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp(prefix="bench-blobs-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        engine = stack.enter_context(testbed.engine_session())
        bench = Bench(folder)
        cases, waits = [], {}
        for name in databases.NAMES:
            with databases.database(name, folder, engine) as database:
                for mib, count in SIZES:
                    say("bench", f"{TITLES[name]}, {count} x {mib} MiB")
                    cases.append(bench.case(name, database.url, mib, count, rounds))
                waits[name] = bench.waits(database.url, rounds)
        write(
            {
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "command": "python -m measure.blobs",
                "rounds": rounds,
                "machine": description(engine),
                "cases": cases,
                "waits": waits,
            }
        )


if __name__ == "__main__":
    main()
