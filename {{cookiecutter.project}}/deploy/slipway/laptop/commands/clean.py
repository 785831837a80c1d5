"""Remove what the other commands made on this machine: make clean.

The lock, the images in the registry and everything on servers stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from slipway.laptop import console
from slipway.laptop.building.images import Images
from slipway.laptop.building.record import Record
from slipway.laptop.docker import engine, local_container
from slipway.laptop.paths import ROOT
from slipway.laptop.settings.load import load


def run(command: str, arguments: Sequence[str]) -> int:
    """Remove the container, the images and the folders; return the exit status."""
    settings = load()
    volume = Images(settings).sandbox
    removals = [
        local_container.removal(settings),
        engine.command(settings["DOCKER"], "volume", "rm", "--force", volume),
    ]
    for image in images(settings):
        removals.append(engine.command(settings["DOCKER"], "image", "rm", image))
    if settings["DRY_RUN"]:
        for words in removals:
            console.show_command(words)
        console.show_command(["rm", "-rf", *map(str, folders())])
        return 0
    for words in removals:
        local_container.quietly(words)
    for folder in folders():
        remove(folder)
    console.say(
        f"removed the container, images, wheelhouse, appenv and .deploy of {settings['PROJECT']}"
    )
    return 0


def images(settings: dict[str, str]) -> list[str]:
    """Return the names of the images that a build or a push may have made."""
    names = [f"{settings['PROJECT']}-run"]
    names += [settings["IMAGES"] + each for each in ("-builder", "-builder:tools", "-base")]
    pushed = Record.load().get("push", "name")
    return [*names, pushed] if pushed else names


def folders() -> list[Path]:
    """Return the folders that commands made; an appenv of the user's own is not among them."""
    appenv = ROOT / "appenv"
    own = [appenv] if (appenv / ".made").exists() else []
    return [*own, ROOT / "wheelhouse", ROOT / ".deploy"]


def remove(path: Path) -> None:
    """Remove a folder, or a link that stands for one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
