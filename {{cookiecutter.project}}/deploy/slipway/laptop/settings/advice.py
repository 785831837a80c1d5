"""Settings that are accepted, and that somebody may regret: each is pointed out in one line."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping

from slipway.laptop.settings import run_env

SHELLS = ("sh", "bash", "dash", "ash")
SECRET = re.compile(r"(?:.*_)?(?:SECRET|SECRET_KEY|PASSWORD|PASSWD|TOKEN|API_?KEY|PRIVATE_KEY)")
KNOWN_SECRETS = re.compile(
    rb"(?:(?:please[-_ ]?)?change[-_ ]?(?:me|this|it)|(?:my|your|a)?[-_ ]?(?:secret|password|token)"
    rb"(?:[-_ ]?(?:key|here))?|insecure|default|example|admin|test|dev|123456?|django-insecure-.*)"
    rb"[!.]*",
    re.I,
)
DEBUG = re.compile(r"(?:[A-Z]+_)*DEBUG")
ON = (b"1", b"true", b"yes", b"on")


def of_command(command: str, name: str = "COMMAND") -> str:
    """Return what to write if a shell in COMMAND does not pass SIGTERM on; empty if all is well.

    A shell that runs a single command replaces itself by it. With several commands it waits for
    the last one, ends at SIGTERM without it, and the work that was begun is cut off.
    """
    words = shlex.split(command)
    flags = [place for place, word in enumerate(words) if re.fullmatch("-[a-z]*c", word)]
    if not flags or words[0].rpartition("/")[2] not in SHELLS or flags[0] + 1 == len(words):
        return ""
    script = re.sub(r"\d?>&\d|&>", ">", words[flags[0] + 1].strip().replace("\n", ";"))
    lexer = shlex.shlex(script, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    try:
        parts = list(lexer)
    except ValueError:  # the shell itself will report it
        return ""
    ends = [place for place, part in enumerate(parts) if set(part) <= set(";&|")]
    if ends and ends[-1] == len(parts) - 1 and parts[-1] == ";":
        ends.pop()
        parts.pop()
    last = parts[ends[-1] + 1 :] if ends else []
    while last and re.fullmatch(r"[A-Za-z_]\w*=.*", last[0], re.S):
        del last[0]
    if not ends or "trap" in parts or last[:1] == ["exec"]:
        return ""
    return (
        f"the shell in {name} does not pass on SIGTERM, so that each deploy cuts off the work that"
        " was begun: write exec in front of its last command, as in sh -c 'migrate && exec serve'"
    )


def of_environment(values: Mapping[str, bytes]) -> list[str]:
    """Return a line for each secret that everybody knows, and for a debug mode, in run.env."""
    lines = []
    for name, value in values.items():
        if SECRET.fullmatch(name) and KNOWN_SECRETS.fullmatch(value):
            lines.append(f"deploy/run.env: {name} has a value that anybody would guess: change it")
        elif SECRET.fullmatch(name) and not value:
            lines.append(
                f"deploy/run.env: {name} is empty: make sure that this does not let everybody in"
            )
        elif DEBUG.fullmatch(name) and value.lower() in ON:
            lines.append(
                f"deploy/run.env: {name} is on: an error may show code and settings to anybody"
            )
    return lines


def before_a_start(settings: Mapping[str, str]) -> list[str]:
    """Return the lines for what is about to be started, except those that make image printed."""
    lines = of_environment(run_env.load())
    name = "_".join(filter(None, ("COMMAND", settings["PROGRAM"])))
    was_said = name == "COMMAND" and "image" in os.environ.get("DEPLOY_GOALS", "").split()
    if not was_said and not settings["ENDS"]:
        lines.append(of_command(settings["PROGRAM_COMMAND"], name))
    return [line for line in lines if line]
