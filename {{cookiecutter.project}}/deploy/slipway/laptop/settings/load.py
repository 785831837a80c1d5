#!/usr/bin/env python3
"""The settings that every step reads: settings.mk, the command line, the environment.

settings.mk is written for make and read here, so that the scripts work without make and so that
including deploy.mk defines no variable in anybody's Makefile. Which value wins is make's own rule:

1. a variable typed on make's command line (`make PORT=9000 run`);
2. without make, a variable set in front of the script (`PORT=9000 deploy/run.sh`);
3. `NAME := value` in settings.mk, and `NAME ?= value` unless the environment has NAME;
4. the environment, for a name that settings.mk does not have and that is not in TYPED;
5. the default below.

Run as a program it prints `export NAME='value'` lines for the shell scripts to eval.
"""

from __future__ import annotations

import json
import os
import shlex
import sys

from slipway.laptop.console import SettingsError, die
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.laptop.settings.make_syntax import parse
from slipway.laptop.settings.rules import DEFAULTS, PROGRAM, TYPED, WORDS, check
from slipway.shared import git_version as scm
from slipway.shared.native import catalogue as native
from slipway.shared.native import pyproject_external as external
from slipway.shared.network import PIP_SETTINGS


def resolve(text: str, environment: dict[str, str]) -> dict[str, str]:
    """Give every setting its value; SettingsError says what is wrong with the first bad one."""
    # deploy.mk lists what make's command line set; without make the whole environment counts.
    typed = environment.get("DEPLOY_OVERRIDES")
    overrides = set(environment) if typed is None else set(typed.split())
    in_file = parse(text, environment)
    values: dict[str, str] = {}
    for name, default in DEFAULTS.items():
        if name in overrides and name in environment:
            value = environment[name]
            where = f"{name} on the command line"
        elif name in in_file:
            value, line = in_file[name]
            where = f"{name} in deploy/settings.mk, line {line},"
        else:
            value = default if name in TYPED else environment.get(name, default)
            where = f"{name}, which deploy/settings.mk does not set,"
        if name not in WORDS:  # a path in it may have two blanks in a row
            value = " ".join(value.split())
        values[name] = value = value.strip()
        check(name, value, where)
    take_native(values, in_file, overrides)
    take_programs(values, environment, in_file, overrides)
    # What the application listens on is part of the image; `make run PORT=…` only publishes it
    # elsewhere, and must not rebuild anything.
    port, line = in_file.get("PORT", (values["PORT"], 0))
    values["IMAGE_PORT"] = port = port.strip()
    check("PORT", port, f"PORT in deploy/settings.mk, line {line},")
    if typed is not None and "IMAGE_PORT" in overrides:  # of the script that calls this one
        values["IMAGE_PORT"] = environment["IMAGE_PORT"]
    # Wheels of different interpreters or platforms never share a folder.
    platform = values["PLATFORM"].replace("/", "-")
    values["WHEELHOUSE"] = "-".join(filter(None, ("wheelhouse/" + values["PYTHON"], platform)))
    values["SCM_VERSION"] = environment.get("SCM_VERSION") or scm.version(ROOT)
    # verify.py builds beside what is there
    values["IMAGES"] = environment.get("DEPLOY_IMAGES") or values["PROJECT"]
    return values


def take_native(
    values: dict[str, str], in_file: dict[str, tuple[str, int]], overrides: set[str]
) -> None:
    """Take `auto` out of NATIVE, and add what the application's pyproject.toml says that it needs.

    `NATIVE=auto` on the command line leaves the words of the file as they are.
    """
    words = values["NATIVE"].split()
    values["NATIVE_AUTO"] = "yes" if "auto" in words else ""
    if "auto" in words and "NATIVE" in overrides:
        words += in_file.get("NATIVE", ("", 0))[0].split()
    words = [word for word in words if word != "auto"]
    said = external.of(ROOT)
    words += native.unlike(said, words) if said else []
    values["NATIVE"] = " ".join(dict.fromkeys(words))


def take_programs(
    values: dict[str, str],
    environment: dict[str, str],
    in_file: dict[str, tuple[str, int]],
    overrides: set[str],
) -> None:
    """Take the other commands, COMMAND_worker and so on, and what PROGRAM=worker makes of it.

    HEALTH stays as it is: it is a part of the image, which is the same for all of them.
    """
    commands: dict[str, str] = {}
    for name, (value, line) in in_file.items():
        if not name.startswith("COMMAND_"):
            continue
        where = f"{name} in deploy/settings.mk, line {line},"
        match = PROGRAM.fullmatch(name)
        if not match:
            raise SettingsError(
                f"{where} has another container's name, or is not lowercase letters and digits:"
                " write one such as COMMAND_worker"
            )
        commands[match[1]] = environment[name] if name in overrides else value.strip()
        check("COMMAND", commands[match[1]], where)
    values["COMMANDS"] = json.dumps(commands, sort_keys=True) if commands else ""
    if "COMMANDS" in overrides and "DEPLOY_OVERRIDES" in environment:  # of a script that calls
        values["COMMANDS"] = environment["COMMANDS"]
    program = values["PROGRAM"]
    if program and program not in commands:
        there = ", ".join(sorted(commands)) or "none"
        raise SettingsError(
            f"PROGRAM is {program!r}, and deploy/settings.mk has no COMMAND_{program}"
            f" (there are: {there})"
        )
    values["SERVICE"] = "-".join(filter(None, (values["PROJECT"], program)))
    health = values["HEALTH"]
    if program:
        health = in_file.get(f"HEALTH_{program}", ("none", 0))[0].strip()
        if health not in ("none", "ends"):
            raise SettingsError(
                f"HEALTH_{program} in deploy/settings.mk is {health!r}: write `none`, or `ends`"
            )
    values["ENDS"] = "yes" if health == "ends" else ""


def load() -> dict[str, str]:
    """Read this project's settings, or end with one line that names what to change."""
    path = DEPLOY / "settings.mk"
    try:
        return resolve(path.read_text(encoding="utf-8-sig"), dict(os.environ))
    except FileNotFoundError:
        die(f"there is no {path}: copy the whole deploy/ folder, settings.mk included")
    except UnicodeDecodeError:
        die(f"{path} is not UTF-8 text: save it as UTF-8")
    except SettingsError as problem:
        die(str(problem))


def exports(settings: dict[str, str]) -> str:
    """Write settings as lines that a shell evaluates, and which variables the builder gets.

    What the shell calls goes by the same settings, whatever is written to the file meanwhile.
    """
    names = " ".join((*DEFAULTS, "IMAGE_PORT", "COMMANDS"))
    more = {
        "PIP_NAMES": " ".join(PIP_SETTINGS),
        "DEPLOY_OVERRIDES": names,
        # the interpreter itself: what a version manager puts before it takes as long as it does
        "HOST_PYTHON": sys.executable or "python3",
    }
    return assignments({**settings, **more})


def assignments(values: dict[str, str]) -> str:
    """Write variables as lines that a shell evaluates."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


if __name__ == "__main__":
    print(exports(load()))
