"""The command line: `python -m measure.blobs [--rounds N]`; writes blobs.* in docs/figures.

Each round measures every way once, beginning with another one, each in a process of its own, and
compares it with the plain file of that round: the disk of one minute is not that of the next.
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
from testbed.console import say
from tests.apps import ROOT, SOURCES, databases

HERE = Path(__file__).parent
DOCS = ROOT / "docs/figures"
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
# max_allowed_packet's default: nothing larger gets into one column.
LARGEST_COLUMN = {"mysql": 8}
TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}
MEASURES = {"write": "write, per second", "read": "read, per second", "memory": "memory"}

Values = dict[str, dict[str, list[float]]]


class Bench:
    """One virtualenv, one folder, and the databases."""

    def __init__(self, folder: Path) -> None:
        """Install what the other ways need."""
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.python = str(folder / "venv/bin/python")
        requirements = str(HERE / "requirements.txt")
        subprocess.run([self.python, "-m", "pip", "-qq", "install", "-r", requirements], check=True)

    def child(self, script: str, *words: object) -> dict[str, float]:
        """Run a script in a process of its own; gives what it prints."""
        environment = {**os.environ, "PYTHONPATH": f"{SOURCES}:{ROOT}"}
        command = [self.python, str(HERE / script), *map(str, words)]
        found: dict[str, float] = json.loads(subprocess.check_output(command, env=environment))
        return found

    def once(self, way: str, url: str, mib: int, count: int) -> dict[str, float]:
        """Measure one way once, in bytes a second and bytes."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            own = f"sqlite:///{place}/files.db" if url.startswith("sqlite") else url
            found = self.child("ways.py", way, own, place, mib * MIB, count)
        moved = mib * MIB * count
        speeds = {name: moved / found[f"{name}_s"] for name in ("write", "read")}
        return {**speeds, "memory": found["memory"]}

    def case(self, name: str, url: str, mib: int, count: int, rounds: int) -> dict[str, Any]:
        """Measure all ways on one database and one size, round by round."""
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
    """One case: a row for each way, with the ratios to the same round's plain file."""
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
    """How long others wait, a row for each database."""
    headings = {"wait_s": "longest wait", "wait99_s": "99 of 100 wait less", "log": "longest log"}
    rows = {
        TITLES[name]: {measure: report.cell(measure, values) for measure, values in each.items()}
        for name, each in found.items()
    }
    return report.table(rows, headings)


def write(found: Mapping[str, Any]) -> None:
    """Write the figures, the plot and the tables."""
    (DOCS / "blobs.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    drawn = plot.svg(found, ours="blobfiles", measures=MEASURES, labels=160)
    (DOCS / "blobs.svg").write_text(drawn, encoding="utf-8")
    parts = [report.machine(found)]
    for case in found["cases"]:
        parts += [f"### {case['title']}", table_of(case)]
    title = f"### Other writers, while a file of {WAIT_MIB} MiB is stored"
    parts += [title, waits_of(found["waits"])]
    page = DOCS / "blobs.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    page.write_text(report.inserted(text, "\n\n".join(parts)), encoding="utf-8")
    say("bench", "wrote docs/figures/blobs.json, blobs.svg and blobs.md")


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(prog="python -m measure.blobs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each case (%(default)s)")
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
