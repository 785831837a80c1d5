"""Read what other tools have locked, so that our lock begins with the same versions.

pylock.toml and those of uv, Poetry, PDM and Pipenv; a requirements.txt without hashes is asked for
as it is (lockfile.py). Their pins are preferences: pip-compile keeps those that are still allowed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from slipway.shared import lockfile

# In the order in which they count: the first that is there is the one.
NAMES = ("pylock.toml", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")
NAME = re.compile(r'^name\s*=\s*"([^"\n]+)"', re.M)
VERSION = re.compile(r'^version\s*=\s*"([^"\n]+)"', re.M)
# A package that is not an index's: a folder, a repository, an address.
ELSEWHERE = re.compile(
    r"^source\s*=\s*\{\s*(?:virtual|editable|directory|path|git|url)\b|^(?:path|git|url)\s*="
    r'|^\[package\.source\]\s*\ntype\s*=\s*"(?:git|directory|file|url)"'
    r"|^\[?packages\.(?:vcs|directory|archive)\b|^(?:vcs|directory|archive)\s*=",
    re.M,
)
# The comment of our lock that says which state of another lock it has taken up.
TAKEN = "# Took up the pins of {name}, sha256:{sum}"
TAKEN_PATTERN = re.compile(r"^# Took up the pins of (\S+), sha256:([0-9a-f]+)\n?", re.M)


class OtherLock(NamedTuple):
    """Another tool's lock.

    Attributes:
        name: of its file.
        sum: SHA-256 of its text.
        pins: versions by normalized name.
        ambiguous: names that it has several versions of, for different systems.
    """

    name: str
    sum: str
    pins: dict[str, str]
    ambiguous: list[str]


def find(application: Path) -> OtherLock | None:
    """Read the lock of another tool that stands beside an application; None when there is none.

    ValueError says in words that it cannot be read.
    """
    for name in NAMES:
        path = application / name
        if path.is_file():
            return read(name, lockfile.read(path))
    return None


def read(name: str, text: str) -> OtherLock:
    """Read one such lock's text."""
    try:
        pairs = list(_of_pipfile(text) if name == "Pipfile.lock" else _of_tables(text))
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{name} is not what its tool writes: make it again with that") from None
    versions: dict[str, set[str]] = {}
    for package, version in pairs:
        versions.setdefault(lockfile.normalize(package), set()).add(version)
    pins = {each: min(found) for each, found in versions.items() if len(found) == 1}
    ambiguous = sorted(each for each, found in versions.items() if len(found) > 1)
    return OtherLock(name, hashlib.sha256(text.encode()).hexdigest(), pins, ambiguous)


def _of_tables(text: str) -> Iterator[tuple[str, str]]:
    for block in re.split(r"^\[\[(?:package|packages)\]\]\s*$", text, flags=re.M)[1:]:
        name, version = NAME.search(block), VERSION.search(block)
        if name and version and not ELSEWHERE.search(block):
            yield name.group(1), version.group(1)


def _of_pipfile(text: str) -> Iterator[tuple[str, str]]:
    for name, package in json.loads(text).get("default", {}).items():
        version = str(package.get("version", ""))
        if version.startswith("=="):
            yield name, version.lstrip("=")


def start(present: str, other: OtherLock | None) -> str:
    """Give the lock that a new one begins with: the present one, or the other's pins in its form.

    Another lock that has changed since its pins were taken up counts before the present one.
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
    """Give a lock's text with the note of which other lock it has taken up."""
    text = TAKEN_PATTERN.sub("", text)
    return f"{TAKEN.format(name=other.name, sum=other.sum)}\n{text}" if other else text
