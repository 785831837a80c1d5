"""The copy of the lock that the run image's build compares the wheels with.

The wheelhouse has a list of its wheels, but whatever changes a wheel there can change the list.
This copy lies in .deploy, which the builder cannot write, and is a build context of its own
(images.py):

    .deploy/pins/requirements.txt    the pins of the lock
    .deploy/pins/built.txt           the wheels that were built from its source distributions

A wheel that was built here cannot have a checksum of the lock. The builder names the pins that are
source distributions, and later the wheels that were built. Only pins that it named before may have
such a wheel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slipway.laptop.paths import ROOT, make_own_folder
from slipway.shared import files, lockfile

FOLDER = ROOT / ".deploy" / "pins"
SHA256 = re.compile(r"[0-9a-f]{64}")


class Built:
    """The wheels that one job of the builder built from source distributions of the lock."""

    def __init__(self) -> None:
        """Start with none."""
        self._sources: set[str] | None = None
        self.sums: dict[str, str] = {}

    def read(self, event: Mapping[str, Any]) -> None:
        """Read an event of the builder; only the first report of sources counts."""
        if event["event"] == "sources" and self._sources is None:
            self._sources = {str(name) for name in event["names"]}
        elif event["event"] == "built":
            self.sums = {
                name: sum_
                for name, sum_ in event["sums"].items()
                if name in (self._sources or ()) and SHA256.fullmatch(str(sum_))
            }


def pins_of(lock: str) -> list[lockfile.Pin]:
    """Return the pins of a lock's text; none for a lock that the builder refuses."""
    try:
        return lockfile.pins(lock)
    except lockfile.NotPinned:
        return []


def listing(lock: str, built: Mapping[str, str]) -> str:
    """Return the text of built.txt: the pins of the wheels that were built."""
    pins = [pin for pin in pins_of(lock) if pin.name in built]
    return "".join(f"{pin.name}=={pin.version} --hash=sha256:{built[pin.name]}\n" for pin in pins)


def foreign(
    lock: str, built: Mapping[str, str], dependencies: Mapping[str, Path], own: Iterable[Path]
) -> str:
    """Return the name of a wheel that the lock does not allow; empty if there is none.

    dependencies are wheels by their SHA-256, and own is the application's. It is what
    install_wheelhouse checks in an image's build, for deploys without an image.
    """
    allowed = lockfile.allowed_sums(pins_of(lock), lockfile.pins(listing(lock, built)))
    for sum_, wheel in dependencies.items():
        if sum_ not in allowed.get(_distribution(wheel), ()):
            return wheel.name
    return next((wheel.name for wheel in own if _distribution(wheel) in allowed), "")


def _distribution(wheel: Path) -> str:
    return lockfile.normalize(wheel.name.split("-")[0])


def write(lock: str, built: Mapping[str, str], folder: Path | None = None) -> None:
    """Write the copy of a lock's text, with the SHA-256 of each wheel that was built, by name."""
    folder = folder or FOLDER
    make_own_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    files.write(folder / "requirements.txt", "".join(f"{pin.text}\n" for pin in pins_of(lock)))
    files.write(folder / "built.txt", listing(lock, built))
