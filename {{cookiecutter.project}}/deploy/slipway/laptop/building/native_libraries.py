"""NATIVE in settings.mk: add library names, look up packages, build until none is missing."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence

from slipway.laptop import console
from slipway.laptop.building import images, pipeline
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY
from slipway.laptop.settings import edit
from slipway.shared.native import catalogue

SETTINGS = DEPLOY / "settings.mk"


def add(names: Iterable[str], present: Sequence[str]) -> list[str]:
    """Write those library names to settings.mk that are new; return them.

    Raises UnknownName when one is neither in the catalogue nor a Debian package.
    """
    asked = list(names)
    for name in asked:
        catalogue.check(name, catalogue.catalogue())
    new = catalogue.unlike(asked, present)
    if new:
        edit.write(SETTINGS, edit.with_libraries(SETTINGS.read_text(encoding="utf-8"), new))
    return new


def patterns_for(name: str) -> list[str]:
    """Return extended regular expressions for the paths of files with a name."""
    plain = re.escape(name)
    if name.startswith("/"):
        return [re.escape(name[1:])]
    if name.startswith("bin/"):
        return [f"usr/{plain}", f"usr/s{plain}"]
    if re.search(r"\.(h|hh|hpp|hxx)$", name):
        return [rf"usr/include/([^ ]*/)?{plain}"]
    if ".so" in name:
        return [rf"(usr/)?lib/([^ ]*/)?{plain}"]
    cmake = rf"{plain}Config|{plain.lower()}-config"
    return [
        rf"usr/(lib|share)/([^ ]*/)?pkgconfig/({plain}|{plain.lower()})\.pc",
        rf"usr/(lib|share)/([^ ]*/)?({cmake})\.cmake",
        rf"usr/s?bin/{plain}",
        rf"usr/lib/([^ ]*/)?(lib)?{plain}\.(so|a)",
    ]


def best_package(listing: str) -> str:
    """Return the best package of lines `path section/package,…`; empty when there are none.

    That is the package with the file nearest to the usual place, and the shortest name.
    """
    found = []
    for line in listing.splitlines():
        path, _, owners = line.strip().rpartition(" ")
        for owner in owners.split(","):
            package = owner.rpartition("/")[2]
            cross = bool(re.search(r"-cross$|-(dbg|dbgsym)$|mingw|-doc$", package))
            found.append((cross, path.count("/"), len(package), package))
    return min(found)[-1] if found else ""


def find(name: str, settings: dict[str, str]) -> str:
    """Return the Debian package that has a file of that name, in this project's release.

    The image with the tools reads the release's own lists of contents; empty when none has it.
    """
    pipeline.make(settings, ["tools"], quiet=True)
    for pattern in patterns_for(name):
        command = images.Images(settings).find_file(pattern)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise engine.EngineError(engine.explain(settings["DOCKER"], done.stderr))
        package = best_package(done.stdout)
        if package:
            return package
    return ""


def build_and_add(settings: dict[str, str], goals: Sequence[str]) -> int:
    """Build goals, adding to NATIVE whatever the builds miss until they succeed.

    Return the exit status: the one of the last build.
    """
    every: list[str] = []
    while True:
        problem: console.Failed | None = None
        try:
            advice = pipeline.make(settings, goals)
            wanted, files = list(advice.add), advice.find
        except pipeline.BuildFailed as failure:
            wanted, files, problem = list(failure.add), failure.find, failure
        for name in files:
            package = find(name, settings)
            wanted += [f"apt:{package}"] if package else []
        new = add(wanted, settings["NATIVE"].split())
        if not new:
            if problem is not None:
                raise problem
            if every:
                console.say(f"added to NATIVE in deploy/settings.mk: {' '.join(every)}")
            return 0
        if problem is not None:
            console.warn(str(problem))
        console.say(f"adding {' '.join(new)} to NATIVE in deploy/settings.mk, and trying again")
        settings = {**settings, "NATIVE": " ".join([*settings["NATIVE"].split(), *new])}
        every += new


def word_list(name: str) -> list[str]:
    """Return the words of a variable of make's command line, such as ADD."""
    return os.environ.get(name, "").split()
