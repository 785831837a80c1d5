"""Remove from the base image's file system what no application needs: what installs and logs in.

    slim.py          remove it
    slim.py sizes    print what lies in each package that stays, as JSON {package: bytes}

Debian's base system has a package manager, Perl, accounts and mounts. That is a third of its bytes,
all of its programs that get root by a bit in their mode, and most of what scanners warn of, and an
image that nothing is installed in has no use for it. What stays are the packages that were asked
for (base.docker keeps their names), those named here, whatever the base image has beside the base
system, and what all of these depend on. To keep one more is to ask for it: `NATIVE :=
apt:perl-base`. Files of no package stay. dpkg's list says what is left, so that scanners know.

What only some programs want (SPARE) stays when one of those is here, and is brought back, by
install.py, together with the wheel that wants it.
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
from typing import NamedTuple

ROOT = Path("/")
DPKG = Path("/var/lib/dpkg")
ASKED = DPKG / "asked"

# The shell and its company, for a look at what runs; names, zones and certificates, which programs
# look up by themselves; and what the C library loads when a thread ends.
KEPT = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "findutils", "grep"),
    *("gzip", "hostname", "libc-bin", "mawk", "ncurses-base", "sed", "tar"),
    *("ca-certificates", "libgcc-s1", "media-types", "netbase", "tzdata"),
)
# What others depend on for the sake of their installation alone.
INSTALLERS = {"adduser", "debconf", "dpkg", "init-system-helpers", "passwd", "ucf"}


class Spare(NamedTuple):
    """What is there only as long as something wants it.

    Attributes:
        text: stands in every file that wants it: the name of a library or of a function.
        package: who asks for this one has it in any case.
        files: which of the package's it is, as a pattern below /usr/lib; all, when it is empty.
        usual: names of those that stay.
    """

    text: bytes
    package: str
    files: str = ""
    usual: tuple[str, ...] = ()


# Wheels expect to find the C++ library and, of the C library, the vectorized functions (PEP 513 and
# after). Of the character sets those stay that glibc counts as its core, by a table of their own;
# UTF-8 and ASCII are in the library itself, and Python has codecs of its own.
CHARACTER_SETS = (
    *("gconv-modules", "gconv-modules.cache", "ANSI_X3.110.so", "CP1252.so", "ISO8859-1.so"),
    *("ISO8859-15.so", "UNICODE.so", "UTF-16.so", "UTF-32.so", "UTF-7.so"),
)
SPARE = (
    Spare(b"stdc++", "libstdc++6"),
    Spare(b"libmvec.so", "libc6", "*/libmvec.so.*"),
    Spare(b"iconv_open", "libc6", "*/gconv/*", CHARACTER_SETS),
)
# They have these texts in them and want nothing: a shell converts from and to the locale's own
# character set.
CONTENT = {"bash", "coreutils", "libc-bin", "libc6", "libstdc++6", "tar"}

# Folders in which a link to what is gone helps nobody.
LINKED = ("/etc/alternatives", "/usr/bin", "/usr/sbin")

# Modules that nobody imports in production; their sources stay, their bytecode does not.
UNUSED = {"idlelib", "lib2to3", "pydoc_data", "test", "tests"}
LIBRARIES = Path("/usr/lib")
INTERPRETERS = ("python3*", "pypy3*")
# Windows, without the package (python3-tk, pypy3-tk) by which they can be imported.
WINDOWS = ("idlelib", "tkinter", "turtledemo", "turtle.py", "__pycache__/turtle.*")
# What debconf asked when Debian was installed.
DEBCONF = Path("/var/cache/debconf")

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


def below_root(path: Path, root: Path | None) -> Path:
    """Give where a path of this system lies in another one."""
    return path if root is None else root / path.relative_to(ROOT)


def files_of(name: str, fields: Package, root: Path | None = None) -> Iterator[str]:
    """Name the files and folders of a package, as dpkg below root lists them."""
    info = below_root(DPKG, root) / "info"
    for stem in (name, f"{name}:{fields['Architecture']}"):
        with contextlib.suppress(FileNotFoundError):
            listed = (info / f"{stem}.list").read_text(encoding="utf-8")
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


def unused() -> Iterator[str]:
    """Name what the interpreter has that nobody imports in production, or can."""
    for library in (found for name in INTERPRETERS for found in LIBRARIES.glob(name)):
        for cache in library.rglob("__pycache__"):
            if UNUSED.intersection(cache.relative_to(library).parts):
                yield from below(cache)
        patterns = ["lib-dynload/*test*.so"]
        if not next(library.rglob("_tkinter*"), None):
            patterns += WINDOWS
        for pattern in patterns:
            for path in library.glob(pattern):
                yield from below(path)


def spare_files(spare: Spare, root: Path | None = None) -> Iterator[str]:
    """Name the files of a spare part of a package, as they are called below root."""
    found = below_root(LIBRARIES, root).glob(spare.files)
    for path in (path for path in found if path.name not in spare.usual):
        yield from (str(ROOT / Path(each).relative_to(root or ROOT)) for each in below(path))


def texts_in(paths: Iterable[str | Path], only_programs: bool = False) -> set[bytes]:
    """Give the texts of SPARE that some of these files have in them."""
    found: set[bytes] = set()
    for path in paths:
        with open(path, "rb") as file:
            start = file.read(4)
            if not only_programs or start == b"\x7fELF":
                data = start + file.read()
                found.update(spare.text for spare in SPARE if spare.text in data)
    return found


def system_files() -> Iterator[str]:
    """Name all files of this file system, but not what is mounted in it."""
    device = os.lstat(ROOT).st_dev
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device
        ]
        paths = (os.path.join(folder, name) for name in names)
        yield from (path for path in paths if stat.S_ISREG(os.lstat(path).st_mode))


def chosen(packages: Mapping[str, Package]) -> tuple[set[str], set[str]]:
    """Choose of a whole base image: the packages that stay, and the files and folders that go."""
    named = set(asked())
    stay = kept(named, packages)
    files = {name: set(files_of(name, fields)) for name, fields in packages.items()}

    def leaving() -> set[str]:
        left = set().union(*(files[name] for name in set(packages) - stay))
        return left.difference(*(files[name] for name in stay))

    spares = {path for spare in SPARE if spare.files for path in spare_files(spare)}
    ignored = leaving() | spares | set().union(*(files.get(name, set()) for name in CONTENT))
    texts = texts_in((path for path in system_files() if path not in ignored), only_programs=True)
    if any(not path.name.startswith("C.") for path in LIBRARIES.glob("locale/*")):
        texts.add(b"iconv_open")  # a locale with a character set of its own
    wanted = {spare for spare in SPARE if spare.text in texts or spare.package in named}
    stay |= closure(
        (spare.package for spare in wanted if not spare.files), packages, INSTALLERS - named
    )
    going = leaving() | set(unused())
    for spare in set(SPARE) - wanted:
        going.update(spare_files(spare) if spare.files else ())
    if "debconf" not in stay:
        going.update(below(DEBCONF))
    return stay, going


def write_status(text: str, packages: Iterable[str]) -> None:
    """Write dpkg's status file: of a text those packages that are here."""
    names = set(packages)
    stanzas = (stanza for stanza in stanzas_of(text) if name_of(stanza) in names)
    (DPKG / "status").write_text("".join(f"{each}\n\n" for each in stanzas), encoding="utf-8")


def slim() -> None:
    """Remove the packages that no application needs; every folder keeps the date of ASKED."""
    moment = ASKED.stat().st_mtime
    status = (DPKG / "status").read_text(encoding="utf-8")
    dead = dangling()
    stay, going = chosen(installed(status))
    changed = remove(going)
    changed |= remove(dangling() - dead)
    others = [path for path in below(DPKG) if path not in (str(DPKG), str(DPKG / "status"))]
    changed |= remove(others)
    write_status(status, stay)
    # the engine takes a copy for the one that it has when the contents are equal and the dates not
    (DPKG / "dated").write_text(f"{moment:.0f}\n", encoding="utf-8")
    for path in (*changed, *MOUNTED_IN, str(DPKG / "status"), str(DPKG / "dated")):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (moment, moment))


def bring_back(files: Iterable[Path], base: Path) -> None:
    """Take from the whole base image, which lies in a folder, what files want of SPARE.

    With the dates that it has there, so that two builds have the same bytes.
    """
    texts = texts_in(files)
    wanted = [spare for spare in SPARE if spare.text in texts]
    status = DPKG / "status"
    whole = below_root(status, base).read_text(encoding="utf-8") if wanted else ""
    packages, here = installed(whole), set(installed(status.read_text(encoding="utf-8")))
    missing = {spare.package for spare in wanted if not spare.files} & set(packages) - here
    paths = {path for spare in wanted if spare.files for path in spare_files(spare, base)}
    for name in missing:
        paths.update(files_of(name, packages[name], base))
    for path in sorted(paths):
        copy(below_root(Path(path), base), Path(path))
    if missing:
        before = status.stat()
        write_status(whole, here | missing)
        os.utime(status, ns=(before.st_atime_ns, before.st_mtime_ns))


def copy(source: Path, target: Path) -> None:
    """Copy a file, a link or an empty folder, unless it is there; no date is changed by that."""
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
    """Give the bytes of the files that stay of each package."""
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
        slim()
