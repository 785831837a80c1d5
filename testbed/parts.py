"""The programs of an engine of our own: docker, buildx, compose, dockerd, containerd, registry.

Unpacked once into the cache; another release's packages never touch the system's.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from testbed import debian, folders
from testbed.console import HarnessError, run, say

RELEASE = "trixie"
PACKAGES = (
    "docker.io",
    "docker-cli",
    "docker-buildx",
    "docker-compose",
    "docker-registry",
    "containerd",
    "tini",
)
# These load kernel tables or link a libc, so they have to be this system's own.
SYSTEM = {"runc": "runc", "iptables": "iptables", "ip": "iproute2"}
ADMINISTRATION = "/usr/local/sbin:/usr/sbin:/sbin"


def place() -> Path:
    """Where the engine's programs are, once they are unpacked."""
    return folders.cache() / "parts" / RELEASE


def unpack() -> Path:
    """Unpack the engine's programs where they are not there yet, and say where they are.

    Raises HarnessError when there is no mirror to take them from.
    """
    with folders.locked(folders.cache() / "parts.lock"):
        if not place().is_dir():
            say("engine", f"downloading Docker from Debian {RELEASE}")
            fresh = place().with_name(f"{RELEASE}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            with debian.private_apt(RELEASE) as apt:
                apt.unpack(PACKAGES, fresh)
            fresh.rename(place())
    return place()


def require_root() -> None:
    """Raise HarnessError, before anything is downloaded, where an engine could not be started."""
    if os.geteuid() != 0:
        raise HarnessError(
            "engine: no Docker engine with buildx and compose answers, and starting one takes root;"
            " start Docker, or run this as root"
        )


def install_system_parts() -> None:
    """Install the programs that have to be the system's own.

    Raises HarnessError when apt fails.
    """
    missing = [
        package
        for program, package in SYSTEM.items()
        if not shutil.which(program, path=f"{os.environ['PATH']}:{ADMINISTRATION}")
    ]
    if missing:
        debian.install(*missing)


def path_of(parts: Path) -> str:
    """The PATH entries of the unpacked programs."""
    return f"{parts}/usr/bin:{parts}/usr/sbin"


def plugins_of(parts: Path) -> list[Path]:
    """The unpacked plugins of the docker command."""
    return sorted((parts / "usr/libexec/docker/cli-plugins").iterdir())


def version_of(parts: Path) -> str:
    """The version of the unpacked engine, as in `26.1.5`."""
    text = run("engine", [parts / "usr/bin/docker", "--version"])
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else text.strip()
