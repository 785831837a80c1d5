"""Read what an application says that it needs of the system: PEP 725's [external] table.

Its names are DepURLs, as PEP 804 registers them:

    [external]
    build-requires = ["dep:virtual/compiler/rust"]
    host-requires = ["dep:generic/libpq", "dep:generic/openssl@>=3"]
    dependencies = ["dep:generic/libmagic"]

A laptop's Python may be 3.9 and have no TOML parser; arrays of strings are all that is read here.
"""

from __future__ import annotations

import re
from pathlib import Path

from slipway.shared.native import catalogue as native

TABLE = re.compile(
    r"^\s*\[\s*external\s*\]\s*(?:#.*)?$(.*?)(?=^\s*\[[\w. \"'-]+\]|\Z)", re.M | re.S
)
TEXT = r"\"[^\"\n]*\"|'[^'\n]*'"
ARRAY = re.compile(
    rf"^\s*(?:build-requires|host-requires|dependencies)\s*=\s*\[((?:{TEXT}|#[^\n]*|[^\]\"'#])*)\]",
    re.M,
)
STRING = re.compile(rf"({TEXT})|#[^\n]*")
DEP_URL = re.compile(
    r"(?:dep|pkg):(?:[\w.-]+/)*(?P<name>[\w.+-]+)|virtual:(?:[\w.-]+/)*(?P<virtual>[\w.+-]+)"
)

# What the builder has in any case, and what other words stand for.
THERE = {"c", "c++", "cpp", "cxx", "make", "gnu-make", "pkg-config", "pkgconf", "python", "gcc"}
VIRTUAL = {"lapack": "blas", "cblas": "blas", "openmp": "gomp"}


def requirements(text: str) -> list[str]:
    """Give the entries of a pyproject.toml's [external] table, without versions and markers."""
    table = TABLE.search(text)
    if not table:
        return []
    found = []
    for array in ARRAY.finditer(table.group(1)):
        for string in STRING.finditer(array.group(1)):
            if string.group(1):
                found.append(re.split(r"[@;?#\s<>=!~\[]", string.group(1)[1:-1], maxsplit=1)[0])
    return list(dict.fromkeys(found))


def words(text: str) -> tuple[list[str], list[str]]:
    """Give the catalogue's words for what a pyproject.toml needs, and what it has none for."""
    found: list[str] = []
    unknown: list[str] = []
    for entry in requirements(text):
        match = DEP_URL.fullmatch(entry)
        name = (match.group("name") or match.group("virtual")) if match else ""
        if not match or not name:
            unknown.append(entry)
        elif name not in THERE:
            library = native.catalogue().find(VIRTUAL.get(name, name))
            if library:
                found.append(library.name)
            else:
                unknown.append(entry)
    return list(dict.fromkeys(found)), unknown


def of(application: Path) -> list[str]:
    """Give the words for what an application's pyproject.toml says."""
    path = application / "pyproject.toml"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return words(text)[0] if "external" in text else []
