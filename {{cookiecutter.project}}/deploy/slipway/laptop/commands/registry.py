"""Start and stop the registry on this machine's loopback, and remove old images from it.

registry-up starts it, registry-down stops it and keeps its images, and registry-gc removes this
project's images except the one that was pushed last.
"""

from __future__ import annotations

from collections.abc import Sequence

from slipway.laptop import console
from slipway.laptop.building import pipeline
from slipway.laptop.building.record import Record
from slipway.laptop.docker import registry
from slipway.laptop.settings.load import load


def run(command: str, arguments: Sequence[str]) -> int:
    """Do one of the three; return the exit status."""
    settings = load()
    if command == "registry-down":
        registry.down(settings)
        return 0
    is_up = registry.is_up(int(settings["REGISTRY_PORT"]))
    if not is_up:
        # Its password's hash is made in the base image.
        pipeline.make(settings, ["base"], quiet=True)
    if command == "registry-up":
        if settings["DRY_RUN"] or not is_up:
            registry.up(settings)
        return 0
    name = f"{settings['PROJECT']}-run"
    removed = registry.collect_garbage(settings, name, Record.load().get("push", "digest"))
    if not settings["DRY_RUN"]:
        console.say(f"removed {removed} images of {name}, and the layers that no image uses")
    return 0
