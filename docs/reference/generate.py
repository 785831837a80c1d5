"""Write settings.md and commands.md beside this file, from the tables in deploy/slipway.

`make reference` runs it; a test compares the pages with the tables.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "{{cookiecutter.project}}" / "deploy"))

from slipway.laptop import command_table
from slipway.laptop.settings import rules


def cell(text: str) -> str:
    """Return a text that can stand in a cell of a table."""
    return text.replace("|", "\\|")


def settings_page() -> str:
    """Return the page of all settings and variables."""
    parts = [
        "# Settings",
        "<!-- Written by `make reference` from slipway/laptop/settings/rules.py. -->",
        "Set these in `deploy/settings.mk` as `NAME := value`. A variable on make's command line"
        " takes precedence: `make run PORT=9000`. The environment counts for a name that"
        " `settings.mk` does not set, except where the table says otherwise.",
    ]
    for group, title in rules.TITLES.items():
        rows = ["| setting | meaning | default |", "|---|---|---|"]
        for each in rules.SETTINGS:
            if each.group == group:
                default = f"`{each.default}`" if each.default else ""
                more = "" if each.from_environment else " Not read from the environment."
                meaning = f"{each.summary[0].upper()}{each.summary[1:]}.{more}"
                rows.append(f"| `{each.name}` | {cell(meaning)} | {default} |")
        parts += [f"## {title}", "\n".join(rows)]
    rows = ["| variable | meaning |", "|---|---|"]
    rows += [
        f"| `{name}` | {cell(text[0].upper() + text[1:])}. |"
        for name, text in rules.VARIABLES.items()
    ]
    parts += [
        "## Other variables",
        "These are read from make's command line or the environment only.",
        "\n".join(rows),
    ]
    return "\n\n".join(parts) + "\n"


def commands_page() -> str:
    """Return the page of all commands, with the variables of each."""
    parts = [
        "# Commands",
        "<!-- Written by `make reference` from slipway/laptop/command_table.py. -->",
        "`make NAME` and `python3 deploy/slipway NAME` do the same."
        " `python3 deploy/slipway NAME --help` explains a command's variables. A command that"
        " has the variable `DRY_RUN` prints the exact docker, ssh and systemctl command lines with"
        " `DRY_RUN=1`, and changes nothing. All variables: [settings.md](settings.md).",
    ]
    for title, group in command_table.GROUPS.items():
        rows = ["| command | what it does | variables |", "|---|---|---|"]
        for each in group:
            names = " ".join(f"`{name}`" for name in dict.fromkeys(each.variables.split()))
            rows.append(f"| `{each.name}` | {cell(each.summary)} | {names} |")
        parts += [f"## {title}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


PAGES = {"settings.md": settings_page, "commands.md": commands_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
