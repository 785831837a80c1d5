"""Write the lock: make lock and make upgrade."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.laptop import console
from slipway.laptop.building import base_image_pin, pipeline
from slipway.laptop.building.images import Images
from slipway.laptop.paths import ROOT
from slipway.laptop.settings import load
from slipway.shared import lockfile


def run(command: str, arguments: Sequence[str]) -> int:
    """Make a lock in the builder; `upgrade` moves the pins, and `lock` keeps them."""
    settings = load.load()
    load.require(settings, "PYTHON")
    if settings["DRY_RUN"]:
        pipeline.make(settings, ["tools"], quiet=True)
        words = Images(settings).in_builder("builder:tools", command)
        console.show_command(words, f"prints the new {lockfile.lock_path(ROOT).name}")
        return 0
    if command == "upgrade":
        base_image_pin.upgrade(settings)
    pipeline.write_lock(settings, command)
    return 0
