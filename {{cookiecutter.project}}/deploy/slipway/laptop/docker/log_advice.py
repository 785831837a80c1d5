"""Advice on a container that is not healthy, from its log: which setting or file to change."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

LINES = 200  # of the log

# Runs docker with these words, where the container is.
Docker = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

PROGRAM = re.compile(r"No such file or directory: '([a-z][a-z0-9_-]+)'")
VARIABLE = re.compile(r"^KeyError: '([A-Z][A-Z0-9_]+)'$", re.M)
HOST = re.compile(
    "Name or service not known|Temporary failure in name resolution"
    "|could not translate host name|Unknown .*server host|getaddrinfo failed|ENOTFOUND"
)
NOT_WRITABLE = re.compile(
    ".*(?:Read-only file system|Permission denied|unable to open database file"
    "|readonly database|not writable).*"
)
PATH = re.compile(r"""["']([^"' ]+)["']""")


@dataclass(frozen=True)
class Mount:
    """A volume or folder of a container."""

    writable: bool
    inside: str
    outside: str


def advice(log: str, user: str, mounts: Sequence[Mount], project: str) -> list[str]:
    """Return a line for each thing that a log shows to be missing."""
    lines = []
    programs, variables = PROGRAM.findall(log), VARIABLE.findall(log)
    if programs:
        lines.append(
            f"if {programs[-1]} is a program that the application runs, this finds its package for"
            f" NATIVE: make native FIND=bin/{programs[-1]}"
        )
    if variables:
        lines.append(
            f"if {variables[-1]} is an environment variable of the application, set it in"
            " deploy/run.env"
        )
    if HOST.search(log):
        lines.append(
            "the application cannot resolve a host name. Another container's name is known only in"
            " a network that both containers are in: RUN_OPTIONS := --network NAME"
        )
    refused = NOT_WRITABLE.findall(log)
    if refused:
        lines.append(_where_to_write(refused[-1], user, mounts, project))
    return lines


def _where_to_write(line: str, user: str, mounts: Sequence[Mount], project: str) -> str:
    place = (PATH.findall(line) or [""])[-1]
    problem = "the application may not write" + (f" to {place}" if place else " to a file")
    for mount in mounts:
        if not f"{place}/".startswith(f"{mount.inside}/"):
            continue
        if not mount.writable:
            return f"{problem}: VOLUMES makes {mount.inside} read-only"
        return (
            f"{problem}: {mount.inside} is {mount.outside} there, which another account owns."
            f" Run: sudo chown -R {user} {mount.outside}"
        )
    return (
        f"{problem}. It may write to /tmp and to the volumes in VOLUMES. For example, set"
        f" VOLUMES := {project}-files:/files in deploy/settings.mk, and use /files in COMMAND or"
        " run.env. RUN_OPTIONS := --workdir /tmp makes its working directory writable."
    )


def of_container(docker: Docker, name: str, project: str, release: str = "") -> list[str]:
    """Return advice on a container; empty if it does not exist, or is of another release."""
    found = docker(["container", "inspect", name])
    if found.returncode:
        return []
    inspected = json.loads(found.stdout)[0]
    config = inspected["Config"]
    if release and (config.get("Labels") or {}).get("slipway.release") != release:
        return []
    done = docker(["logs", "--tail", str(LINES), name])
    log = "\n".join(line[:500] for line in f"{done.stdout}\n{done.stderr}".splitlines())
    mounts = [
        Mount(each.get("RW", True), each["Destination"], each.get("Source", ""))
        for each in inspected.get("Mounts") or []
    ]
    return advice(log, config.get("User") or "0:0", mounts, project)
