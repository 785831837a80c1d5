"""Advice on a container that is not healthy, from its log: which setting or file to change."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

LINES = 200  # of the log

# Runs docker with these words, where the container is.
Docker = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

NOT_WRITABLE = re.compile(
    ".*(?:Read-only file system|Permission denied|unable to open database file"
    "|readonly database|not writable).*"
)
PATH = re.compile(r"""["']([^"' \x00-\x1f\x7f]+)["']""")
# Exit statuses of a process that a signal ended: SIGBUS and SIGKILL, as Linux counts them.
BUS_ERROR, KILLED = 128 + 7, 128 + 9
# Docker's names of the limits of a container.
LIMITS = {"pids": "PidsLimit", "memory": "Memory", "shm": "ShmSize"}

# What a log shows, as a pattern of its lines, and the advice. {name} is what the pattern's group
# found. Other names are limits of the container: where it has none, the advice would not help.
KNOWN = (
    (
        r"No such file or directory: '([a-z][a-z0-9_-]+)'"
        r"|: ([a-z][a-z0-9_-]+): (?:command )?not found$",
        "if {name} is a program that the application runs, this finds its package for NATIVE:"
        " make native FIND=bin/{name}",
    ),
    (
        r"No such file or directory: '(/(?:etc|usr)/[\w./+-]+)'",
        "if {name} is a file of a Debian package, this finds the package for NATIVE:"
        " make native FIND={name}",
    ),
    (
        r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file",
        "the image does not have the library {name}. This finds its package for NATIVE:"
        " make native FIND={name}",
    ),
    (
        r"^KeyError: '([A-Z][A-Z0-9_]+)'$",
        "if {name} is an environment variable of the application, set it in deploy/run.env",
    ),
    (
        "Name or service not known|Temporary failure in name resolution"
        "|could not translate host name|Unknown .*server host|getaddrinfo failed|ENOTFOUND",
        "the application cannot resolve a host name. Another container's name is known only in"
        " a network that both containers are in: RUN_OPTIONS := --network NAME",
    ),
    (
        r"(?:CERTIFICATE_VERIFY_FAILED|certificate verify failed|SSL certificate problem)"
        r"(?!.*(?:expired|not yet valid|mismatch|match|not valid for))"
        r"|self.signed certificate|unable to get local issuer|signed by unknown authority",
        "the application does not trust a certificate. If it is of an authority of your own, copy"
        " the authority's certificate into deploy/ca as a .crt file, and set RUN_CA := yes in"
        " deploy/settings.mk",
    ),
    (
        r'root certificate file "[^"]*" does not exist',
        "libpq looks for certificates in its home directory. To use those of the image, set"
        " PGSSLROOTCERT=/etc/ssl/certs/ca-certificates.crt in deploy/run.env",
    ),
    (
        r"No time zone found with key (\S+?)'?$|UnknownTimeZoneError: '(\S+)'",
        "{name} is not the name of a time zone: names are such as Europe/Berlin",
    ),
    (
        r"unsupported locale setting|cannot change locale",
        "the image does not have the locale that the application asks for. Add it to NATIVE in"
        " deploy/settings.mk, and ask for it by the same name: for example"
        " NATIVE := locale:de_DE.UTF-8 and de_DE.UTF-8",
    ),
    (
        r"can't start new thread|pthread_create failed|create new (?:OS )?thread|[Cc]annot fork"
        r"|fork.*(?:\n.*){0,6}Resource temporarily unavailable",
        "the application reached its limit of {pids} processes and threads: raise PIDS in"
        " deploy/settings.mk, or start fewer",
    ),
    (
        r"SIGKILL|MemoryError|bad_alloc|Cannot allocate memory|terminated abruptly|^Killed$"
        r"|[Oo]ut of memory",
        "a process may have been ended because {memory} of memory were used up, which includes"
        " /tmp and /dev/shm, and there is no swap beyond it: raise MEMORY in deploy/settings.mk, or"
        " start fewer processes",
    ),
    (
        r"Too many open files|Errno 24\b|\bEMFILE\b",
        "the application has too many files and connections open at the same time. To allow more,"
        " set RUN_OPTIONS := --ulimit nofile=65536 in deploy/settings.mk",
    ),
    (
        r"Bus error|insufficient shared memory|shared memory segment"
        r"|No space left on device.*/(?:dev/shm|psm_)|/dev/shm.*No space left on device",
        "the application may have filled /dev/shm, which has {shm}. To make it larger, set"
        " RUN_OPTIONS := --shm-size 512m in deploy/settings.mk; it counts as memory (MEMORY)",
    ),
    (
        r"^(?!.*(?:/dev/shm|/psm_|inotify)).*"
        r"(?:No space left on device|database or disk is full|\bENOSPC\b)",
        "a disk is full: that of the machine, where volumes are (df -h, docker system df); or"
        " /dev/shm, which has {shm} (RUN_OPTIONS := --shm-size 512m)",
    ),
    (
        r"Operation not permitted",
        "the container runs without root and capabilities. Leave out what changes accounts or"
        " owners of files (such as gunicorn's --user); or allow it with"
        " UNHARDEN := non-root capabilities in deploy/settings.mk",
    ),
)


@dataclass(frozen=True)
class Mount:
    """A volume or folder of a container."""

    writable: bool
    inside: str
    outside: str


def advice(
    log: str,
    user: str,
    mounts: Sequence[Mount],
    project: str,
    limits: Mapping[str, str],
) -> list[str]:
    """Return a line for each thing that a log shows to be missing, or to be at its limit."""
    lines = list(_known(log, limits))
    refused = NOT_WRITABLE.findall(log)
    if refused:
        lines.append(_where_to_write(refused[-1], user, mounts, project))
    return lines


def _known(log: str, limits: Mapping[str, str]) -> Iterator[str]:
    for pattern, text in KNOWN:
        found = list(re.finditer(pattern, log, re.M))
        if found:
            name = next((group for group in found[-1].groups() if group), "")
            words = {**limits, "name": name}
            if all(words.get(word) != "" for word in re.findall(r"{(\w+)}", text)):
                yield text.format_map(words)


def limits_of(inspected: Mapping[str, Any]) -> dict[str, str]:
    """Return the limits of a container that advice may name; one that it does not have is empty."""
    host = inspected.get("HostConfig") or {}
    limits = {name: host.get(key) or 0 for name, key in LIMITS.items()}
    return {
        name: "" if value <= 0 else str(value) if name == "pids" else f"{value >> 20} MB"
        for name, value in limits.items()
    }


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
    state, limits = inspected.get("State") or {}, limits_of(inspected)
    if state.get("ExitCode") == BUS_ERROR:
        log += "\nBus error"
    if state.get("OOMKilled"):
        log += "\nout of memory"
        if state.get("ExitCode") == KILLED:  # this was reported; see server/docker/container.sh
            limits["memory"] = ""
    return advice(log, config.get("User") or "0:0", mounts, project, limits)
