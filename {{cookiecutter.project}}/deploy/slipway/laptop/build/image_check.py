#!/usr/bin/env python3
"""Check the run image: every C library that its wheels ask for is there, and every module imports.

    check.py [IMAGE]    IMAGE is another one than this project's, without the application

Runs in the image itself, hardened as on a server and without a network. What is missing is said in
one line each, with the wheel, the library, its package, and the word to add to NATIVE; so is a word
in NATIVE that nothing needs. Status 1 when something is missing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path
from typing import Any

from slipway.laptop.console import die
from slipway.laptop.docker import engine
from slipway.laptop.docker import run_options as container
from slipway.laptop.paths import ROOT, SLIPWAY
from slipway.laptop.settings import load as settings_module
from slipway.shared import lockfile
from slipway.shared.native import build_errors as missing
from slipway.shared.native import catalogue as native

# Who the run image's programs are (run.docker).
USER = "10001:10001"
# Parts of CPython that Debian has in packages of their own.
OF_PYTHON = {"_tkinter": "apt:python3-tk", "tkinter": "apt:python3-tk", "_gdbm": "apt:python3-gdbm"}
# What modules say that look for a program or a file when they are imported, and its package.
STARTED = {
    "Bad git executable": "apt:git",
    "invalid argument: 'file || path'": "apt:ca-certificates",  # pygit2's word for it
}
# What Python had, or a virtualenv, and has no more, and the distribution that brings it.
GONE = {
    "pkg_resources": "setuptools<81",
    "distutils": "setuptools",
    "imp": "zombie-imp",
    "audioop": "audioop-lts",
    "cgi": "legacy-cgi",
    **{
        name: f"standard-{name}"
        for name in (
            *("asyncore", "asynchat", "smtpd", "aifc", "chunk", "crypt", "imghdr", "mailcap"),
            *("nntplib", "pipes", "sndhdr", "sunau", "telnetlib", "uu", "xdrlib"),
        )
    },
}


def ask(settings: dict[str, str], image: str, names: list[str]) -> dict[str, Any]:
    """Return what an image says of itself; EngineError when it cannot be run.

    Only the folder of the check is mounted, at the place where Python finds it by its name.
    """
    # no volume and no option of the user's: a check leaves nothing behind and reaches nothing
    hardened = container.options({**settings, "VOLUMES": "", "RUN_OPTIONS": "", "UNHARDEN": ""})
    platform = ("--platform", settings["PLATFORM"]) if settings["PLATFORM"] else ()
    folder = "/mnt/slipway/image/check"
    command = engine.command(
        settings["DOCKER"],
        *("run", "--rm", "--network", "none", "--no-healthcheck"),
        *("--security-opt", "label=disable"),
        *("--mount", f"{engine.bind(SLIPWAY / 'image' / 'check', folder)},readonly"),
        *(*platform, *hardened, "--user", USER, "--entrypoint", "/appenv/bin/python"),
        *(image, "-I", folder, *names),
    )
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise engine.EngineError(engine.explain(settings["DOCKER"], done.stderr))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Judge:
    """Turns what was found in the image into lines."""

    def __init__(
        self, found: dict[str, Any], words: list[str], wheels: Path, names: list[str]
    ) -> None:
        """Take what was found, NATIVE, the wheelhouse, and the distributions of the lock."""
        self.found = found
        self.words = words
        self.names = names
        self.wheels = {
            lockfile.normalize(path.name.split("-")[0]): path.name
            for path in wheels.glob("*/*.whl")
        }
        self.stems = {native.stem_of(name) for name in (*found["there"], *found["provided"])}

    def wheel(self, name: str) -> str:
        """Give the file name of a distribution's wheel."""
        return self.wheels.get(lockfile.normalize(name), name)

    def unlinked(self) -> dict[str, list[str]]:
        """Say which libraries are asked for and not there, by distribution."""
        return {
            name: self.about(name, list(dict.fromkeys(file for file, _ in missed)))
            for name, missed in self.found["missing"].items()
        }

    def about(self, name: str, files: list[str]) -> list[str]:
        """Say what to do about libraries that a wheel asks for, in one line when all have words."""
        known: dict[str, str] = {}
        lines = []
        for file in files:
            library = native.catalogue().by_file(file)
            stem = native.stem_of(file)
            there = [each for each in self.found["there"] if native.stem_of(each) == stem]
            if library is None:
                lines.append(
                    f"{self.wheel(name)} needs {file}, which the catalogue does not know: find its"
                    f" Debian package with: make native FIND={file}"
                )
            elif there:
                lines.append(
                    f"{self.wheel(name)} needs {file}, and this release has {there[-1]}: it was"
                    f" made for another one; write --no-binary {lockfile.normalize(name)} into"
                    " requirements.in, then run: make lock image"
                )
            else:
                evidence = f"{file} of {packages_of(library, file)}"
                known[library.name] = (
                    f"{known[library.name]}, {evidence}" if library.name in known else evidence
                )
        if known:
            evidence = f"not in the image: {', '.join(known.values())}"
            lines.append(missing.ask_for(self.wheel(name), list(known), evidence))
        return lines

    def unloaded(self) -> dict[str, list[str]]:
        """Say which libraries are known to be loaded when the program runs, and are not there."""
        lines: dict[str, list[str]] = {}
        for library in native.catalogue().libraries:
            for name in set(self.names).intersection(library.loads):
                if self.stems.intersection(library.libraries):
                    continue
                if name == "psycopg" and {"psycopg-binary", "psycopg-c"}.intersection(self.names):
                    continue
                file = f"lib{library.libraries[0]}.so"
                where = packages_of(library, file)
                evidence = f"loaded when it runs and not in the image: {file} of {where}"
                lines[name] = [missing.ask_for(self.wheel(name), [library.name], evidence)]
        return lines

    def named(self, name: str) -> dict[str, str]:
        """Give what a distribution's sources load by name and the image lacks: word, and file."""
        found: dict[str, str] = {}
        for group in self.found.get("loads", {}).get(name, ()):
            if self.stems.isdisjoint(map(native.stem_of, group)):
                for each in group:
                    library = native.catalogue().by_file(each)
                    if library is not None:
                        found.setdefault(library.name, each)
                        break
        return found

    def optional(self, explained: AbstractSet[str]) -> list[str]:
        """Say which libraries sources load by name and an import did not ask for.

        Whoever loads one alone is likely to be of no use without it; of several, many are not used.
        """
        lines = []
        for name in self.names:
            found = {} if name in explained else self.named(name)
            listed = ", ".join(found.values())
            if len(found) == 1:
                evidence = f"its sources load {listed}, which is not in the image"
                lines.append(missing.ask_for(self.wheel(name), list(found), evidence))
            elif found:
                lines.append(
                    f"{self.wheel(name)} may load {listed} when it runs, which the image does not"
                    f" have: add those of {' '.join(found)} to NATIVE in deploy/settings.mk that"
                    " it is to use"
                )
        return lines

    def unneeded(self) -> list[str]:
        """Say which words of NATIVE nothing needs."""
        loaded = (each for groups in self.found.get("loads", {}).values() for each in groups)
        used = {
            native.stem_of(name)
            for name in (*self.found["used"], *self.found["interpreter"], *chain(*loaded))
        }
        lines = []
        for word in self.words:
            library = None if native.APT_NAME.fullmatch(word) else native.catalogue().find(word)
            if library is None or not library.libraries or not native.packages([word], "run"):
                continue
            if used.intersection(library.libraries) or {*self.names}.intersection(library.loads):
                continue
            lines.append(f"{word} in NATIVE is needed by nothing in the image: you may remove it")
        return lines

    def unimported(self, explained: AbstractSet[str]) -> tuple[list[str], list[str]]:
        """Say which modules could not be imported: what must be mended, and what may be meant.

        Left out are the distributions of which it is said already what they lack.
        """
        wrong, notes = [], []
        for name, problems in self.found["problems"].items():
            if name in explained:
                continue
            for problem in problems:
                said = str(problem["said"][0])
                line = f"{self.wheel(name)}: {problem['module']} cannot be imported: {said}"
                line = " ".join(line.split())
                answer = self.import_answer(name, problem)
                if answer:
                    wrong.append(answer)
                elif re.search(r"undefined symbol: _?Py", said):
                    wrong.append(
                        f"{line}: it was made for another Python than this image's; ask for another"
                        f" version of {name}, or take another BASE_IMAGE or PYTHON in"
                        " deploy/settings.mk"
                    )
                elif problem["kind"] in ("crash", "OSError", "ImportError"):
                    wrong.append(line)
                elif problem["lacks"] in GONE:
                    brings = GONE[problem["lacks"]]
                    wrong.append(f"{line}: add {brings} to the requirements, or a newer {name}")
                else:
                    notes.append(line)
        return wrong, notes

    @staticmethod
    def said_of(said: str, named: dict[str, str]) -> list[str]:
        """Choose of the libraries that sources name those that an error mentions, or one."""
        lower = said.lower()
        return [w for w, file in named.items() if native.stem_of(file).lower() in lower] or [
            *named
        ][:1]

    def import_answer(self, name: str, problem: dict[str, Any]) -> str:
        """Give the line that says which word to add; empty when nobody knows."""
        if problem.get("lacks") in OF_PYTHON:
            word = OF_PYTHON[problem["lacks"]]
            return missing.ask_for(self.wheel(name), [word], f"no module {problem['lacks']}")
        for text, word in STARTED.items():
            if text in str(problem["said"]) and word not in self.words:
                return missing.ask_for(self.wheel(name), [word], f"{text} in the image")
        said = str(problem["said"][0]).partition("\n")[0]
        by_name = [] if problem.get("lacks") else self.said_of(said, self.named(name))
        if problem["kind"] not in ("OSError", "ImportError"):
            return missing.ask_for(self.wheel(name), by_name, said) if by_name else ""
        found, unknown = missing.answers("", [str(said) for said in problem["said"]], here=False)
        new = native.unlike([answer.word for answer in found], self.words)
        if new or by_name:
            return missing.ask_for(self.wheel(name), new or by_name, said)
        files = [each.name for each in unknown if ".so" in each.name]
        if files and files[0] not in self.found["provided"]:
            return self.about(name, files[:1])[0]
        return ""


def packages_of(library: native.Library, file: str) -> str:
    """Name the Debian packages of a library that have one of its files."""
    stem = native.stem_of(file)
    likely = [
        each for each in library.run if native.plainly(each.split("|")[0]) == native.plainly(stem)
    ]
    names = ", ".join(each.replace("|", " or ") for each in likely or library.run or library.build)
    return f"Debian's {names}"


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; gives the exit status."""
    settings = settings_module.load()
    wheelhouse = ROOT / settings["WHEELHOUSE"]
    listing = wheelhouse / "deps" / "requirements.txt"
    if not listing.is_file():
        die("there is no image yet: run make image")
    names = [pin.name for pin in lockfile.pins(lockfile.read(listing))]
    try:
        image = arguments[0] if arguments else f"{settings['IMAGES']}-run"
        found = ask(settings, image, names)
    except engine.EngineError as problem:
        die(f"the image cannot be checked: {problem}")
    judge = Judge(found, settings["NATIVE"].split(), wheelhouse, names)
    lacking = {**judge.unlinked(), **judge.unloaded()}
    explained = {lockfile.normalize(name) for name in lacking}
    unimported, notes = judge.unimported(explained)
    notes += judge.optional(explained | set(found["problems"]))
    wrong = [line for lines in lacking.values() for line in lines] + unimported
    for line in (*judge.unneeded(), *notes):
        print(f"check: {line}", flush=True)
    for line in wrong:
        print(f"check: {line}", file=sys.stderr)
    if not wrong:
        print(
            f"check: {len(names)} dependencies, {found['files']} compiled files:"
            " all libraries are there, and all modules import"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
