#!/usr/bin/env python3
"""Install one wheelhouse folder into /appenv while the run image is built.

    install.py FOLDER              install FOLDER's wheels, checked against its requirements.txt,
                                   with what they want of the base image, and add the health check
    install.py FOLDER COMMAND [COMMANDS]
                                   install the wheels, then make COMMAND what the container runs;
                                   others are JSON, by their names

Runs from the builder's tools, which are mounted for the length of one RUN: the image has nothing of
them. A wheel that is missing, not named, or has another sum ends the build.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shlex
import shutil
import sys
import time
import zipfile
from collections.abc import Container
from pathlib import Path

from slipway.shared import lockfile
from slipway.shared.files import EPOCH, sha256

try:
    from slipway.image.run import wheel_installer as unpack
except ImportError:  # made on another day, on a release that had moved to another Python by then
    sys.exit(
        f"install: the tools are for another Python than {sys.version.split()[0]}, which the base"
        " image has: remove the base image, then run this again"
    )

# make venv names another one
APPENV = Path(os.environ.get("APPENV", "/appenv"))

# What reads a COMMAND that is more than a program and its arguments.
SHELLS = ("sh", "bash")

# Its own files are found before those of packages, as where it was written.
FIRST = 'export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"'

# The whole base image, of which slim.py has left the greater part.
BASE = Path("/opt/base")

# What the engine touches for its mounts; its times would be the present otherwise.
MOUNTED_IN = ("/etc", "/opt")


class Untrue(Exception):
    """A wheelhouse that is not what it says; the message names the wheel."""


def checked(folder: Path) -> list[Path]:
    """Give the wheels that folder's requirements.txt names, each with the sum that it states."""
    listed = lockfile.pins((folder / "requirements.txt").read_text(encoding="utf-8"))
    named = {sum_: pin for pin in listed for sum_ in pin.sums}
    found = {}
    for wheel in sorted(folder.glob("*.whl")):
        if not (wheel.name.endswith("-none-any.whl") or fits(wheel.name, tags())):
            raise Untrue(
                f"{wheel.name} is not for {lockfile.system()}: the wheelhouse was made for another"
                " interpreter or machine: remove it, then run make wheels"
            )
        sum_ = sha256(wheel)
        if sum_ not in named:
            raise Untrue(
                f"{wheel.name} in the wheelhouse is not what its requirements.txt names (its sum is"
                f" sha256:{sum_}): remove it, then run make wheels"
            )
        found[sum_] = wheel
    missing = [pin.name for sum_, pin in named.items() if sum_ not in found]
    if missing:
        raise Untrue(f"the wheelhouse has no wheel of {', '.join(missing)}: run make wheels")
    return list(found.values())


@functools.cache
def tags() -> set[str]:
    """Name the interpreters, ABIs and platforms whose wheels can be used here."""
    from packaging.tags import sys_tags  # with pip-tools

    return {str(tag) for tag in sys_tags()}


def fits(wheel: str, fitting: Container[str]) -> bool:
    """Say whether a wheel's name has a tag that can be used here (PEP 425)."""
    sets = (part.split(".") for part in wheel[: -len(".whl")].rsplit("-", 3)[1:])
    return any("-".join(tag) in fitting for tag in itertools.product(*sets))


def set_times(start: float) -> None:
    """Date what was written since start to one fixed time, so that layers can be equal."""
    # these were touched before this was started, on a busy machine long before
    mounted = [] if "APPENV" in os.environ else [Path(name) for name in MOUNTED_IN]
    for path in (*mounted, APPENV, *APPENV.rglob("*")):
        if os.path.lexists(path) and (path in mounted or path.lstat().st_mtime >= start):
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def scripts() -> list[str]:
    """List the programs that the wheels brought, leaving out the virtualenv's own."""
    own = re.compile(r"[Aa]ctivate(\..+)?|(python|pypy)[0-9.]*")
    names = (path.name for path in (APPENV / "bin").iterdir())
    return sorted(name for name in names if not own.fullmatch(name))


def set_command(command: str, name: str = "") -> None:
    """Write /appenv/start, which becomes the application: one exec, no shell in between.

    Another command of the same image has a name, and is /appenv/start-NAME.
    """
    program, *arguments = shlex.split(command)
    path = APPENV / "bin" / program
    if program in SHELLS and not path.exists():
        path = Path("/bin", program)
    if not (path.is_file() and os.access(path, os.X_OK)):
        there = ", ".join(scripts()) or "none"
        raise Untrue(
            f"no wheel brings the program {program!r} (there are: {there}):"
            f" set COMMAND{name and '_' + name} in deploy/settings.mk"
        )
    # not in bin, where a wheel may have a program of that name
    start = APPENV / f"start{name and '-' + name}"
    line = f"exec {shlex.join([str(path), *arguments])}"
    folder = APPENV / "app"  # FILES, see files.py
    if folder.is_dir():
        line = f"cd {shlex.quote(str(folder))}\n{FIRST}\n{line}"
    start.write_text(f'#!/bin/sh\n{line} "$@"\n', encoding="utf-8")
    start.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; gives the exit status."""
    start = time.time() - 2  # the engine was at work before this was started
    os.umask(0o022)
    try:
        files = unpack.into(APPENV, checked(Path(arguments[0])))
        if "APPENV" not in os.environ:
            from slipway.image.run import (
                slim,  # which is no part of what a server without Docker gets
            )

            slim.bring_back(files, BASE)
        if len(arguments) > 1:
            set_command(arguments[1])
            for name, command in json.loads("".join(arguments[2:]) or "{}").items():
                set_command(command, name)
        else:
            shutil.copy(Path(__file__).with_name("healthcheck.py"), APPENV / "healthcheck")
    except (Untrue, OSError, ValueError, zipfile.BadZipFile) as problem:
        print(f"install: {problem}", file=sys.stderr)
        return 1
    set_times(start)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
