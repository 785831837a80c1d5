"""Changes to settings.mk that leave the rest of it as its owner wrote it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from slipway.shared import files


def with_value(text: str, name: str, value: str) -> str:
    """Return the text with a setting's value; its comment stays, its other assignments go."""
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
    """Write a file as a whole, with the mode that it has."""
    files.write(path, text, path.stat().st_mode & 0o777)


_NATIVE = re.compile(r"[ \t]*(?:export[ \t]+)?NATIVE[ \t]*(?:::?=|\?=|\+=|=)")


def with_libraries(text: str, names: Sequence[str]) -> str:
    """Return settings.mk's text with library names added to NATIVE, and nothing else changed."""
    added = " ".join(names)
    lines = text.splitlines()
    numbers = [number for number, line in enumerate(lines) if _NATIVE.match(line)]
    if not numbers:
        return f"{text.rstrip()}\n\nNATIVE := {added}\n".lstrip()
    last = numbers[-1]
    if lines[last].endswith("\\") or "$" in lines[last]:
        while lines[last].endswith("\\") and last + 1 < len(lines):
            last += 1
        lines.insert(last + 1, f"NATIVE += {added}")
    else:
        value, sign, comment = lines[last].partition("#")
        lines[last] = f"{value.rstrip()} {added}" + (f" {sign}{comment}" if sign else "")
    return "\n".join(lines) + "\n"
