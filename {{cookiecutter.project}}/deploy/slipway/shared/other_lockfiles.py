"""Read the lock files of other tools, so that a new lock starts with the same versions.

They are pylock.toml and the lock files of uv, Poetry, PDM and Pipenv. A requirements.txt without
hashes is an input instead (lockfile.py). The pins are preferences: pip-compile keeps the versions
that are still allowed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from slipway.shared import lockfile, toml

# In order of preference: the first file that exists is used.
NAMES = ("pylock.toml", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")
# Keys of a package, or of its `source`, that does not come from a package index: a folder, a
# repository or an address.
ELSEWHERE = {"path", "git", "url", "vcs", "directory", "archive"}
SOURCES = {"virtual", "editable", "directory", "path", "git", "url"}
TYPES = {"git", "directory", "file", "url"}  # of Poetry
# The comment in a lock that names the lock file whose pins it started with.
TAKEN = "# Took up the pins of {name}, sha256:{sum}"
TAKEN_PATTERN = re.compile(r"^# Took up the pins of (\S+), sha256:([0-9a-f]+)\n?", re.M)


class OtherLock(NamedTuple):
    """The lock file of another tool.

    Attributes:
        name: the file's name.
        sum: the SHA-256 of its text.
        pins: versions by normalized name.
        ambiguous: names with several versions, for different systems.
    """

    name: str
    sum: str
    pins: dict[str, str]
    ambiguous: list[str]


def find(application: Path) -> OtherLock | None:
    """Read the lock file of another tool in an application's folder; None if there is none.

    ValueError states why the file cannot be read.
    """
    for name in NAMES:
        path = application / name
        if path.is_file():
            return read(name, lockfile.read(path))
    return None


def read(name: str, text: str) -> OtherLock:
    """Read the text of a lock file; its name states the form."""
    try:
        pairs = list(_of_pipfile(text) if name == "Pipfile.lock" else _of_tables(name, text))
    except toml.NotToml as problem:
        raise ValueError(f"{problem}: create it again with its tool") from None
    except (ValueError, AttributeError, TypeError):
        raise ValueError(
            f"{name} does not have the form that its tool writes: create it again with that tool"
        ) from None
    versions: dict[str, set[str]] = {}
    for package, version in pairs:
        versions.setdefault(lockfile.normalize(package), set()).add(version)
    pins = {each: min(found) for each, found in versions.items() if len(found) == 1}
    ambiguous = sorted(each for each, found in versions.items() if len(found) > 1)
    return OtherLock(name, hashlib.sha256(text.encode()).hexdigest(), pins, ambiguous)


def _of_tables(file: str, text: str) -> Iterator[tuple[str, str]]:
    content = toml.loads(text, file)
    for package in (*content.get("package", ()), *content.get("packages", ())):
        name, version = package.get("name"), package.get("version")
        if isinstance(name, str) and isinstance(version, str) and _is_of_an_index(package):
            yield name, version


def _is_of_an_index(package: dict[str, Any]) -> bool:
    source = toml.table(package, "source")
    # Poetry states the address of a package index as well, and its type is "legacy"
    if "type" in source:
        return source["type"] not in TYPES
    return not (source.keys() & SOURCES or package.keys() & ELSEWHERE)


def _of_pipfile(text: str) -> Iterator[tuple[str, str]]:
    for name, package in json.loads(text).get("default", {}).items():
        version = str(package.get("version", ""))
        if version.startswith("=="):
            yield name, version.lstrip("=")


def start(present: str, other: OtherLock | None) -> str:
    """Return the text that a new lock starts with: the present lock, or the pins of another tool.

    A lock file of another tool that changed since its pins were used is preferred to the present
    lock.
    """
    if other is None or not other.pins:
        return present
    taken = TAKEN_PATTERN.search(present)
    if taken and taken.groups() == (other.name, other.sum):
        return present
    kept = [pin.text for pin in lockfile.pins(present) if pin.name not in other.pins]
    new = [f"{name}=={version}" for name, version in sorted(other.pins.items())]
    return "\n".join([*kept, *new]) + "\n"


def noted(text: str, other: OtherLock | None) -> str:
    """Return a lock's text with a comment that names the lock file whose pins it started with."""
    text = TAKEN_PATTERN.sub("", text)
    return f"{TAKEN.format(name=other.name, sum=other.sum)}\n{text}" if other else text
