"""Write the lock: make lock and make upgrade."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.laptop.building import base_image_pin, pipeline
from slipway.laptop.building.images import Images
from slipway.laptop.settings import load


def run(command: str, arguments: Sequence[str]) -> int:
    """Make a lock in the builder; `upgrade` moves the pins, and `lock` keeps them."""
    settings = load.load()
    load.require(settings, "PYTHON")
    if settings["DRY_RUN"]:
        pipeline.make(settings, ["tools"], quiet=True)
        pipeline.show_builder(Images(settings), "builder:tools", command)
        return 0
    if command == "upgrade":
        base_image_pin.upgrade(settings)
    pipeline.write_lock(settings, command)
    return 0
