"""Keep NATIVE in settings.mk: make native, with ADD=… or FIND=…."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.laptop import console
from slipway.laptop.building import native_libraries
from slipway.laptop.settings import load
from slipway.shared.native import catalogue


def run(command: str, arguments: Sequence[str]) -> int:
    """Add library names, look up packages, or build the image and add whatever it misses."""
    settings = load.load()
    added, looked_up = native_libraries.word_list("ADD"), native_libraries.word_list("FIND")
    if settings["DRY_RUN"]:
        for name in added or looked_up or ["what the build of the image misses"]:
            print(f"# NATIVE in deploy/settings.mk would get: {name}")
        return 0
    if added:
        try:
            new = native_libraries.add(added, settings["NATIVE"].split())
        except catalogue.UnknownName as problem:
            message = str(problem).replace("NATIVE in deploy/settings.mk names", "ADD names")
            raise console.Failed(message) from None
        if new:
            console.say(f"added {' '.join(new)} to NATIVE. Next: make image")
        else:
            console.say("NATIVE has these libraries already")
        return 0
    if looked_up:
        for name in looked_up:
            package = native_libraries.find(name, settings)
            if not package:
                raise console.Failed(
                    f"no package of this Debian release has {name}: check its spelling in the"
                    " build's output"
                )
            console.say(f"{name} is in {package}. To add it: make native ADD=apt:{package}")
        return 0
    return native_libraries.build_and_add(settings, ["image"])
