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
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

# modules a process, which takes some 50 ms to start; PyPy takes some 250 MB for 50 of them
SHARE = 50 if sys.implementation.name == "pypy" else 150
PROCESSES = 4
SAME = {"PYTHONHASHSEED": "0", "PYPY_GC_NURSERY": "1G"}
# With no module at all it would compile what it can import, so that there is always a name.
OPTIONS = ("-qq", "--invalidation-mode", "unchecked-hash", "-i", "-", os.devnull)


class Compiler:
    """Compiles modules for an interpreter while more of them come; finish() waits for all.

    What does not compile, as some tests of syntax, is left alone.
    """

    def __init__(self, python: Path) -> None:
        """Take the interpreter, and start it: with a few modules that is most of the time."""
        self._python = python
        self._first: subprocess.Popen[str] | None = self._started()
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, PROCESSES))
        self._shares: list[Future[None]] = []
        self._waiting: list[str] = []
        self._seen: set[str] = set()
        self._again: list[str] = []

    def add(self, modules: Iterable[Path]) -> None:
        """Take modules; one that was taken before is another by now, and compiled last."""
        for name in sorted({str(path) for path in modules if path.suffix == ".py"}):
            (self._again if name in self._seen else self._waiting).append(name)
            self._seen.add(name)
        while len(self._waiting) >= SHARE:
            self._submit(self._waiting[:SHARE])
            self._waiting = self._waiting[SHARE:]

    def finish(self) -> None:
        """Compile what is left."""
        self._submit(self._waiting)
        for share in self._shares:
            share.result()
        if self._again:
            self._compile(self._again)
        self._pool.shutdown()

    def _submit(self, share: list[str]) -> None:
        self._shares.append(self._pool.submit(self._compile, share, self._first))
        self._first = None

    def _compile(self, share: list[str], process: subprocess.Popen[str] | None = None) -> None:
        if share or process:  # one that was started waits to be told
            (process or self._started()).communicate("\n".join(share))

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self._python), "-S", "-m", "compileall", *OPTIONS],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, **SAME},
        )


def modules_of(path: Path) -> Iterable[Path]:
    """Give a module, or those below a folder."""
    return path.rglob("*.py") if path.is_dir() else [path]


if __name__ == "__main__":
    compiler = Compiler(Path(sys.executable))
    compiler.add(module for name in sys.argv[1:] for module in modules_of(Path(name)))
    compiler.finish()
