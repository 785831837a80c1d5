#!/usr/bin/env python3
"""Keep NATIVE in settings.mk: the C libraries that the application's packages need.

words.py add WORD…     add words to it
words.py find NAME…    name the Debian package of a header, pkg-config module, program, library
words.py loaded        say what the lock's packages load when they run, and NATIVE does not have
words.py auto [GOAL]   make GOAL (image), and add what it lacks, until it is made
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

from slipway.laptop.console import die
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.laptop.settings import edit, rules
from slipway.laptop.settings import load as settings_module
from slipway.shared import lockfile
from slipway.shared.native import build_errors as missing
from slipway.shared.native import catalogue as native

SETTINGS = DEPLOY / "settings.mk"
ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?NATIVE[ \t]*(?:::?=|\?=|\+=|=)")


def with_words(text: str, words: Sequence[str]) -> str:
    """Give settings.mk's text with words added to NATIVE, and nothing else changed."""
    added = " ".join(words)
    lines = text.splitlines()
    numbers = [number for number, line in enumerate(lines) if ASSIGNMENT.match(line)]
    if not numbers:
        return f"{text.rstrip()}\n\nNATIVE := {added}\n".lstrip()
    last = numbers[-1]
    if lines[last].endswith("\\") or "$" in lines[last]:
        while lines[last].endswith("\\") and last + 1 < len(lines):
            last += 1
        lines.insert(last + 1, f"NATIVE += {added}")
    else:
        value, sign, comment = lines[last].partition("#")
        lines[last] = f"{value.rstrip()} {added}" + (f" {sign}{comment}" if sign else "")
    return "\n".join(lines) + "\n"


def add(words: Iterable[str], present: Sequence[str]) -> list[str]:
    """Write those words to settings.mk that say something new; gives them.

    UnknownName when one is neither in the catalogue nor a Debian package.
    """
    asked = list(words)
    for word in asked:
        native.check(word, native.catalogue())
    new = native.unlike(asked, present)
    if new:
        edit.write(SETTINGS, with_words(SETTINGS.read_text(encoding="utf-8"), new))
    return new


def tell(message: str) -> None:
    """Say one line."""
    print(f"words.py: {message}", flush=True)


def patterns_for(name: str) -> list[str]:
    """Give extended regular expressions for the paths of files that go by a name."""
    plain = re.escape(name)
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
    """Choose of lines `path section/package,…` the package to name; empty when there are none.

    The file that lies nearest to where everybody looks, and of packages the plainest.
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
    """Name the Debian package that has a file of that name, in this project's release.

    Asked in the image with the tools, of the release's own lists of contents; empty when none has.
    """
    subprocess.run(
        [str(DEPLOY / "build.sh"), "tools"],
        env={**os.environ, "QUIET": "1", "NATIVE_AUTO": ""},
        check=True,
        pass_fds=held(os.environ),
    )
    image = f"{settings['IMAGES']}-builder:tools"
    cache = os.environ.get("DEPLOY_CACHE") or "wheelhouse-cache"
    place = str(DEPLOY).replace('"', '""')
    words = ["run", "--rm", "--user", "0:0", "--security-opt", "label=disable"]
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        words += ["--env", proxy] if os.environ.get(proxy) else []
    words += ["--mount", f'type=bind,"source={place}",target=/mnt,readonly']
    words += ["--mount", f"type=volume,source={cache},target=/cache", "--entrypoint", "sh", image]
    for pattern in patterns_for(name):
        package = best_package(
            engine.ask(settings["DOCKER"], *words, "/mnt/apt.sh", "find", pattern)
        )
        if package:
            return package
    return ""


def loaded(settings: dict[str, str]) -> list[str]:
    """Say what the lock's packages load when they run, and NATIVE does not have.

    Only the image shows whether a wheel brings it along; see check.py.
    """
    path = lockfile.lock_path(ROOT)
    names = {pin.name for pin in lockfile.pins(lockfile.read(path))} if path.is_file() else set()
    lines = []
    for library in native.catalogue().libraries:
        for name in sorted(names.intersection(library.loads)):
            if native.unlike([library.name], settings["NATIVE"].split()):
                lines.append(
                    f"{name} loads {library.name} when it runs: unless its wheel brings it along,"
                    f" run: make native ADD={library.name}"
                )
    return lines


def held(environment: Mapping[str, str]) -> tuple[int, ...]:
    """Give the file that holds the project's lock, which what is started has to have open too."""
    lock = environment.get("DEPLOY_LOCK")
    return (int(lock),) if lock else ()


def run(goals: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    """Make goals, showing what is said; gives the status and what was said."""
    process = subprocess.Popen(
        [str(DEPLOY / "build.sh"), *goals],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=held(environment),
    )
    said = []
    for line in process.stdout or ():
        said.append(line)
        print(line, end="", flush=True)
    return process.wait(), "".join(said)


def auto(goals: Sequence[str]) -> int:
    """Make goals, adding to NATIVE what it lacks until they are made; gives the exit status."""
    settings = settings_module.load()
    words = settings["NATIVE"].split()
    environment = {**os.environ, **settings, "NATIVE_AUTO": ""}
    environment["DEPLOY_OVERRIDES"] = " ".join((*rules.DEFAULTS, "IMAGE_PORT"))
    every: list[str] = []
    while True:
        status, said = run(goals, {**environment, "NATIVE": " ".join(words)})
        if status == 0:  # what an image may do without is no failure
            said = "".join(line for line in said.splitlines(True) if line.startswith("check: "))
        wanted = missing.words_in(said)
        for name in missing.searched_in(said):
            package = find(name, settings)
            wanted += [f"apt:{package}"] if package else []
        new = add(wanted, words)
        if not new:
            if every and status == 0:
                tell(f"added to NATIVE in deploy/settings.mk: {' '.join(every)}")
            return status
        tell(f"adds {' '.join(new)} to NATIVE in deploy/settings.mk, and tries again")
        words += new
        every += new


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; gives the exit status."""
    job, *rest = arguments or ["auto"]
    try:
        if job == "auto":
            return auto(rest or ["image"])
        settings = settings_module.load()
        if job == "add":
            new = add(rest, settings["NATIVE"].split())
            tell(f"added {' '.join(new)}: make image" if new else "NATIVE has that already")
        elif job == "find":
            for name in rest:
                package = find(name, settings)
                if not package:
                    die(f"no package of this release has {name}: is it spelled as it was missed?")
                tell(f"{name} is in {package}: make native ADD=apt:{package}")
        elif job == "loaded":
            for line in loaded(settings):
                tell(line)
        else:
            die(f"there is no job {job}: use add, find, loaded or auto")
    except (native.UnknownName, engine.EngineError, subprocess.CalledProcessError) as problem:
        die(str(problem).replace("NATIVE in deploy/settings.mk names", "you named"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
