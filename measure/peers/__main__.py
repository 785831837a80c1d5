"""Measure slipway and its peers: `python -m measure.peers [--rounds N] [--case NAME…]`."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure.peers import machine, plot, report
from measure.peers.cases import CASES
from measure.peers.contenders import ROOT, UV, Workshop
from measure.peers.registry import Registry
from testbed import folders
from testbed.console import HarnessError, say

ROUNDS = 3


def measure(names: Sequence[str], rounds: int, output: Path) -> None:
    """Run cases on an engine of the benchmark's own, and write the figures after each case."""
    with machine.own_engine() as engine:
        workshop = Workshop(engine, folders.state() / "bench")
        workshop.prepare()
        registry = Registry(engine)
        found: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", "-m", "measure.peers", *sys.argv[1:]]),
            "rounds": rounds,
            "machine": machine.description(engine),
            "uv": UV,
            "cases": [],
        }
        for case in CASES:
            if case.name in names:
                result = case.run(case, workshop, registry, rounds)
                heading = {"name": case.name, "title": case.title}
                found["cases"].append({**heading, **result.as_json()})
                write(found, output)


def write(found: dict[str, Any], output: Path) -> None:
    """Write the figures, the plot and the tables."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    output.with_suffix(".svg").write_text(plot.svg(found), encoding="utf-8")
    page = output.with_suffix(".md")
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    page.write_text(report.inserted(text, report.tables(found)), encoding="utf-8")
    say("bench", f"wrote {output}, {output.with_suffix('.svg').name} and {page.name}")


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the figures, the plot and the tables; return the exit status."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m measure.peers", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="rounds of each case (%(default)s)"
    )
    parser.add_argument(
        "--case", nargs="+", choices=names, default=names, help="run only these cases"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs/figures/bench.json", help="where the figures go"
    )
    options = parser.parse_args(arguments)
    try:
        measure(options.case, options.rounds, options.output)
    except HarnessError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; the figures of finished cases are written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
