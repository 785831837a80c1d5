"""Data that programs look up by themselves, and that no Debian package of the base image has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from slipway.shared import network

ZONES = Path("/usr/share/zoneinfo")
BUNDLE = Path(network.BUNDLE)


def link_old_zones(zones: Path) -> Iterator[Path]:
    """Make the old names of time zones, such as US/Eastern; yield links and changed folders.

    The source of the time zones lists them. Debian has them in tzdata-legacy, with 0.8 MB of other
    files.
    """
    source = zones / "tzdata.zi"
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    for target, name in re.findall(r"^L (\S+) (\S+)$", text, re.M):
        link = zones / name
        if not os.path.lexists(link) and (zones / target).is_file():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(zones / target, link.parent))
            yield from (link, link.parent, link.parent.parent)


def trust(folder: Path, bundle: Path) -> Iterator[Path]:
    """Add the certificates FOLDER/*.crt to the bundle that programs trust; yield it if changed."""
    texts = [path.read_text("utf-8", errors="replace") for path in sorted(folder.glob("*.crt"))]
    if texts:
        before = bundle.read_text(encoding="utf-8")
        bundle.write_text("\n".join(text.strip() for text in (before, *texts)) + "\n", "utf-8")
        yield bundle
