"""Remove from the base image's file system what no application needs: what installs and logs in.

    slim.py          remove it
    slim.py sizes    print what lies in each package that stays, as JSON {package: bytes}

Debian's base system has a package manager, Perl, accounts and mounts. That is a third of its bytes,
all of its programs that get root by a bit in their mode, and most of what scanners warn of, and an
image that nothing is installed in has no use for it. What stays are the packages that were asked
for (base.docker keeps their names), those named here, whatever the base image has beside the base
system, and what all of these depend on. To keep one more is to ask for it: `NATIVE :=
apt:perl-base`. Files of no package stay. dpkg's list says what is left, so that scanners know.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

DPKG = Path("/var/lib/dpkg")
ASKED = DPKG / "asked"

# The shell and its company, for a look at what runs; names, zones and certificates, which programs
# look up by themselves; and the C++ library, which wheels expect to find (PEP 513 and after).
KEPT = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "findutils", "grep"),
    *("gzip", "hostname", "libc-bin", "mawk", "ncurses-base", "sed", "tar"),
    *("ca-certificates", "libgcc-s1", "libstdc++6", "media-types", "netbase", "tzdata"),
)
# What others depend on for the sake of their installation alone.
INSTALLERS = {"adduser", "debconf", "dpkg", "init-system-helpers", "passwd", "ucf"}

# Folders in which a link to what is gone helps nobody.
LINKED = ("/etc/alternatives", "/usr/bin", "/usr/sbin")

# Modules that nobody imports in production; their sources stay, their bytecode does not.
UNUSED = {"idlelib", "lib2to3", "pydoc_data", "test", "tests"}
LIBRARIES = Path("/usr/lib")
INTERPRETERS = ("python3*", "pypy3*")

# What the engine touches for its mounts.
MOUNTED_IN = ("/etc", "/opt", "/")

Package = Mapping[str, str]


def asked() -> list[str]:
    """Give the packages that were asked for, of alternatives (`a|b`) each."""
    return re.split(r"[\s|]+", ASKED.read_text(encoding="utf-8").strip())


def stanzas_of(status: str) -> list[str]:
    """Split dpkg's status file into its packages."""
    return [text.strip("\n") for text in status.split("\n\n") if text.strip()]


def name_of(stanza: str) -> str:
    """Give the name of a package."""
    found = re.match(r"Package: (\S+)$", stanza, re.M)
    return found[1] if found else ""


def installed(status: str) -> dict[str, Package]:
    """Read dpkg's status file: the fields of each package that is installed."""
    found: dict[str, Package] = {}
    for stanza in stanzas_of(status):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.M))
        if fields.get("Status", "").endswith(" installed"):
            found[name_of(stanza)] = fields
    return found


def alternatives(relation: str) -> list[list[str]]:
    """Read the packages of a relation such as `libc6 (>= 2.38), a | b:any`, without versions."""
    return [
        [re.sub(r"[\s:(].*", "", name.strip()) for name in clause.split("|")]
        for clause in relation.split(",")
        if clause.strip()
    ]


def closure(
    wanted: Iterable[str], packages: Mapping[str, Package], without: Iterable[str] = ()
) -> set[str]:
    """Give packages and all that they depend on, of those that are installed.

    What only dependencies lead to is left out when it is in without.
    """
    provided: dict[str, set[str]] = {}
    for name, fields in packages.items():
        for (virtual,) in alternatives(fields.get("Provides", "")):
            provided.setdefault(virtual, set()).add(name)
    left = set(without)
    found: set[str] = set()
    waiting = [name for name in wanted if name in packages]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for field in ("Pre-Depends", "Depends"):
            for clause in alternatives(packages[name].get(field, "")):
                for each in clause:
                    waiting += ({each} & set(packages) | provided.get(each, set())) - left
    return found


def kept(wanted: Iterable[str], packages: Mapping[str, Package]) -> set[str]:
    """Give the packages that stay when these were asked for."""
    named = set(wanted)
    system = closure(
        (
            name
            for name, fields in packages.items()
            if name == "apt"
            or fields.get("Essential") == "yes"
            or fields.get("Priority") in ("required", "important")
        ),
        packages,
    )
    roots = {*(set(packages) - system), *KEPT, *named}
    return closure(roots, packages, INSTALLERS - named)


def place_of(name: str) -> str:
    """Give where a file lies that a package names, which may go by a link: /bin is /usr/bin."""
    folder, _, last = name.rpartition("/")
    return os.path.join(os.path.realpath(folder or "/"), last)


def files_of(name: str, fields: Package) -> Iterator[str]:
    """Name the files and folders of a package."""
    for stem in (name, f"{name}:{fields['Architecture']}"):
        with contextlib.suppress(FileNotFoundError):
            listed = (DPKG / "info" / f"{stem}.list").read_text(encoding="utf-8")
            yield from map(
                place_of, filter(lambda line: line not in ("", "/."), listed.split("\n"))
            )


def remove(paths: Iterable[str]) -> set[str]:
    """Remove files, and folders that are empty then; gives the folders that have changed."""
    changed = set()
    for path in sorted(paths, reverse=True):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                try:
                    os.rmdir(path)
                except OSError:  # it has something in it
                    continue
            else:
                os.unlink(path)
            changed.add(os.path.dirname(path))
    return changed


def dangling() -> set[str]:
    """Name links to what is gone."""
    places = (path for folder in LINKED for path in Path(folder).glob("*"))
    return {str(path) for path in places if path.is_symlink() and not path.exists()}


def below(folder: Path) -> list[str]:
    """Name a folder and all that is in it."""
    return [str(folder), *map(str, folder.rglob("*"))]


def unused_bytecode() -> list[str]:
    """Name the compiled modules of the interpreter that nobody imports in production."""
    caches = (
        cache
        for name in INTERPRETERS
        for library in LIBRARIES.glob(name)
        for cache in library.rglob("__pycache__")
        if UNUSED.intersection(cache.relative_to(library).parts)
    )
    return [path for cache in caches for path in below(cache)]


def slim() -> None:
    """Remove the packages that no application needs; every folder keeps the date of ASKED."""
    moment = ASKED.stat().st_mtime
    status = (DPKG / "status").read_text(encoding="utf-8")
    packages = installed(status)
    stay = kept(asked(), packages)
    dead = dangling()
    staying = {path for name in stay for path in files_of(name, packages[name])}
    going = {path for name in set(packages) - stay for path in files_of(name, packages[name])}
    changed = remove(going - staying)
    changed |= remove(dangling() - dead)
    changed |= remove(unused_bytecode())
    others = [path for path in below(DPKG) if path not in (str(DPKG), str(DPKG / "status"))]
    changed |= remove(others)
    stanzas = (text for text in stanzas_of(status) if name_of(text) in stay)
    (DPKG / "status").write_text("".join(f"{text}\n\n" for text in stanzas), encoding="utf-8")
    for path in (*changed, *MOUNTED_IN, str(DPKG / "status")):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (moment, moment))


def sizes() -> dict[str, int]:
    """Give the bytes of the files in each package that stays."""
    packages = installed((DPKG / "status").read_text(encoding="utf-8"))
    found = {}
    for name in kept(asked(), packages):
        status = (
            os.lstat(path) for path in files_of(name, packages[name]) if os.path.lexists(path)
        )
        found[name] = sum(each.st_size for each in status if stat.S_ISREG(each.st_mode))
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["sizes"]:
        print(json.dumps(sizes()))
    else:
        slim()
