"""Check the run image: every C library that its wheels need is there, and every module imports.

The check runs in the image itself, hardened as on a server and without a network. Each problem is
one line with the wheel, the library, its Debian package, and the library name to add to NATIVE; a
name in NATIVE that nothing needs is one as well.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from slipway.laptop import console
from slipway.laptop.docker import engine, run_options
from slipway.laptop.paths import ROOT, SLIPWAY, make_own_folder
from slipway.shared import lockfile
from slipway.shared.native import build_errors, catalogue
from slipway.shared.native.build_errors import Diagnosis

CHECK = SLIPWAY / "image" / "check"
ALL_IS_WELL = "all libraries are there, and all modules import"
# Who the run image's programs are (run.docker).
USER = "10001:10001"
# Parts of CPython that Debian has in packages of their own.
OF_PYTHON = {"_tkinter": "apt:python3-tk", "tkinter": "apt:python3-tk", "_gdbm": "apt:python3-gdbm"}
# Errors of modules that look for a program when they are imported, and its package.
STARTED = {"Bad git executable": "apt:git"}
# Modules that Python, or a virtualenv, no longer has, and the distribution that provides them.
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


def command(
    settings: dict[str, str], image: str, names: Sequence[str] = (), source: Path = CHECK
) -> list[str]:
    """Return the command line that checks an image; names are of distributions to import.

    Only the folder of the check is mounted, at the place where Python finds it by its name.
    """
    # No volume and no option of the user's: a check leaves nothing behind and reaches nothing.
    own = {**settings, "VOLUMES": "", "RUN_OPTIONS": "", "UNHARDEN": ""}
    platform = ("--platform", settings["PLATFORM"]) if settings["PLATFORM"] else ()
    folder = "/mnt/slipway/image/check"
    return engine.command(
        settings["DOCKER"],
        *("run", "--rm", "--network", "none", "--no-healthcheck"),
        *("--security-opt", "label=disable"),
        *("--mount", f"{engine.bind(source, folder)},readonly"),
        *(*platform, *run_options.options(own), "--user", USER),
        *("--entrypoint", "/appenv/bin/python", image, "-I", folder, *names),
    )


def readable() -> Path:
    """Return the check's folder, or a copy that every account can read if only its owner can.

    A umask of 077 makes such folders, and in the image the check runs as another account.
    """
    if all(path.stat().st_mode & stat.S_IROTH for path in (CHECK, *CHECK.iterdir())):
        return CHECK
    copy = make_own_folder(ROOT / ".deploy") / "image-check"
    copy.mkdir(exist_ok=True)
    copy.chmod(0o755)
    for path in CHECK.glob("*.py"):
        target = Path(shutil.copyfile(path, copy / path.name))
        target.chmod(0o644)
    return copy


def inspect(settings: dict[str, str], image: str, names: Sequence[str]) -> dict[str, Any]:
    """Return what the check found in an image; EngineError when the image cannot be run.

    See image/check/__main__.py for the keys.
    """
    done = subprocess.run(
        command(settings, image, names, readable()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise engine.EngineError(engine.explain(settings["DOCKER"], done.stderr))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class Report:
    """The outcome of a check.

    Attributes:
        wrong: problems that the image cannot be used with.
        notes: what may be a problem, or is superfluous.
        checked: what was looked at, in words.
    """

    wrong: tuple[Diagnosis, ...]
    notes: tuple[Diagnosis, ...]
    checked: str

    @property
    def add(self) -> list[str]:
        """Library names for NATIVE that would help."""
        return list(dict.fromkeys(word for each in (*self.notes, *self.wrong) for word in each.add))

    @property
    def find(self) -> list[str]:
        """Missing files whose Debian packages would help."""
        return list(
            dict.fromkeys(name for each in (*self.notes, *self.wrong) for name in each.find)
        )

    def show(self) -> None:
        """Print notes and problems, or that there are no problems."""
        for note in self.notes:
            console.say(f"check: note: {note.message}")
        for problem in self.wrong:
            console.warn(f"check: {problem.message}")
        if not self.wrong:
            notes = len(self.notes)
            outcome = ALL_IS_WELL
            if notes:
                outcome = f"no problem, and {notes} note{'s' if notes > 1 else ''}, see above"
            console.say(f"check: {self.checked}: {outcome}")


class Judge:
    """Turns what was found in the image into diagnoses."""

    def __init__(
        self, found: dict[str, Any], words: list[str], wheels: Path, names: list[str]
    ) -> None:
        """Keep the findings, NATIVE, the wheelhouse, and the distributions of the lock."""
        self.found = found
        self.words = words
        self.names = names
        self.wheels = {
            lockfile.normalize(path.name.split("-")[0]): path.name
            for path in wheels.glob("*/*.whl")
        }
        self.stems = {catalogue.stem_of(name) for name in (*found["there"], *found["provided"])}

    def wheel(self, name: str) -> str:
        """Return the file name of a distribution's wheel."""
        return self.wheels.get(lockfile.normalize(name), name)

    def ask_for(self, name: str, words: Iterable[str], evidence: str) -> Diagnosis:
        """Return the diagnosis that a distribution needs libraries in NATIVE."""
        listed = list(words)
        return Diagnosis(
            build_errors.ask_for(self.wheel(name), listed, evidence), add=tuple(listed)
        )

    def unlinked(self) -> dict[str, list[Diagnosis]]:
        """Return which libraries are required and missing, by distribution."""
        return {
            name: self.about(name, list(dict.fromkeys(file for file, _ in missed)))
            for name, missed in self.found["missing"].items()
        }

    def about(self, name: str, files: list[str]) -> list[Diagnosis]:
        """Return what to do about libraries that a wheel requires, as one diagnosis if possible."""
        known: dict[str, str] = {}
        lines = []
        for file in files:
            library = catalogue.catalogue().by_file(file)
            stem = catalogue.stem_of(file)
            there = [each for each in self.found["there"] if catalogue.stem_of(each) == stem]
            if library is None:
                message = (
                    f"{self.wheel(name)} needs {file}, which the catalogue does not know: find its"
                    f" Debian package with: make native FIND={file}"
                )
                lines.append(Diagnosis(message, find=(file,)))
            elif there:
                message = (
                    f"{self.wheel(name)} needs {file}, but this Debian release has {there[-1]}: the"
                    " wheel was made for another release. Write --no-binary"
                    f" {lockfile.normalize(name)} into requirements.in, then run: make lock image"
                )
                lines.append(Diagnosis(message))
            else:
                evidence = f"{file} of {packages_of(library, file)}"
                known[library.name] = (
                    f"{known[library.name]}, {evidence}" if library.name in known else evidence
                )
        if known:
            evidence = f"not in the image: {', '.join(known.values())}"
            lines.append(self.ask_for(name, known, evidence))
        return lines

    def unloaded(self) -> dict[str, list[Diagnosis]]:
        """Return which libraries are known to be loaded when the program runs, and are missing."""
        lines: dict[str, list[Diagnosis]] = {}
        for library, name in catalogue.loaded(set(self.names)):
            if not self.stems.intersection(library.libraries):
                file = f"lib{library.libraries[0]}.so"
                where = packages_of(library, file)
                evidence = f"loaded when it runs and not in the image: {file} of {where}"
                lines[name] = [self.ask_for(name, [library.name], evidence)]
        return lines

    def named(self, name: str) -> dict[str, str]:
        """Return name and file of the libraries that sources load and the image lacks."""
        found: dict[str, str] = {}
        for group in self.found.get("loads", {}).get(name, ()):
            if self.stems.isdisjoint(map(catalogue.stem_of, group)):
                for each in group:
                    library = catalogue.catalogue().by_file(each)
                    if library is not None:
                        found.setdefault(library.name, each)
                        break
        return found

    def optional(self, explained: AbstractSet[str]) -> list[Diagnosis]:
        """Return which libraries sources load by name although no import required them.

        A package that loads one library is likely to be useless without it. Of several libraries,
        many are not used.
        """
        lines = []
        for name in self.names:
            found = {} if name in explained else self.named(name)
            listed = ", ".join(found.values())
            if len(found) == 1:
                evidence = f"its sources load {listed}, which is not in the image"
                lines.append(self.ask_for(name, found, evidence))
            elif found:
                message = (
                    f"{self.wheel(name)} may load {listed} when it runs, which the image does not"
                    f" have: add those of {' '.join(found)} to NATIVE in deploy/settings.mk that"
                    " the application uses"
                )
                lines.append(Diagnosis(message))
        return lines

    def unneeded(self) -> list[Diagnosis]:
        """Return which library names in NATIVE nothing needs."""
        loaded = (each for groups in self.found.get("loads", {}).values() for each in groups)
        used = {
            catalogue.stem_of(name)
            for name in (*self.found["used"], *self.found["interpreter"], *chain(*loaded))
        }
        lines = []
        for word in self.words:
            library = (
                None if catalogue.APT_NAME.fullmatch(word) else catalogue.catalogue().find(word)
            )
            if library is None or not library.libraries or not catalogue.packages([word], "run"):
                continue
            if used.intersection(library.libraries) or {*self.names}.intersection(library.loads):
                continue
            message = f"nothing in the image needs {word}: you may remove it from NATIVE"
            lines.append(Diagnosis(message))
        return lines

    def unimported(self, explained: AbstractSet[str]) -> tuple[list[Diagnosis], list[Diagnosis]]:
        """Return which modules cannot be imported: problems to fix, and what may be intended.

        explained are the distributions that have a diagnosis already.
        """
        wrong: list[Diagnosis] = []
        notes: list[Diagnosis] = []
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
                    message = (
                        f"{line}: the wheel was made for another Python than this image's; require"
                        f" another version of {name}, or set another BASE_IMAGE or PYTHON in"
                        " deploy/settings.mk"
                    )
                    wrong.append(Diagnosis(message))
                elif problem["kind"] in ("crash", "OSError", "ImportError"):
                    wrong.append(Diagnosis(line))
                elif problem["lacks"] in GONE:
                    brings = GONE[problem["lacks"]]
                    message = f"{line}: add {brings} to the requirements, or a newer {name}"
                    wrong.append(Diagnosis(message))
                else:
                    notes.append(Diagnosis(line))
        return wrong, notes

    @staticmethod
    def said_of(said: str, named: dict[str, str]) -> list[str]:
        """Return those libraries named in sources that an error mentions, or one of them."""
        lower = said.lower()
        return [w for w, file in named.items() if catalogue.stem_of(file).lower() in lower] or [
            *named
        ][:1]

    def import_answer(self, name: str, problem: dict[str, Any]) -> Diagnosis | None:
        """Return the diagnosis with the library name to add; None when it is not known."""
        if problem.get("lacks") in OF_PYTHON:
            word = OF_PYTHON[problem["lacks"]]
            return self.ask_for(name, [word], f"no module {problem['lacks']}")
        for text, word in STARTED.items():
            if text in str(problem["said"]) and word not in self.words:
                return self.ask_for(name, [word], f"{text} in the image")
        said = str(problem["said"][0]).partition("\n")[0]
        by_name = [] if problem.get("lacks") else self.said_of(said, self.named(name))
        if problem["kind"] not in ("OSError", "ImportError"):
            return self.ask_for(name, by_name, said) if by_name else None
        found, unknown = build_errors.answers(
            "", [str(said) for said in problem["said"]], here=False
        )
        new = catalogue.unlike([answer.word for answer in found], self.words)
        if new or by_name:
            return self.ask_for(name, new or by_name, said)
        files = [each.name for each in unknown if ".so" in each.name]
        if files and files[0] not in self.found["provided"]:
            return self.about(name, files[:1])[0]
        return None


def packages_of(library: catalogue.Library, file: str) -> str:
    """Return the Debian packages of a library that have one of its files, as a phrase."""
    stem = catalogue.stem_of(file)
    likely = [
        each
        for each in library.run
        if catalogue.plainly(each.split("|")[0]) == catalogue.plainly(stem)
    ]
    names = ", ".join(each.replace("|", " or ") for each in likely or library.run or library.build)
    return f"Debian's {names}"


def check(settings: dict[str, str], image: str = "") -> Report:
    """Check an image, the project's run image by default; Failed when that is not possible."""
    wheelhouse = ROOT / settings["WHEELHOUSE"]
    listing = wheelhouse / "deps" / "requirements.txt"
    if not listing.is_file():
        raise console.Failed("there is no image yet: run make image")
    names = [pin.name for pin in lockfile.pins(lockfile.read(listing))]
    try:
        found = inspect(settings, image or f"{settings['IMAGES']}-run", names)
    except engine.EngineError as problem:
        raise engine.EngineError(f"the image cannot be checked: {problem}") from None
    judge = Judge(found, settings["NATIVE"].split(), wheelhouse, names)
    lacking = {**judge.unlinked(), **judge.unloaded()}
    explained = {lockfile.normalize(name) for name in lacking}
    unimported, notes = judge.unimported(explained)
    notes += judge.optional(explained | set(found["problems"]))
    wrong = [each for listed in lacking.values() for each in listed] + unimported
    return Report(
        tuple(wrong),
        (*judge.unneeded(), *notes),
        f"{len(names)} dependencies, {found['files']} compiled files",
    )
