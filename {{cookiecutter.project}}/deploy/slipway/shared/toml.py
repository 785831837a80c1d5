"""Read TOML by `tomllib`, or by the vendored tomli on Python 3.9 and 3.10, which have no tomllib.

The parser is imported when a file is read: most commands of a project without a pyproject.toml
never need it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from slipway.shared.files import read_text


class NotToml(ValueError):
    """A text that is not valid TOML; the message names the file, the line and the column."""


def loads(text: str, name: str) -> dict[str, Any]:
    """Return the content of a TOML text; `name` is the file's name for the message of NotToml."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        from slipway.vendor import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise NotToml(f"{name} is not valid TOML: {problem}") from None
    except RecursionError:
        raise NotToml(f"{name} is not valid TOML: its values are nested too deeply") from None


def read(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file; raise ValueError if it is not UTF-8 or not valid TOML."""
    return loads(read_text(path), path.name)


def table(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the table below some keys; an empty one if there is none."""
    for key in keys:
        inner = content.get(key)
        content = inner if isinstance(inner, dict) else {}
    return content


def texts(content: dict[str, Any], key: str) -> list[str]:
    """Return the strings of an array; an empty list if there is no array."""
    values = content.get(key)
    return [each for each in values if isinstance(each, str)] if isinstance(values, list) else []
