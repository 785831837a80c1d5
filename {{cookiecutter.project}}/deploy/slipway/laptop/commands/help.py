"""Print the commands in groups, or one command with its variables."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

from slipway.laptop.command_table import COMMANDS, HIDDEN, TITLES, Command
from slipway.laptop.settings import rules

WIDTH = 80


def run(command: str, arguments: Sequence[str]) -> int:
    """Print help about the command named first in arguments, or about all of them."""
    print(about(arguments[0]) if arguments else overview())
    return 0


def meaning(variable: str) -> str:
    """Return what a variable is, in a line."""
    setting = rules.BY_NAME.get(variable)
    return setting.summary if setting else rules.VARIABLES[variable]


def rows(pairs: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Return a table of names and meanings that fits the terminal's usual width."""
    column = max(len(name) for name, _ in pairs) + 2
    lines = []
    for name, text in pairs:
        first = f"{indent}{name:{column}}"
        lines.append(
            textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
        )
    return "\n".join(lines)


def overview() -> str:
    """Return all commands in groups, and all variables."""
    make = os.environ.get("DEPLOY_PREFIX") is not None
    usage = "make TARGET [VARIABLE=value]" if make else "python3 deploy/slipway COMMAND"
    parts = [f"usage: {usage}"]
    for group, title in TITLES.items():
        pairs = [(target(each.name), each.summary) for each in COMMANDS if each.group == group]
        parts.append(f"{title}:\n{rows(pairs)}")
    parts.append("Settings are in deploy/settings.mk; these variables take precedence over it:")
    for group in dict.fromkeys(each.group for each in rules.SETTINGS):
        parts[-1] += "\n" + rows(
            [(each.name, each.summary) for each in rules.SETTINGS if each.group == group]
        )
    parts[-1] += "\n" + rows(list(rules.VARIABLES.items()))
    return "\n\n".join(parts)


def target(name: str) -> str:
    """Return a command as it can be typed: make calls it by another name if that one is taken."""
    prefix = os.environ.get("DEPLOY_PREFIX")
    if prefix is None or name in os.environ.get("DEPLOY_PLAIN", "").split():
        return name
    return f"{prefix}{name}"


def about(name: str) -> str:
    """Return what one command does, and its variables."""
    known: dict[str, Command] = {each.name: each for each in (*COMMANDS, *HIDDEN)}
    command = known.get(name)
    if command is None:
        return f"there is no command {name!r}\n\n{overview()}"
    text = f"usage: [VARIABLE=value] python3 deploy/slipway {name}\n       make {name} [VARIABLE=value]"
    text += f"\n\n{command.summary[0].upper()}{command.summary[1:]}."
    variables = list(dict.fromkeys(command.variables.split()))
    if variables:
        text += f"\n\nVariables:\n{rows([(each, meaning(each)) for each in variables])}"
    return text
