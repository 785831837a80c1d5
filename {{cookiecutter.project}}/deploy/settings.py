#!/usr/bin/env python3
"""The settings that every step reads: settings.mk, the command line, the environment.

settings.mk is written for make and read here, so that the scripts work without make and so that
including deploy.mk defines no variable in anybody's Makefile. Which value wins is make's own rule:

1. a variable typed on make's command line (`make PORT=9000 run`);
2. without make, a variable set in front of the script (`PORT=9000 deploy/run.sh`);
3. `NAME := value` in settings.mk, and `NAME ?= value` unless the environment has NAME;
4. the environment, for a name that settings.mk does not have and that is not in TYPED;
5. the default below.

Run as a program it prints `export NAME='value'` lines for the shell scripts to eval; its arguments
are settings that must not be empty.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import external
import native
import scm
from network import PIP_SETTINGS

DEPLOY = Path(__file__).resolve().parent
ROOT = DEPLOY.parent

DEFAULTS = {
    "PROJECT": "",
    "PYTHON": "python3",
    "NATIVE": "",
    "CHECK_IMAGE": "yes",
    "COMMAND": "",
    "FILES": "",
    "PORT": "8081",
    "HEALTH": "/",
    "HEALTH_TIMEOUT": "120",
    "BASE_IMAGE": "debian:trixie-slim",
    "DEPLOY_HOST": "",
    "BIND": "0.0.0.0",
    "PORTS": "",
    "VOLUMES": "",
    "MEMORY": "1g",
    "PIDS": "512",
    "UNHARDEN": "",
    "RUN_OPTIONS": "",
    "REGISTRY_PORT": "5051",
    "DOCKER": "docker",
    "SSH": "ssh",
    "PLATFORM": "",
    "TAG": "",
    "CANDIDATE": "yes",
    "KEEP": "3",
    "STEADY": "5",
    "WATCH": "30",
    "LOCK_WAIT": "60",
    "PARALLEL": "1",
    "RELEASE": "",
    "DRY_RUN": "",
    "FORMAT": "text",
    "FOLLOW": "",
    "PROGRAM": "",
}

# A word of a command line as a shell reads it too: what only a shell would do something with stands
# in single quotes, or is no part of it.
WORD = (
    r"""(?:[^\s'"\\$`;&|<>()\[\]{}*?~#\x00-\x1f]"""
    r"""|'[^'\x00-\x1f]*'|"(?:[^"\\$`\x00-\x1f]|\\[^$`\x00-\x1f])*")+"""
)

# What a value may look like, and what to say when it does not.
RULES = {
    "PROJECT": (
        r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*",
        "lowercase letters and digits with single . _ or - between them, as in `deployme`",
    ),
    "PYTHON": (r"(?:pypy|python)3(?:\.\d+)?", "`pypy3` or `python3`"),
    "COMMAND": (
        rf"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:[ \t]+{WORD})*",
        "a console script and its arguments, as in `run-the-app` or `gunicorn -w 2 'shop:app()'`;"
        " and what only a shell can read as `sh -c '…'`",
    ),
    "FILES": (
        r"(?:(?: |^)(?!/|deploy(?: |$)|(?:\S*/)?\.\.(?:[/ ]|$))[^\s\\\"'*?]+)*",
        "files and folders of the application, as in `app.py templates static`, or `.` for all",
    ),
    "CHECK_IMAGE": (r"yes|no", "`yes`, or `no` to leave that to `make check-image`"),
    "HEALTH": (r"/[!-~]*|tcp|none|ends", "a path such as `/`, or `tcp`, `none` or `ends`"),
    "BASE_IMAGE": (r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", "an image such as `debian:trixie-slim`"),
    "DEPLOY_HOST": (
        r"(?:[A-Za-z0-9._@:\[\]-]+(?: [A-Za-z0-9._@:\[\]-]+)*)?",
        "`user@server` or a host of ~/.ssh/config, with the port and keys in ~/.ssh/config",
    ),
    "BIND": (r"[0-9.]+", "the address that the server publishes on: `0.0.0.0` or `127.0.0.1`"),
    "PORTS": (
        r"(?:(?: |^)(?:[0-9.]+:)?[0-9]+:[0-9]+(?:/(?:tcp|udp))?)*",
        "more ports than PORT, as `9000:9000` or `127.0.0.1:9000:9000/udp`",
    ),
    "VOLUMES": (
        r"(?:(?: |^)(?:[A-Za-z0-9][A-Za-z0-9_.-]+|/[^:\s]*):/[^:\s]+(?::[a-zA-Z,]+)?)*",
        "volumes and where they are in the container, as `shop-files:/files` or `/srv/x:/x:ro`",
    ),
    "MEMORY": (r"[1-9][0-9]*[bkmg]?", "an amount such as `512m`; to set no limit: UNHARDEN=memory"),
    "UNHARDEN": (
        r"(?:(?: |^)(?:non-root|read-only|capabilities|privileges|pids|memory|init|log))*",
        "which of these to turn off: non-root read-only capabilities privileges pids memory init"
        " log",
    ),
    "CANDIDATE": ("yes|no", "`yes`, or `no` for an application that must not run twice"),
    "RELEASE": (r"[0-9a-f]*(?:-[0-9a-f]*)?", "a release as make releases lists them"),
    "FORMAT": ("text|json", "`text` or `json`"),
    "PLATFORM": (r"(?:linux/[a-z0-9]+(?:/v\d)?)?", "empty, or such as `linux/arm64`"),
    "TAG": (r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?", "a tag such as `1.4.0`"),
    # the shell scripts split it at blanks, without a thought for quotes
    "DOCKER": (r"[ !#-&(-\[\]-~]+", "the docker command, as in `docker` or `podman`"),
    "SSH": (r"[ -~]+", "the ssh command, as in `ssh` or `ssh -F file`"),
    "RUN_OPTIONS": (r"[^\x00-\x1f]*", "options of docker run, as `--network backend`"),
}
# What may be empty until `make adopt` or the owner sets it, and what to write.
OPEN = {
    "PYTHON": "pypy3 or python3",
    "COMMAND": "the command that starts the application",
}
PORTS = ("PORT", "REGISTRY_PORT")
SECONDS = ("HEALTH_TIMEOUT", "STEADY", "WATCH", "LOCK_WAIT")
COUNTS = ("PIDS", "KEEP", "PARALLEL")
# Words that may stand in an environment for something else.
TYPED = (
    "FILES",
    "CANDIDATE",
    "KEEP",
    "STEADY",
    "WATCH",
    "PARALLEL",
    "RELEASE",
    "DRY_RUN",
    "FORMAT",
    "PROGRAM",
)
WORDS = ("COMMAND", "SSH", "RUN_OPTIONS")  # as a shell would read them

# What other commands of the image are called, as COMMAND_worker; a container has its name, and the
# names of a release's other containers are taken.
PROGRAM = re.compile(
    r"COMMAND_(?!(?:next|back|try|previous|failed|volumes|local)$)([a-z][a-z0-9_]*)"
)

# Options of docker run that a deploy has settings for, or sets itself.
OWN_OPTIONS = re.compile(
    r"(?:--(?:name|rm|detach|restart|publish|publish-all|env-file|cidfile)(?:=.*)?|-[dpP].*)"
)

ASSIGNMENT = re.compile(
    r"(?:export[ \t]+)*([A-Za-z_][A-Za-z0-9_]*)[ \t]*(::?=|\?=|\+=|=)[ \t\v\f\r]*(.*)"
)


class SettingsError(Exception):
    """A setting that cannot be used; the message says where it stands and what to write."""


def die(message: str) -> NoReturn:
    """Print `name: message` on standard error and end with status 1."""
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    raise SystemExit(1)


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
        is_open = name in OPEN and name in in_file and not in_file[name][0].strip()
        if value or not is_open:
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


def check(name: str, value: str, where: str) -> None:
    """Raise SettingsError when a value would break a later step."""
    if name in PORTS:
        if not re.fullmatch(r"[1-9][0-9]{0,4}", value) or int(value) > 65535:
            raise SettingsError(f"{where} is {value!r}: write a port from 1 to 65535")
    elif name in (*SECONDS, *COUNTS):
        least = "0" if name in ("STEADY", "WATCH", "LOCK_WAIT") else "1"
        if not re.fullmatch(rf"[{least}-9]|[1-9][0-9]{{1,5}}", value):
            unit = " of seconds" if name in SECONDS else ""
            raise SettingsError(f"{where} is {value!r}: write a whole number{unit}")
    elif name in RULES:
        pattern, say = RULES[name]
        if not re.fullmatch(pattern, value):
            raise SettingsError(f"{where} is {value!r}: write {say}")
        if name in WORDS:
            try:
                words = shlex.split(value)
            except ValueError:
                raise SettingsError(
                    f"{where} is {value!r}: close its quote, or write {say}"
                ) from None
            own = [word for word in words if OWN_OPTIONS.fullmatch(word)]
            if name == "RUN_OPTIONS" and own:
                raise SettingsError(
                    f"{where} has {own[0]}, which a deploy sets itself: use PORT, PORTS, BIND or"
                    " deploy/run.env, or leave it out"
                )


def require(settings: dict[str, str], *names: str) -> None:
    """Raise SettingsError if a command needs a setting that nobody has set yet."""
    for name in names:
        if not settings[name]:
            raise SettingsError(
                f"{name} is not set: run make adopt, or set {name} := {OPEN[name]} in"
                " deploy/settings.mk"
            )


def load(*needed: str) -> dict[str, str]:
    """Read this project's settings, or exit with one line that names what to change."""
    path = DEPLOY / "settings.mk"
    try:
        settings = resolve(path.read_text(encoding="utf-8-sig"), dict(os.environ))
        require(settings, *needed)
        return settings
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
    print(exports(load(*sys.argv[1:])))
