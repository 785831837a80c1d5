#!/usr/bin/env python3
"""Compile modules so that the same sources give the same bytes, on all processors.

`bytecode.py PATH…` compiles modules and what is below folders, with the interpreter that runs it.

The bytecode names no time and is not compared with its source at run time (PEP 552). What marshal
writes depends on more than the source: on what the process compiled before, on the order of sets,
and in PyPy on which strings the garbage collector has left. So each process gets a share that is
the same on every machine, hashes are not random, and PyPy collects no garbage. Nor does it read
what is installed (-S), which may be under way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SHARE = 50  # modules a process: PyPy takes some 250 MB for them
PROCESSES = 4
SAME = {"PYTHONHASHSEED": "0", "PYPY_GC_NURSERY": "1G"}
# With no module at all it would compile what it can import, so that there is always a name.
OPTIONS = ("-qq", "--invalidation-mode", "unchecked-hash", "-i", "-", os.devnull)


def started(python: Path) -> subprocess.Popen[str]:
    """Start a process that compiles the modules that it is given a list of."""
    return subprocess.Popen(
        [str(python), "-S", "-m", "compileall", *OPTIONS],
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, **SAME},
    )


def compile_modules(
    python: Path, modules: Iterable[Path], first: subprocess.Popen[str] | None = None
) -> None:
    """Compile modules for an interpreter; what does not, as some tests of syntax, is left alone.

    First is a process that was started before: with a few modules that is most of the time.
    """
    listed = sorted({str(path) for path in modules if path.suffix == ".py"})
    shares = [listed[start : start + SHARE] for start in range(0, len(listed), SHARE)]

    if first and not shares:
        shares = [[]]  # it waits to be told

    def compile_share(share: Sequence[str]) -> None:
        process = first if first and share is shares[0] else started(python)
        process.communicate("\n".join(share))

    with ThreadPoolExecutor(min(os.cpu_count() or 1, PROCESSES)) as pool:
        list(pool.map(compile_share, shares))


def modules_of(path: Path) -> Iterable[Path]:
    """Give a module, or those below a folder."""
    return path.rglob("*.py") if path.is_dir() else [path]


if __name__ == "__main__":
    named = map(Path, sys.argv[1:])
    compile_modules(Path(sys.executable), (module for path in named for module in modules_of(path)))
