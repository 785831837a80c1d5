"""Compile modules so that the same sources give the same bytes, with several processes at once.

`compile_bytecode.py PATH…` compiles modules, and all modules below folders, for its interpreter.

The bytecode contains no time and is not compared with its source at run time (PEP 552). The output
of marshal depends on more than the source: on what the process compiled before, on the order of
sets, and in PyPy on the garbage collector. Therefore each process gets a share that is the same on
every machine, hashes are not random, and PyPy collects no garbage. The processes do not look at
installed packages (-S), which may be incomplete at that moment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

# Modules per process. A process starts in about 50 ms. With PyPy, 50 modules take about 250 MB.
SHARE = 50 if sys.implementation.name == "pypy" else 150
PROCESSES = 4
SAME = {"PYTHONHASHSEED": "0", "PYPY_GC_NURSERY": "1G"}
# Without any name compileall would compile everything on sys.path, so there is always one.
OPTIONS = ("-qq", "--invalidation-mode", "unchecked-hash", "-i", "-", os.devnull)


class Compiler:
    """Compiles modules for an interpreter while more of them are added.

    Modules that do not compile, such as some tests of syntax, are skipped.
    """

    def __init__(self, python: Path) -> None:
        """Start the interpreter at once: with few modules, its start takes most of the time."""
        self._python = python
        self._first: subprocess.Popen[str] | None = self._started()
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, PROCESSES))
        self._shares: list[Future[None]] = []
        self._waiting: list[str] = []
        self._seen: set[str] = set()
        self._again: list[str] = []

    def add(self, modules: Iterable[Path]) -> None:
        """Add modules. A module added twice has changed in between, and is compiled at the end."""
        for name in sorted({str(path) for path in modules if path.suffix == ".py"}):
            (self._again if name in self._seen else self._waiting).append(name)
            self._seen.add(name)
        while len(self._waiting) >= SHARE:
            self._submit(self._waiting[:SHARE])
            self._waiting = self._waiting[SHARE:]

    def finish(self) -> None:
        """Compile the remaining modules and wait for all processes."""
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
        if share or process:  # a process that was started waits for names
            (process or self._started()).communicate("\n".join(share))

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self._python), "-S", "-m", "compileall", *OPTIONS],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, **SAME},
        )


def modules_of(path: Path) -> Iterable[Path]:
    """Return a module, or all modules below a folder."""
    return path.rglob("*.py") if path.is_dir() else [path]


if __name__ == "__main__":
    compiler = Compiler(Path(sys.executable))
    compiler.add(module for name in sys.argv[1:] for module in modules_of(Path(name)))
    compiler.finish()
