"""The part of make's syntax that settings.mk may use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slipway.laptop.console import SettingsError

ASSIGNMENT = re.compile(
    r"(?:export[ \t]+)*([A-Za-z_][A-Za-z0-9_]*)[ \t]*(::?=|\?=|\+=|=)[ \t\v\f\r]*(.*)"
)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Join continued lines and drop comments as make does; each with its first line's number."""
    pending, first = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        first = first or number
        pending += raw
        if raw.endswith("\\"):
            pending += "\n"
            continue
        line = re.sub(r"(?<!\\)#.*", "", re.sub(r"[ \t]*\\\n[ \t]*", " ", pending))
        if "\\\\#" in line or "\\\\\n" in pending:
            raise SettingsError(
                f"deploy/settings.mk, line {first}: write one \\ instead of several"
            )
        if line.strip():
            yield first, line.lstrip().replace("\\#", "#")
        pending, first = "", 0
    if pending:
        raise SettingsError(f"deploy/settings.mk, line {first}: remove the \\ at the file's end")


def parse(text: str, environment: dict[str, str]) -> dict[str, tuple[str, int]]:
    """Read settings.mk's text into {name: (value, line number)}, as make would.

    Assignments, comments, line continuations, `$$` and references to earlier settings are
    understood; SettingsError names the line of anything else.
    """
    values: dict[str, tuple[str, int]] = {}
    late: set[str] = set()  # names that make would look up again, after the last line
    for first, line in logical_lines(text):
        match = ASSIGNMENT.fullmatch(line)
        if not match and re.match(r"<{7} |={7}$|>{7} ", line):
            raise SettingsError(
                f"deploy/settings.mk, line {first}: resolve the merge conflict here: keep your"
                " value and remove the lines <<<<<<<, ======= and >>>>>>>"
            )
        if not match:
            raise SettingsError(
                f"deploy/settings.mk, line {first}: write `NAME := value` instead of"
                f" {line.rstrip()!r}"
            )
        name, operator, value = match.groups()
        if operator == "?=" and name in values:
            continue

        def known(
            reference: re.Match[str], line_number: int = first, at_once: bool = ":" in operator
        ) -> str:
            if reference.group(0) == "$$":
                return "$"
            inner = reference.group(1) or reference.group(2)
            if inner and not at_once:
                late.add(inner)
            if inner in values:
                return values[inner][0]
            if inner and inner in environment:
                return environment[inner]
            raise SettingsError(
                f"deploy/settings.mk, line {line_number}: no earlier line sets"
                f" {reference.group(0)}; write $$ for a dollar sign"
            )

        value = re.sub(r"\$\$|\$\(([^()]*)\)|\$\{([^{}]*)\}|\$.?", known, value)
        if name in late:
            raise SettingsError(
                f"deploy/settings.mk, line {first}: {name} is used before this line sets it: set it"
                " above, or write := there"
            )
        before = values[name][0] if name in values else environment.get(name, "")
        if operator == "?=" and name in environment:
            value = before
        elif operator == "+=":
            value = " ".join(filter(None, (before, value)))
        values[name] = (value, first)
    return values
