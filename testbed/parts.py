"""The programs of the testbed's engine: docker, buildx, compose, dockerd, containerd, registry.

They are unpacked once into the cache. Packages of another release are never installed.
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
# These depend on the kernel or on the C library, so they must be this system's own.
SYSTEM = {"runc": "runc", "iptables": "iptables", "ip": "iproute2"}
ADMINISTRATION = "/usr/local/sbin:/usr/sbin:/sbin"


def place() -> Path:
    """Return the folder of the engine's unpacked programs."""
    return folders.cache() / "parts" / RELEASE


def unpack() -> Path:
    """Unpack the engine's programs if necessary; return their folder.

    Raises HarnessError if this machine has no Debian mirror.
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
    """Raise HarnessError if this account is not root, before anything is downloaded."""
    if os.geteuid() != 0:
        raise HarnessError(
            "engine: no Docker engine with buildx and compose answers, and only root can start one."
            " Start Docker, or run this as root"
        )


def install_system_parts() -> None:
    """Install the programs that must be the system's own.

    Raises HarnessError if apt fails.
    """
    missing = [
        package
        for program, package in SYSTEM.items()
        if not shutil.which(program, path=f"{os.environ['PATH']}:{ADMINISTRATION}")
    ]
    if missing:
        debian.install(*missing)


def path_of(parts: Path) -> str:
    """Return the PATH entries of the unpacked programs."""
    return f"{parts}/usr/bin:{parts}/usr/sbin"


def plugins_of(parts: Path) -> list[Path]:
    """Return the unpacked plugins of the docker command."""
    return sorted((parts / "usr/libexec/docker/cli-plugins").iterdir())


def version_of(parts: Path) -> str:
    """Return the version of the unpacked engine, for example `26.1.5`."""
    text = run("engine", [parts / "usr/bin/docker", "--version"])
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else text.strip()
