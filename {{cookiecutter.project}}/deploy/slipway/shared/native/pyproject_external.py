"""Read the system libraries that an application states in pyproject.toml: PEP 725's [external].

The entries of that table are DepURLs, as registered by PEP 804:

    [external]
    build-requires = ["dep:virtual/compiler/rust"]
    host-requires = ["dep:generic/libpq", "dep:generic/openssl@>=3"]
    dependencies = ["dep:generic/libmagic"]
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from slipway.shared import toml
from slipway.shared.native import catalogue

ARRAYS = ("build-requires", "host-requires", "dependencies")
DEP_URL = re.compile(
    r"(?:dep|pkg):(?:[\w.-]+/)*(?P<name>[\w.+-]+)|virtual:(?:[\w.-]+/)*(?P<virtual>[\w.+-]+)"
)

# Names of what the builder always has, and names that the catalogue spells differently.
THERE = {"c", "c++", "cpp", "cxx", "make", "gnu-make", "pkg-config", "pkgconf", "python", "gcc"}
VIRTUAL = {"lapack": "blas", "cblas": "blas", "openmp": "gomp"}


def requirements(content: dict[str, Any]) -> list[str]:
    """Return the entries of a pyproject.toml's [external] table, without versions and markers."""
    table = toml.table(content, "external")
    entries = [entry for name in ARRAYS for entry in toml.texts(table, name)]
    return list(
        dict.fromkeys(re.split(r"[@;?#\s<>=!~\[]", entry, maxsplit=1)[0] for entry in entries)
    )


def words(content: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the catalogue's names for a pyproject.toml's entries, and the unknown entries."""
    found: list[str] = []
    unknown: list[str] = []
    for entry in requirements(content):
        match = DEP_URL.fullmatch(entry)
        name = (match.group("name") or match.group("virtual")) if match else ""
        if not match or not name:
            unknown.append(entry)
        elif name not in THERE:
            library = catalogue.catalogue().find(VIRTUAL.get(name, name))
            if library:
                found.append(library.name)
            else:
                unknown.append(entry)
    return list(dict.fromkeys(found)), unknown


def of(application: Path) -> list[str]:
    """Return the library names that an application's pyproject.toml requires."""
    path = application / "pyproject.toml"
    # few have the table, and every command reads this file
    if not path.is_file() or b"external" not in path.read_bytes():
        return []
    return words(toml.read(path))[0]
