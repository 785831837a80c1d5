"""Remove from the base image's file system what no application needs.

    python -m slipway.image.run.slim [CA]     remove it; add the old names of time zones, and
                                              the certificates CA/*.crt to the trusted ones
    python -m slipway.image.run.slim sizes    print the size of each package that stays, as JSON
                                              {package: bytes}

Debian's base system includes a package manager, Perl, and tools for accounts and file systems.
They are a third of its bytes, include all of its set-user-ID programs, and cause most findings of
vulnerability scanners. An image in which nothing is installed any more does not need them.

These packages stay: those that were asked for (base.docker records their names), those in KEPT,
those that the base image has in addition to Debian's base system, and everything that these depend
on. To keep another package, ask for it: `NATIVE := apt:perl-base`. Files that belong to no package
stay. dpkg's status file lists what is left, for scanners.

Spare parts (spare_files.py) stay if a program in the base image uses them. install_wheelhouse.py
brings them back together with the first wheel that uses them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from slipway.image.run import lookup_data, spare_files
from slipway.image.run.spare_files import SPARE, below, below_root
from slipway.shared.dpkg_status import Package, alternatives, installed, name_of, stanzas_of

DPKG = Path("/var/lib/dpkg")
ASKED = DPKG / "asked"

# The shell and its basic tools, to inspect a running container; names, time zones and certificates,
# which programs look up by themselves; and libgcc, which the C library loads when a thread ends.
KEPT = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "findutils", "grep"),
    *("gzip", "hostname", "libc-bin", "mawk", "ncurses-base", "sed", "tar"),
    *("ca-certificates", "libgcc-s1", "media-types", "netbase", "tzdata"),
)
# Other packages depend on these only for their own installation.
INSTALLERS = {"adduser", "debconf", "dpkg", "init-system-helpers", "passwd", "ucf"}

# In these folders, links to removed files are removed too.
LINKED = ("/etc/alternatives", "/usr/bin", "/usr/sbin")

# Nobody imports these modules in production: their source stays, their bytecode goes.
UNUSED = {"idlelib", "lib2to3", "pydoc_data", "test", "tests"}
INTERPRETERS = ("python3*", "pypy3*")
# Windows cannot be opened without the package python3-tk or pypy3-tk.
WINDOWS = ("idlelib", "tkinter", "turtledemo", "turtle.py", "__pycache__/turtle.*")
# debconf's questions from the installation of Debian.
DEBCONF = Path("/var/cache/debconf")

# The engine changes the times of these folders when it mounts something.
MOUNTED_IN = ("/etc", "/opt", "/")


def asked() -> list[str]:
    """Return the packages that were asked for; of alternatives (`a|b`) all."""
    return re.split(r"[\s|]+", ASKED.read_text(encoding="utf-8").strip())


def closure(
    wanted: Iterable[str], packages: Mapping[str, Package], without: Iterable[str] = ()
) -> set[str]:
    """Return these packages and everything that they depend on, if it is installed.

    Packages in without are left out, unless they are wanted themselves.
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
    """Return the packages that stay if these were asked for."""
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
    """Return the real path of a package's file: /bin may be a link to /usr/bin."""
    folder, _, last = name.rpartition("/")
    return os.path.join(os.path.realpath(folder or "/"), last)


def files_of(name: str, fields: Package, root: Path | None = None) -> Iterator[str]:
    """Return the files and folders of a package, from dpkg's list in the system below root."""
    info = below_root(DPKG, root) / "info"
    for stem in (name, f"{name}:{fields['Architecture']}"):
        with contextlib.suppress(FileNotFoundError):
            listed = (info / f"{stem}.list").read_text(encoding="utf-8")
            yield from map(
                place_of, filter(lambda line: line not in ("", "/."), listed.split("\n"))
            )


def remove(paths: Iterable[str]) -> set[str]:
    """Remove files, and folders that are empty by then; return the folders that changed."""
    changed = set()
    for path in sorted(paths, reverse=True):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                try:
                    os.rmdir(path)
                except OSError:  # it is not empty
                    continue
            else:
                os.unlink(path)
            changed.add(os.path.dirname(path))
    return changed


def dangling() -> set[str]:
    """Return the links whose target does not exist."""
    places = (path for folder in LINKED for path in Path(folder).glob("*"))
    return {str(path) for path in places if path.is_symlink() and not path.exists()}


def unused() -> Iterator[str]:
    """Return the interpreter's files that nobody imports in production, or nobody can import."""
    for library in (found for name in INTERPRETERS for found in spare_files.LIBRARIES.glob(name)):
        for cache in library.rglob("__pycache__"):
            if UNUSED.intersection(cache.relative_to(library).parts):
                yield from below(cache)
        patterns = ["lib-dynload/*test*.so"]
        if not next(library.rglob("_tkinter*"), None):
            patterns += WINDOWS
        for pattern in patterns:
            for path in library.glob(pattern):
                yield from below(path)


def system_files() -> Iterator[str]:
    """Return the files of this file system, without those of other mounts."""
    device = os.lstat(spare_files.ROOT).st_dev
    for folder, folders, names in os.walk(spare_files.ROOT):
        folders[:] = [
            name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device
        ]
        paths = (os.path.join(folder, name) for name in names)
        yield from (path for path in paths if stat.S_ISREG(os.lstat(path).st_mode))


def chosen(packages: Mapping[str, Package]) -> tuple[set[str], set[str]]:
    """Return the packages of a whole base image that stay, and the files and folders that go."""
    named = set(asked())
    stay = kept(named, packages)
    files = {name: set(files_of(name, fields)) for name, fields in packages.items()}

    def leaving() -> set[str]:
        left = set().union(*(files[name] for name in set(packages) - stay))
        return left.difference(*(files[name] for name in stay))

    spares = {path for spare in SPARE if spare.files for path in spare_files.files_of(spare)}
    ignored = (
        leaving() | spares | set().union(*(files.get(name, set()) for name in spare_files.IGNORED))
    )
    candidates = (path for path in system_files() if path not in ignored)
    texts = spare_files.texts_in(candidates, only_programs=True)
    if any(not path.name.lower().count("utf") for path in spare_files.LIBRARIES.glob("locale/*")):
        texts.add(b"iconv_open")  # other locales may have another character set
    wanted = {spare for spare in SPARE if spare.text in texts or spare.package in named}
    stay |= closure(
        (spare.package for spare in wanted if not spare.files), packages, INSTALLERS - named
    )
    going = leaving() | set(unused())
    for spare in set(SPARE) - wanted:
        going.update(spare_files.files_of(spare) if spare.files else ())
    if "debconf" not in stay:
        going.update(below(DEBCONF))
    return stay, going


def write_status(text: str, packages: Iterable[str]) -> None:
    """Write dpkg's status file: the entries of these packages, taken from a longer status file."""
    names = set(packages)
    stanzas = (stanza for stanza in stanzas_of(text) if name_of(stanza) in names)
    (DPKG / "status").write_text("".join(f"{each}\n\n" for each in stanzas), encoding="utf-8")


def slim(authorities: Path | None = None) -> None:
    """Remove what no application needs, and add lookup_data; changes get the time of ASKED."""
    moment = ASKED.stat().st_mtime
    status = (DPKG / "status").read_text(encoding="utf-8")
    dead = dangling()
    stay, going = chosen(installed(status))
    changed = remove(going)
    changed |= remove(dangling() - dead)
    others = [path for path in below(DPKG) if path not in (str(DPKG), str(DPKG / "status"))]
    changed |= remove(others)
    write_status(status, stay)
    changed |= {str(path) for path in lookup_data.link_old_zones(lookup_data.ZONES)}
    if authorities:
        changed |= {str(path) for path in lookup_data.trust(authorities, lookup_data.BUNDLE)}
    # The engine may reuse an older layer if only the times of files differ. A file with the time in
    # it tells the layers apart.
    (DPKG / "dated").write_text(f"{moment:.0f}\n", encoding="utf-8")
    for path in (*changed, *MOUNTED_IN, str(DPKG / "status"), str(DPKG / "dated")):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (moment, moment), follow_symlinks=False)


def bring_back(files: Iterable[Path], base: Path) -> None:
    """Copy the spare parts that these files use from the whole base image, which is in a folder.

    The copies keep their times, so that two builds have the same bytes.
    """
    texts = spare_files.texts_in(files)
    wanted = [spare for spare in SPARE if spare.text in texts]
    status = DPKG / "status"
    whole = below_root(status, base).read_text(encoding="utf-8") if wanted else ""
    packages, here = installed(whole), set(installed(status.read_text(encoding="utf-8")))
    missing = {spare.package for spare in wanted if not spare.files} & set(packages) - here
    paths = {path for spare in wanted if spare.files for path in spare_files.files_of(spare, base)}
    for name in missing:
        paths.update(files_of(name, packages[name], base))
    for path in sorted(paths):
        copy(below_root(Path(path), base), Path(path))
    if missing:
        before = status.stat()
        write_status(whole, here | missing)
        os.utime(status, ns=(before.st_atime_ns, before.st_mtime_ns))


def copy(source: Path, target: Path) -> None:
    """Copy a file, link or empty folder unless the target exists; its parent keeps its time."""
    if os.path.lexists(target) or not os.path.lexists(source):
        return
    before = target.parent.stat()
    if source.is_dir() and not source.is_symlink():
        target.mkdir()
        shutil.copystat(source, target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    os.utime(target.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def sizes() -> dict[str, int]:
    """Return the size in bytes of each package that stays, without its files that go."""
    packages = installed((DPKG / "status").read_text(encoding="utf-8"))
    stay, going = chosen(packages)
    found = {}
    for name in stay:
        paths = set(files_of(name, packages[name])) - going
        status = (os.lstat(path) for path in paths if os.path.lexists(path))
        found[name] = sum(each.st_size for each in status if stat.S_ISREG(each.st_mode))
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["sizes"]:
        print(json.dumps(sizes()))
    else:
        slim(Path(sys.argv[1]) if sys.argv[1:] else None)
