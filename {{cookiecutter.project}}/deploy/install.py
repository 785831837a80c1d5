#!/usr/bin/env python3
"""Install one wheelhouse folder into /appenv while the run image is built.

    install.py FOLDER              install FOLDER's wheels, checked against its requirements.txt
    install.py FOLDER COMMAND      the same, then make COMMAND what the container runs, and add
                                   the health check

Runs from the builder's tools, which are mounted for the length of one RUN: pip is never in the
image. The package index is off; a wheel that is missing or has another sum ends the build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pip

# make venv names another one
APPENV = Path(os.environ.get("APPENV", "/appenv"))
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))  # 1980, as in the application's wheel


def pip_install(folder: Path) -> int:
    """Install exactly the wheels that folder's requirements.txt names; gives pip's status."""
    listing = folder / "requirements.txt"
    if not any(folder.glob("*.whl")):
        return 0
    options = ("--no-index", "--no-deps", "--require-hashes", "--no-cache-dir", "--quiet")
    quiet = ("--disable-pip-version-check", "--root-user-action", "ignore", "--no-compile")
    # `pip --python` would start pip twice, to run this file the second time
    runner = Path(pip.__file__).parent / "__pip-runner__.py"
    return subprocess.call(
        [
            *(str(APPENV / "bin" / "python"), str(runner), "install", *options, *quiet),
            *("--find-links", str(folder), "--requirement", str(listing)),
        ]
    )


def compile_bytecode(folder: Path) -> None:
    """Compile the modules that folder's wheels brought, on all processors.

    The bytecode names no time and is not compared with its source at run time (PEP 552): the same
    wheels give the same bytes. What does not compile, as some tests of syntax, is left alone.
    """
    tops = set()
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                inside = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", name)
                tops.add(inside.partition("/")[0])
    (packages,) = APPENV.glob("lib/p*/site-packages")
    found = sorted(str(packages / top) for top in tops if (packages / top).exists())
    python = str(APPENV / "bin" / "python")
    options = ("-qq", "-j", "0", "--invalidation-mode", "unchecked-hash", "-i", "-")
    subprocess.run(
        [python, "-m", "compileall", *options], input="\n".join(found), text=True, check=False
    )


def set_times(start: float) -> None:
    """Date what was written since start to one fixed time, so that layers can be equal."""
    for path in (APPENV, *APPENV.rglob("*")):
        if path.lstat().st_mtime >= start:
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def scripts() -> list[str]:
    """List the programs that the wheels brought, leaving out the virtualenv's own."""
    own = re.compile(r"[Aa]ctivate(\..+)?|(python|pypy)[0-9.]*")
    names = (path.name for path in (APPENV / "bin").iterdir())
    return sorted(name for name in names if not own.fullmatch(name))


def set_command(command: str) -> int:
    """Write /appenv/start, which becomes the application: one exec, no shell in between."""
    program, _, arguments = command.partition(" ")
    path = APPENV / "bin" / program
    if not (path.is_file() and os.access(path, os.X_OK)):
        there = ", ".join(scripts()) or "none"
        print(
            f"install: no wheel brings the program {program!r} (there are: {there}):"
            " set COMMAND in deploy/settings.mk",
            file=sys.stderr,
        )
        return 1
    start = APPENV / "start"  # not in bin, where a wheel may have a program of that name
    line = f"exec {path} {arguments}".rstrip()
    start.write_text(f'#!/bin/sh\n{line} "$@"\n', encoding="utf-8")
    start.chmod(0o755)
    shutil.copy(Path(__file__).with_name("healthcheck.py"), APPENV / "healthcheck")
    return 0


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; gives the exit status."""
    start = time.time() - 1  # a file system may keep whole seconds only
    folder = Path(arguments[0])
    status = pip_install(folder)
    if not status:
        compile_bytecode(folder)
    if not status and len(arguments) > 1:
        status = set_command(arguments[1])
    set_times(start)
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
