"""Print the commands in groups, or one command with its variables."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

from slipway.laptop.command_table import COMMANDS, GROUPS, HIDDEN
from slipway.laptop.console import Failed
from slipway.laptop.settings import rules

WIDTH = 80
Pairs = Sequence[tuple[str, str]]
Groups = dict[str, list[tuple[str, str]]]


def run(command: str, arguments: Sequence[str]) -> int:
    """Print help about the command named first in arguments, or about all of them."""
    print(about(arguments[0]) if arguments else overview())
    return 0


def meaning(variable: str) -> str:
    """Return what a variable is, in a line."""
    setting = rules.BY_NAME.get(variable)
    return setting.summary if setting else rules.VARIABLES[variable]


def table(pairs: Pairs, column: int) -> str:
    """Return a table of names and meanings that fits the terminal's usual width."""
    lines = []
    for name, text in pairs:
        first = f"  {name:{column}}  "
        # A name such as check-image is copied more easily in one piece.
        lines += textwrap.wrap(
            text,
            WIDTH,
            initial_indent=first,
            subsequent_indent=" " * len(first),
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def overview() -> str:
    """Return all commands in groups, and all variables in groups."""
    make = os.environ.get("DEPLOY_PREFIX") is not None
    # No make target can have the program and the arguments that exec takes.
    hidden = {"exec"} if make else set()
    commands: Groups = {
        title: [(target(each.name), each.summary) for each in group if each.name not in hidden]
        for title, group in GROUPS.items()
    }
    variables: Groups = {
        title: [(each.name, each.summary) for each in rules.SETTINGS if each.group == group]
        for group, title in rules.TITLES.items()
    }
    variables[rules.TITLES["command"]] += rules.VARIABLES.items()
    every = [
        pair for groups in (commands, variables) for pairs in groups.values() for pair in pairs
    ]
    column = max(len(name) for name, _ in every)
    usage = "make TARGET [VARIABLE=value …]" if make else "python3 deploy/slipway COMMAND"
    return "\n\n".join(
        [
            f"usage: {usage}\n"
            "python3 deploy/slipway COMMAND --help prints the variables of one command.",
            *(f"{title}:\n{table(pairs, column)}" for title, pairs in commands.items()),
            "Variables, for deploy/settings.mk or the command line, which takes precedence:",
            *(f"{title}:\n{table(pairs, column)}" for title, pairs in variables.items()),
        ]
    )


def target(name: str) -> str:
    """Return a command as it can be typed: make calls it by another name if that one is taken."""
    prefix = os.environ.get("DEPLOY_PREFIX")
    if prefix is None or name in os.environ.get("DEPLOY_PLAIN", "").split():
        return name
    return f"{prefix}{name}"


def about(name: str) -> str:
    """Return what one command does, and its variables."""
    command = next((each for each in (*COMMANDS, *HIDDEN) if each.name == name), None)
    if command is None:
        raise Failed(f"there is no command {name!r}: see python3 deploy/slipway --help")
    text = f"usage: [VARIABLE=value …] python3 deploy/slipway {name}"
    if command not in HIDDEN and name != "exec":
        text += f"\n       make {name} [VARIABLE=value …]"
    text += f"\n\n{command.summary[0].upper()}{command.summary[1:]}."
    names = list(dict.fromkeys(command.variables.split()))
    if names:
        column = max(map(len, names))
        text += f"\n\nVariables:\n{table([(each, meaning(each)) for each in names], column)}"
    return text
