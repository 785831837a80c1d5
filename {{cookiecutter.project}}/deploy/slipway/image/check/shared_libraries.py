"""Find shared libraries that installed wheels require and that are missing in the run image.

The modules follow the rules of the dynamic linker, ld.so(8), but read the files and load nothing.
They run inside the run image, so that its libraries count, not those of the builder.
"""

from __future__ import annotations

import glob
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from slipway.image.check import elf

# Files with these names are not ELF files. They are the majority of a wheel.
TEXT = (
    ".py",
    ".pyc",
    ".pyi",
    ".txt",
    ".md",
    ".rst",
    ".json",
    ".h",
    ".html",
    ".js",
    ".css",
    ".typed",
    ".pxd",
    ".pyx",
)
USUAL = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")


def configured(path: str = "/etc/ld.so.conf") -> Iterator[str]:
    """Return the folders that ld.so.conf, and the files that it includes, list."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                for each in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
                    yield from configured(each)
        else:
            yield from words


class System:
    """The libraries of the file system, as the dynamic linker finds them."""

    def __init__(self) -> None:
        """Find the folders; their files are read when they are needed."""
        places = (*configured(), *USUAL)
        self.folders = [place for place in dict.fromkeys(places) if os.path.isdir(place)]
        self._read: dict[str, elf.Elf | None] = {}
        self._found: dict[tuple[str, tuple[int, int, int], tuple[str, ...]], str] = {}

    def read(self, path: str) -> elf.Elf | None:
        """Read a file, only once even if several links lead to it."""
        path = os.path.realpath(path)
        if path not in self._read:
            self._read[path] = elf.read(Path(path))
        return self._read[path]

    def find(self, name: str, kind: tuple[int, int, int], folders: tuple[str, ...]) -> str:
        """Return the path of a library of this kind; empty if there is none."""
        key = (name, kind, folders)
        if key not in self._found:
            self._found[key] = self._look_for(*key)
        return self._found[key]

    def _look_for(self, name: str, kind: tuple[int, int, int], folders: Iterable[str]) -> str:
        places = [name] if "/" in name else [os.path.join(each, name) for each in folders]
        for place in places:
            if os.path.exists(place):
                found = self.read(place)
                if found is not None and found.kind == kind:
                    return place
        return ""

    def names(self) -> list[str]:
        """Return the names of all libraries in the usual folders."""
        return sorted(
            {name for folder in self.folders for name in os.listdir(folder) if ".so" in name}
        )


def searched(
    path: str, found: elf.Elf, inherited: tuple[str, ...]
) -> tuple[list[str], tuple[str, ...]]:
    """Return the folders searched first for a file's libraries, and those they inherit."""
    origin = os.path.dirname(os.path.realpath(path))

    def expand(folders: Iterable[str]) -> tuple[str, ...]:
        return tuple(
            each.replace("${ORIGIN}", origin).replace("$ORIGIN", origin).replace("$LIB", "lib")
            for each in folders
        )

    if found.runpath:
        return [*expand(found.runpath)], inherited
    passed_on = tuple(dict.fromkeys((*expand(found.rpath), *inherited)))
    return [*passed_on], passed_on


class Check:
    """Follows the requirements of the wheels' files from library to library."""

    def __init__(self, system: System, provided: set[str], deep: bool = False) -> None:
        """Remember the libraries that the wheels provide: an import may load them before.

        With deep, libraries that other libraries of the system require count as used too.
        """
        self.deep = deep
        self.system = system
        self.provided = provided
        self.used: set[str] = set()

    def missing(self, path: str) -> list[str]:
        """Return the missing libraries that a file requires, itself or through other libraries.

        The order is breadth first, as in the dynamic linker, which does not search for a loaded
        library again. So a library without a search path may rely on those loaded before it.
        """
        missing = []
        loaded: set[str] = set()
        waiting: list[tuple[str, tuple[str, ...], bool]] = [(path, (), True)]
        for place, inherited, direct in waiting:
            found = self.system.read(place)
            if found is None:
                continue
            first, passed_on = searched(place, found, inherited)
            for name in found.needed:
                ours = name in self.provided
                if (direct or self.deep) and not ours:
                    self.used.add(name)
                if name in loaded:
                    continue
                loaded.add(name)
                library = self.system.find(name, found.kind, (*first, *self.system.folders))
                if library:
                    asked = self.system.read(library)
                    loaded.add(asked.soname if asked else name)
                    waiting.append((library, passed_on, ours))
                elif not ours:
                    missing.append(name)
        return missing


def elf_files(folder: str, files: Iterable[str]) -> list[str]:
    """Return the paths of those files below a folder that are ELF files."""
    found = []
    for name in files:
        if name.endswith(TEXT):
            continue
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as file:
                if file.read(4) == elf.MAGIC:
                    found.append(path)
        except OSError:
            continue
    return found


def of_interpreter() -> Iterator[str]:
    """Return the ELF files of the interpreter itself."""
    yield os.path.realpath(sys.executable)
    top = sysconfig.get_path("platstdlib", vars={"platbase": sys.base_prefix}) or ""
    for folder in {
        top,
        os.path.dirname(os.path.realpath(sys.executable)),
        os.path.dirname(os.__file__),
    }:
        for place, folders, files in os.walk(folder):
            folders[:] = [
                name for name in folders if name not in ("site-packages", "dist-packages", "test")
            ]
            yield from (os.path.join(place, name) for name in files if ".so" in name)


def report(distributions: dict[str, list[str]], site_packages: str) -> dict[str, Any]:
    """Compare what the files of all distributions require with what the system has.

    Returns:
        missing: by distribution, pairs of a missing library and the file that requires it.
        used: names of libraries outside the wheels that their files require directly.
        interpreter: the same for the interpreter, with the libraries of its libraries.
        provided: names of libraries that the wheels contain.
        there: names of all libraries in the system's folders.
        files: the number of ELF files in the wheels.
    """
    system = System()
    files = {name: elf_files(site_packages, listed) for name, listed in distributions.items()}
    provided = set()
    for path in (path for listed in files.values() for path in listed):
        found = system.read(path)
        provided |= {os.path.basename(path), found.soname if found else ""}
    check = Check(system, provided - {""})
    missing = {
        name: sorted(
            {
                (each, os.path.relpath(path, site_packages))
                for path in listed
                for each in check.missing(path)
            }
        )
        for name, listed in files.items()
    }
    interpreter = Check(system, set(), deep=True)
    for path in of_interpreter():
        interpreter.missing(path)
    return {
        "missing": {name: found for name, found in missing.items() if found},
        "used": sorted(check.used),
        "interpreter": sorted(interpreter.used),
        "provided": sorted(check.provided),
        "there": system.names(),
        "files": sum(len(listed) for listed in files.values()),
    }
