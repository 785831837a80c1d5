"""TZ in deploy/run.env: with a name that the system does not know, times are in UTC, silently."""

from __future__ import annotations

import posixpath
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from slipway.laptop.docker import engine

ZONES = "/usr/share/zoneinfo"
# A rule instead of a name, such as CET-1CEST: https://man7.org/linux/man-pages/man3/tzset.3.html
RULE = re.compile(r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)[+-]?\d.*")


def problem(docker: str, image: str, variables: Mapping[str, bytes]) -> str:
    """Return what to change about TZ; empty if the image, or this machine, has that time zone."""
    zone = variables.get("TZ", b"").decode().lstrip(":")
    path = posixpath.join(ZONES, zone)
    if not zone or RULE.fullmatch(zone) or Path(path).is_file():
        return ""
    words = ("run", "--rm", "--network", "none", "--entrypoint", "test", image, "-f", path)
    command = engine.command(docker, *words)
    if subprocess.run(command, capture_output=True, check=False).returncode != 1:
        return ""
    return (
        f"deploy/run.env: TZ is {zone!r}, which the image does not have, so that its times would be"
        " in UTC: write a name such as Europe/Berlin"
    )
