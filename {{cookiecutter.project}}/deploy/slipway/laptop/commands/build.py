"""Build images: make base, builder, wheels, image and check-image."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.laptop import console
from slipway.laptop.building import pipeline
from slipway.laptop.settings import load

GOALS = {
    "base": "base",
    "tools": "tools",
    "builder": "builder",
    "wheels": "wheels",
    "image": "image",
    "check-image": "check",
}


def run(command: str, arguments: Sequence[str]) -> int:
    """Build every step that is out of date, up to the command's goal and those of arguments."""
    goals = []
    for name in (command, *arguments):
        if name not in GOALS:
            raise console.Failed(f"there is no step {name!r}: use one of {', '.join(GOALS)}")
        goals.append(GOALS[name])
    settings = load.load()
    if "image" in goals and "sh " in settings["COMMAND"] and not settings["ENDS"]:
        from slipway.laptop.settings import advice  # seldom needed

        if line := advice.of_command(settings["COMMAND"]):
            console.warn(line)
    if settings["NATIVE_AUTO"] and not settings["DRY_RUN"]:
        from slipway.laptop.building import native_libraries  # slow, and seldom needed

        return native_libraries.build_and_add(settings, goals)
    if goals == ["check"]:
        return pipeline.check_now(settings)
    pipeline.make(settings, goals)
    return 0
