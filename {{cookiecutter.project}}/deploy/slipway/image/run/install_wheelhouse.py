"""Install one folder of the wheelhouse into /appenv while the run image is built.

    python -m slipway.image.run.install_wheelhouse FOLDER
        Install the wheels in FOLDER, the spare parts of the base image that they use
        (spare_files.py), and the health check.
    python -m slipway.image.run.install_wheelhouse FOLDER COMMAND [COMMANDS]
        Install the wheels and the spare parts. Make COMMAND the program that the container runs;
        COMMANDS are additional ones, as a JSON object by their names.
    python -m slipway.image.run.install_wheelhouse --lock LOCK FOLDER …
        Compare the wheels with the lock as well, whose copy is in the folder LOCK (see `locked`).
    python -m slipway.image.run.install_wheelhouse … --application FOLDER
        The same for the application's own wheels, without a program to run.

FOLDER's requirements.txt is the list of its wheels with their checksums. The build fails if a wheel
is missing, not listed, or has another checksum. The list lies beside the wheels, where whatever
runs in a build could write it; the copy of the lock comes from the laptop. This module belongs to
the builder's tools, which are mounted for the duration of one RUN instruction and leave nothing in
the image. The deploy to a server without Docker runs it as well.
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
from collections.abc import Container, Sequence
from pathlib import Path

from slipway.image.run import slim
from slipway.shared import lockfile
from slipway.shared.files import EPOCH, sha256

try:
    from slipway.image.run import wheel_installer
except ImportError:
    # The base image and the tools were built at different times, and the release moved to another
    # Python in between.
    sys.exit(
        f"install: the tools are for another Python than {sys.version.split()[0]}, which the base"
        " image has: remove the base image, then run this again"
    )

# make venv and deploys without Docker set another virtualenv.
APPENV = Path(os.environ.get("APPENV", "/appenv"))

# A COMMAND that is more than a program and its arguments needs a shell.
SHELLS = ("sh", "bash")

# Modules next to the application are found before those of packages, as in development.
FIRST = 'export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"'

# The whole base image is mounted here; slim.py has removed a part of it from the run image.
BASE = Path("/opt/base")

# The engine changes the times of these folders when it mounts something.
MOUNTED_IN = ("/etc", "/opt")


class WrongWheelhouse(Exception):
    """A wheelhouse that does not match its list; the message names the wheel."""


def checked(folder: Path) -> list[Path]:
    """Return the wheels in a folder; raise WrongWheelhouse if they differ from its list."""
    listed = lockfile.pins((folder / "requirements.txt").read_text(encoding="utf-8"))
    named = {sum_: pin for pin in listed for sum_ in pin.sums}
    found = {}
    for wheel in sorted(folder.glob("*.whl")):
        if not (wheel.name.endswith("-none-any.whl") or fits(wheel.name, tags())):
            raise WrongWheelhouse(
                f"{wheel.name} is not for {lockfile.system()}: the wheelhouse was made for another"
                " interpreter or machine: remove the file, then run make wheels"
            )
        sum_ = sha256(wheel)
        if sum_ not in named:
            raise WrongWheelhouse(
                f"{wheel.name} in the wheelhouse does not match its requirements.txt (the file has"
                f" sha256:{sum_}): remove the file, then run make wheels"
            )
        found[sum_] = wheel
    missing = [pin.name for sum_, pin in named.items() if sum_ not in found]
    if missing:
        raise WrongWheelhouse(
            f"the wheelhouse has no wheel of {', '.join(missing)}: run make wheels"
        )
    return list(found.values())


def locked(wheels: Sequence[Path], lock: Path, are_dependencies: bool) -> None:
    """Raise WrongWheelhouse for a wheel that the lock does not allow.

    The folder of the lock is written by the laptop (laptop/building/lock_copy.py):

        requirements.txt    the pins of the lock
        built.txt           pins of the wheels that were built here, with their SHA-256

    A dependency has one of the checksums that the lock states for its name and version. If the
    package index has no wheel of it, it has the checksum of the one that was built here from the
    source distribution. The application's own wheels have no name of the lock, so that none of
    them replaces a dependency.
    """
    pinned, built = (
        lockfile.pins((lock / name).read_text(encoding="utf-8"))
        for name in ("requirements.txt", "built.txt")
    )
    allowed = lockfile.allowed_sums(pinned, built)
    for wheel in wheels:
        name = lockfile.normalize(wheel.name.split("-")[0])
        if not are_dependencies:
            if name in allowed:
                raise WrongWheelhouse(
                    f"{wheel.name} is among the application's own wheels, and the lock has a"
                    " dependency of that name: give the application another name"
                )
        elif sha256(wheel) not in allowed.get(name, ()):
            raise WrongWheelhouse(
                f"{wheel.name} in the wheelhouse does not have a SHA-256 of the lock, and it was"
                " not built from a source distribution of the lock: remove the wheelhouse, then"
                " run make wheels"
            )


@functools.cache
def tags() -> set[str]:
    """Return the tags (interpreter, ABI, platform) of wheels that can be used here."""
    from packaging.tags import sys_tags  # installed with pip-tools

    return {str(tag) for tag in sys_tags()}


def fits(wheel: str, fitting: Container[str]) -> bool:
    """Check whether a wheel's file name has one of the fitting tags (PEP 425)."""
    sets = (part.split(".") for part in wheel[: -len(".whl")].rsplit("-", 3)[1:])
    return any("-".join(tag) in fitting for tag in itertools.product(*sets))


def set_times(start: float) -> None:
    """Change the times of files written since start to one fixed time, so that layers are equal."""
    # The engine mounts before this process starts; on a busy machine long before.
    mounted = [] if "APPENV" in os.environ else [Path(name) for name in MOUNTED_IN]
    for path in (*mounted, APPENV, *APPENV.rglob("*")):
        if os.path.lexists(path) and (path in mounted or path.lstat().st_mtime >= start):
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def scripts() -> list[str]:
    """Return the names of programs that the wheels installed, without the virtualenv's own."""
    own = re.compile(r"[Aa]ctivate(\..+)?|(python|pypy)[0-9.]*")
    names = (path.name for path in (APPENV / "bin").iterdir())
    return sorted(name for name in names if not own.fullmatch(name))


def set_command(command: str, name: str = "") -> None:
    """Write /appenv/start, which replaces itself by the application.

    Additional commands of the image have a name and become /appenv/start-NAME.
    """
    program, *arguments = shlex.split(command)
    path = APPENV / "bin" / program
    if program in SHELLS and not path.exists():
        path = Path("/bin", program)
    if not (path.is_file() and os.access(path, os.X_OK)):
        there = ", ".join(scripts()) or "none"
        raise WrongWheelhouse(
            f"no wheel provides the program {program!r} (there are: {there}):"
            f" set COMMAND{name and '_' + name} in deploy/settings.mk"
        )
    # A wheel may have a program with this name in bin.
    start = APPENV / f"start{name and '-' + name}"
    line = f"exec {shlex.join([str(path), *arguments])}"
    folder = APPENV / "app"  # the FILES setting, see builder/plain_files_wheel.py
    if folder.is_dir():
        line = f"cd {shlex.quote(str(folder))}\n{FIRST}\n{line}"
    start.write_text(f'#!/bin/sh\n{line} "$@"\n', encoding="utf-8")
    start.chmod(0o755)


def main(arguments: list[str]) -> int:
    """Install the wheels; return the exit status."""
    start = time.time() - 2  # the engine wrote files before this process started
    os.umask(0o022)
    lock = None
    if arguments[0] == "--lock":
        lock, arguments = Path(arguments[1]), arguments[2:]
    is_own = arguments[0] == "--application"
    arguments = arguments[1:] if is_own else arguments
    try:
        wheels = checked(Path(arguments[0]))
        if lock:
            locked(wheels, lock, are_dependencies=len(arguments) == 1 and not is_own)
        files = wheel_installer.into(APPENV, wheels)
        if "APPENV" not in os.environ:
            slim.bring_back(files, BASE)
        if len(arguments) > 1:
            set_command(arguments[1])
            for name, command in json.loads("".join(arguments[2:]) or "{}").items():
                set_command(command, name)
        elif not is_own:
            shutil.copy(Path(__file__).with_name("healthcheck.py"), APPENV / "healthcheck")
    except (WrongWheelhouse, OSError, ValueError, zipfile.BadZipFile) as problem:
        print(f"install: {problem}", file=sys.stderr)
        return 1
    set_times(start)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
