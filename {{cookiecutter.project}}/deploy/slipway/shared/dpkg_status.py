"""Read dpkg's status file, the list of the Debian packages that a system has.

The format: deb822(5). Hand-written, since the run image has no library that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Package = Mapping[str, str]  # the fields of one package, by their names


def stanzas_of(status: str) -> list[str]:
    """Return the text of each package in a status file."""
    return [text.strip("\n") for text in status.split("\n\n") if text.strip()]


def name_of(stanza: str) -> str:
    """Return a package's name; empty if its text has none."""
    found = re.match(r"Package: (\S+)$", stanza, re.M)
    return found[1] if found else ""


def installed(status: str) -> dict[str, Package]:
    """Return the fields of each installed package, by the package's name."""
    found: dict[str, Package] = {}
    for stanza in stanzas_of(status):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.M))
        if fields.get("Status", "").endswith(" installed"):
            found[name_of(stanza)] = fields
    return found


def versions(status: str) -> dict[str, str]:
    """Return the version of each installed package."""
    return {name: fields["Version"] for name, fields in installed(status).items()}


def alternatives(relation: str) -> list[list[str]]:
    """Return the packages of a relation such as `libc6 (>= 2.38), a | b:any`, without versions."""
    return [
        [re.sub(r"[\s:(].*", "", name.strip()) for name in clause.split("|")]
        for clause in relation.split(",")
        if clause.strip()
    ]
