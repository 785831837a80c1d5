"""Change settings.mk in one place, and leave the rest of it as its owner wrote it."""

from __future__ import annotations

import re
from pathlib import Path

from slipway.shared import files


def with_value(text: str, name: str, value: str) -> str:
    """Give the text with a setting's value; its comment stays, and other assignments of it go."""
    escaped = value.replace("$", "$$").replace("#", "\\#")
    pattern = re.compile(
        rf"^([ \t]*(?:export[ \t]+)?{name}[ \t]*)(?:::?=|\?=|=|\+=)"
        r"[^\n#\\]*(?:\\\n?[^\n#\\]*)*(?P<comment>#[^\n]*)?$",
        re.M,
    )
    found = list(pattern.finditer(text))
    if not found:
        return f"{text.rstrip()}\n\n{name} := {escaped}\n".lstrip()
    last = found[-1]
    comment = f" {last['comment']}" if last["comment"] else ""
    new = f"{last[1]}:= {escaped}{comment}"
    return text[: last.start()] + new + text[last.end() :]


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the mode that it has."""
    files.write(path, text, path.stat().st_mode & 0o777)
