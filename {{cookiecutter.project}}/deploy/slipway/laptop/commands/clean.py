"""Remove what the other commands made on this machine: make clean.

The lock, the images in the registry and everything on servers stay.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from slipway.laptop import console
from slipway.laptop.building.images import Images
from slipway.laptop.building.record import Record
from slipway.laptop.docker import engine, local_container, registry
from slipway.laptop.paths import ROOT
from slipway.laptop.settings.load import load


def run(command: str, arguments: Sequence[str]) -> int:
    """Remove the container, the images and the folders; return the exit status."""
    settings = load()
    removals = []
    for program in ("", *json.loads(settings["COMMANDS"] or "{}")):
        service = "-".join(filter(None, (settings["PROJECT"], program)))
        removals += local_container.removal({**settings, "SERVICE": service})
    volume = Images(settings).sandbox
    removals.append(engine.command(settings["DOCKER"], "volume", "rm", "--force", volume))
    for image in dict.fromkeys([*images(settings), *tagged(settings)]):
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
    left = tagged(settings)
    if left:
        raise console.Failed(
            f"these images are used by a container and stay: {' '.join(left)}. Remove the container"
            f" (docker ps --all --filter ancestor={left[0]} lists it), then run make clean again."
        )
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


def tagged(settings: dict[str, str]) -> list[str]:
    """Return the images that are here under any tag, also those for the registry."""
    own = {f"{settings['PROJECT']}-run", *(settings["IMAGES"] + e for e in ("-builder", "-base"))}
    own.add(f"{registry.ADDRESS}:{settings['REGISTRY_PORT']}/{settings['PROJECT']}-run")
    listing = ("image", "ls", "--format", "{{.Repository}} {{.Tag}}")
    try:
        listed = engine.ask(settings["DOCKER"], *listing).splitlines()
    except engine.EngineError:  # nothing can be there, or be removed
        return []
    # podman puts localhost/ in front of its own names
    names = [line.removeprefix("localhost/").split(" ") for line in listed]
    found = [f"{name}:{tag}" for name, tag in names if name in own and tag != "<none>"]
    return [name.removesuffix(":latest") for name in found]


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
