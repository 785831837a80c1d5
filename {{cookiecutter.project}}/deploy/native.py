#!/usr/bin/env python3
"""Turn the names of native dependencies into Debian packages, by the catalogue native.ini.

    native.py build NAME…    the packages to build with (headers)
    native.py run NAME…      the packages to run with (shared libraries)

`apt:PACKAGE` names a Debian package itself: one that ends in -dev is built with, others are both
built and run with.
"""

from __future__ import annotations

import configparser
import difflib
import re
import sys
from pathlib import Path

CATALOGUE = Path(__file__).resolve().parent / "native.ini"
APT_NAME = re.compile(r"apt:([a-z0-9][a-z0-9+.-]+)")


class UnknownName(Exception):
    """A name that the catalogue does not have; the message gives the nearest ones."""


def catalogue(path: Path = CATALOGUE) -> dict[str, configparser.SectionProxy]:
    """Read the catalogue: every name and alias, to its library's section."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(path.read_text(encoding="utf-8"))
    names = {}
    for library in parser.sections():
        section = parser[library]
        for name in (library, *section.get("aliases", "").split()):
            names[name.lower()] = section
    return names


def packages(wanted: list[str], role: str, path: Path = CATALOGUE) -> list[str]:
    """Give the packages for a role (`build` or `run`), as apt.sh takes them.

    UnknownName says which name is not known, and the nearest ones.
    """
    names = catalogue(path)
    found: list[str] = []
    for name in wanted:
        direct = APT_NAME.fullmatch(name)
        if direct:
            if role == "build" or not direct.group(1).endswith("-dev"):
                found.append(direct.group(1))
            continue
        section = names.get(name.lower())
        if section is None:
            near = difflib.get_close_matches(name.lower(), names, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see deploy/native.ini."
            raise UnknownName(
                f"NATIVE in deploy/settings.mk names {name!r}, which is not in the catalogue:"
                f" {hint} A Debian package is named as apt:PACKAGE"
            )
        found += re.sub(r"\s*\|\s*", "|", section.get(role, "")).split()
    return list(dict.fromkeys(found))


def main(arguments: list[str]) -> int:
    """Print the packages on one line; gives the exit status."""
    role, *wanted = arguments
    try:
        print(*packages(wanted, role))
    except UnknownName as problem:
        print(f"native.py: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
