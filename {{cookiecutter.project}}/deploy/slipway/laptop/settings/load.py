"""The settings that every command reads: settings.mk, make's command line, the environment.

settings.mk is written for make and read here, so that it works without make and so that including
deploy.mk defines no variable in anybody's Makefile. make's own rule decides which value counts:

1. a variable on make's command line (`make PORT=9000 run`);
2. without make, a variable in front of the command (`PORT=9000 deploy/run.sh`);
3. `NAME := value` in settings.mk, and `NAME ?= value` unless the environment has NAME;
4. the environment, for a name that settings.mk does not set, unless rules.py excludes it;
5. the default in rules.py.
"""

from __future__ import annotations

import json
import os

from slipway.laptop.console import SettingsError
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.laptop.settings.make_syntax import parse
from slipway.laptop.settings.rules import BY_NAME, PROGRAM, SETTINGS, check
from slipway.shared import git_version
from slipway.shared.native import catalogue, pyproject_external


def resolve(text: str, environment: dict[str, str]) -> dict[str, str]:
    """Return the value of every setting; SettingsError explains the first unusable one."""
    # deploy.mk lists what make's command line sets; without make the whole environment counts.
    typed = environment.get("DEPLOY_OVERRIDES")
    overrides = set(environment) if typed is None else set(typed.split())
    in_file = parse(text, environment)
    values: dict[str, str] = {}
    for setting in SETTINGS:
        name = setting.name
        if name in overrides and name in environment:
            value = environment[name]
            where = f"{name} on the command line"
        elif name in in_file:
            value, line = in_file[name]
            where = f"{name} in deploy/settings.mk, line {line},"
        else:
            value = setting.default
            if setting.from_environment:
                value = environment.get(name, value)
            where = f"{name}, which deploy/settings.mk does not set,"
        if not setting.is_command_line:  # a path in it may have two blanks in a row
            value = " ".join(value.split())
        values[name] = value = value.strip()
        if value or not setting.later:
            check(name, value, where)
    take_native(values, in_file, overrides)
    take_programs(values, environment, in_file, overrides)
    # The port that the application listens on is in the image; `make run PORT=…` only publishes
    # it elsewhere, and must not rebuild anything.
    port, line = in_file.get("PORT", (values["PORT"], 0))
    values["IMAGE_PORT"] = port = port.strip()
    check("PORT", port, f"PORT in deploy/settings.mk, line {line},")
    # Wheels of different interpreters or platforms never share a folder.
    platform = values["PLATFORM"].replace("/", "-")
    values["WHEELHOUSE"] = "-".join(filter(None, ("wheelhouse/" + values["PYTHON"], platform)))
    values["SCM_VERSION"] = environment.get("SCM_VERSION") or git_version.version(ROOT)
    # verify.py builds under other names.
    values["IMAGES"] = environment.get("DEPLOY_IMAGES") or values["PROJECT"]
    return values


def take_native(
    values: dict[str, str], in_file: dict[str, tuple[str, int]], overrides: set[str]
) -> None:
    """Remove `auto` from NATIVE, and add the libraries that the application's pyproject.toml lists.

    `NATIVE=auto` on the command line keeps the library names of the file.
    """
    words = values["NATIVE"].split()
    values["NATIVE_AUTO"] = "yes" if "auto" in words else ""
    if "auto" in words and "NATIVE" in overrides:
        words += in_file.get("NATIVE", ("", 0))[0].split()
    words = [word for word in words if word != "auto"]
    listed = pyproject_external.of(ROOT)
    words += catalogue.unlike(listed, words) if listed else []
    values["NATIVE"] = " ".join(dict.fromkeys(words))


def take_programs(
    values: dict[str, str],
    environment: dict[str, str],
    in_file: dict[str, tuple[str, int]],
    overrides: set[str],
) -> None:
    """Set COMMANDS to the other programs, COMMAND_worker and so on, and choose the one of PROGRAM.

    HEALTH does not change: it is a part of the image, which is the same for all programs.
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
    values["PROGRAM_COMMAND"] = commands.get(program, values["COMMAND"])
    own = f"STOP_TIMEOUT_{program}"
    if own in in_file and "STOP_TIMEOUT" not in overrides:
        value, line = in_file[own]
        values["STOP_TIMEOUT"] = value.strip()
        check("STOP_TIMEOUT", value.strip(), f"{own} in deploy/settings.mk, line {line},")


def load() -> dict[str, str]:
    """Read this project's settings; SettingsError names what to change."""
    path = DEPLOY / "settings.mk"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SettingsError(
            f"there is no {path}: copy the whole deploy/ folder, settings.mk included"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    return resolve(text, dict(os.environ))


def require(settings: dict[str, str], *names: str) -> None:
    """Raise SettingsError when a setting that a command needs is still empty."""
    for name in names:
        if not settings[name]:
            raise SettingsError(
                f"{name} is not set: run make adopt, or set {name} := {BY_NAME[name].later} in"
                " deploy/settings.mk"
            )
