"""The lock: where it is, what it says, and which interpreter it was made for.

Shared by the builder (wheels.py) and the laptop (state.py), so that both mean the same file; so is
what counts as an application's source.
Its form is pip's requirements format in hash-checking mode:
https://pip.pypa.io/en/stable/topics/secure-installs/
"""

from __future__ import annotations

import fnmatch
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HEADER = "# Locked for {interpreter} by `make lock`; `make upgrade` moves the pins."
HEADER_PATTERN = re.compile(r"# Locked for (\S+ \d+\.\d+) by `make lock`")
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;\\,*]+)")

# Nothing of these is part of an application, wherever it is; the second list only at the top, since
# a package may well have a module of that name.
NOT_SOURCE = (
    *(".git", ".hg", ".deploy", ".venv", ".tox", ".nox", "node_modules"),
    *("__pycache__", "*.pyc", "*.egg-info", ".*_cache"),
)
NOT_SOURCE_AT_TOP = ("wheelhouse", "appenv", "venv")


def read(path: Path) -> str:
    """Read a text file; ValueError says in words that it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text: save it as UTF-8") from None


def not_source(application: Path, folder: Path, names: Iterable[str]) -> set[str]:
    """Say which names in one of an application's folders are no part of it."""
    patterns = NOT_SOURCE + (NOT_SOURCE_AT_TOP if folder == application else ())
    found = set()
    for name in names:
        path = folder / name
        special = not (path.is_symlink() or path.is_file() or path.is_dir())  # such as a socket
        # this machinery, which setuptools would take for a second package beside the application's
        ours = (path / "deploy.mk").is_file()
        if special or ours or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            found.add(name)
    return found


class Pin(NamedTuple):
    """One distribution of the lock: normalized name, version, marker and hashes."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def normalize(name: str) -> str:
    """Give a distribution's name its one spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def interpreter() -> str:
    """Name the running interpreter as locks do: `PyPy 3.11`, `CPython 3.13`."""
    return f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"


def logical_lines(text: str) -> list[str]:
    """Join continued lines and drop comments, as pip reads a requirements file."""
    joined = re.sub(r"\\\n[ \t]*", " ", text)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def pins(text: str) -> list[Pin]:
    """Read a lock's pins; ValueError names a requirement that is not pinned and hashed."""
    found = []
    for line in logical_lines(text):
        if line.startswith("-"):  # an option, such as --index-url
            continue
        requirement, *hashes = re.split(r"\s+--hash[= ]", line)
        specifier, _, marker = requirement.partition(";")
        match = PIN.fullmatch(specifier.strip())
        if not match or not hashes:
            raise ValueError(line)
        found.append(
            Pin(
                normalize(match.group(1)),
                match.group(2),
                marker.strip(),
                tuple(sorted(text.strip() for text in hashes)),
            )
        )
    return found


def locked_for(text: str) -> str | None:
    """Say which interpreter a lock was made for; None when another tool made it."""
    match = HEADER_PATTERN.search(text)
    return match.group(1) if match else None


def is_lock(text: str) -> bool:
    """Tell a lock from a list of requirements that somebody wrote by hand."""
    if locked_for(text):
        return True
    try:
        return bool(pins(text))
    except ValueError:
        return False


def lock_path(application: Path) -> Path:
    """Say where the lock is or will be.

    That is requirements.txt, unless somebody's own unhashed list has that name: such a list is an
    input, is never overwritten, and its lock is requirements.lock.
    """
    usual = application / "requirements.txt"
    if usual.is_file() and not is_lock(read(usual)):
        return application / "requirements.lock"
    return usual


def is_distribution(application: Path) -> bool:
    """Say whether there is an application to build a wheel of."""
    if (application / "setup.py").is_file():
        return True
    pyproject = application / "pyproject.toml"
    if not pyproject.is_file():
        return False
    text = read(pyproject)
    tables = re.findall(r"^\s*\[\s*([^\[\]]+?)\s*\]", text, re.M)
    # before the first table its keys may stand alone: project.name = "shop"
    keys = re.findall(
        r"^[ \t]*([\w.-]+?)\s*[.=]", re.split(r"^\s*\[", text, maxsplit=1, flags=re.M)[0], re.M
    )
    return any(name in ("project", "build-system", "tool.poetry") for name in (*tables, *keys))


def sources(application: Path) -> list[str]:
    """List the files that say what is wanted, in the order in which pip-compile takes them."""
    found = []
    if is_distribution(application):
        modern = (application / "pyproject.toml").is_file()
        found.append("pyproject.toml" if modern else "setup.py")
    if (application / "requirements.in").is_file():
        found.append("requirements.in")
    elif lock_path(application).name == "requirements.lock":
        found.append("requirements.txt")
    return found
