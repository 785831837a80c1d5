"""Read setup.cfg with the line of each value, which no parser in the standard library returns."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import NamedTuple

from slipway.shared import files


class Entry(NamedTuple):
    """A value and the number of its line, from 1."""

    value: str
    line: int


def read(path: Path) -> dict[tuple[str, str], Entry]:
    """Return {("metadata", "name"): Entry}; ValueError names the line that is not INI."""
    text = files.read_text(path)
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as problem:
        line = re.search(r"line:?\s+(\d+)", str(problem))
        number = line.group(1) if line else 1
        raise ValueError(f"{path.name} is not valid INI: see line {number}") from None
    found: dict[tuple[str, str], Entry] = {}
    lines = text.splitlines()
    for section in parser.sections():
        begins = next((n for n, each in enumerate(lines) if each.strip() == f"[{section}]"), 0)
        for name, value in parser.items(section):
            pattern = re.compile(rf"\s*{re.escape(name)}\s*[=:]", re.I)
            near = (n for n, each in enumerate(lines) if n > begins and pattern.match(each))
            found[section, name] = Entry(value, next(near, 0) + 1)
    return found
