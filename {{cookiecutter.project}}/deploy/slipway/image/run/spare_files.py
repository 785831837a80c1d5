"""Parts of Debian packages that most applications do not use, and how to tell which ones do.

A spare part stays in the run image only if a program or a wheel in the image mentions it. Leaving
out the C++ library, the vectorized math functions and the rare character sets makes an image 13 to
16 MB smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")
LIBRARIES = Path("/usr/lib")


class Spare(NamedTuple):
    """A package, or some of its files, that stays only if something uses it.

    Attributes:
        text: every file that uses the part contains this name of a library or function.
        package: the part's package. If the user asked for the package, the part always stays.
        files: the part's files, as a pattern below /usr/lib; empty means the whole package.
        usual: names of files that match the pattern and always stay.
    """

    text: bytes
    package: str
    files: str = ""
    usual: tuple[str, ...] = ()


# The character sets that glibc counts as its core have a table of their own, and stay. UTF-8 and
# ASCII are built into the C library, and Python has its own codecs.
CHARACTER_SETS = (
    *("gconv-modules", "gconv-modules.cache", "ANSI_X3.110.so", "CP1252.so", "ISO8859-1.so"),
    *("ISO8859-15.so", "UNICODE.so", "UTF-16.so", "UTF-32.so", "UTF-7.so"),
)
# Wheels may expect the C++ library, and all of the C library, on every system (PEP 513 and its
# successors).
SPARE = (
    Spare(b"stdc++", "libstdc++6"),
    Spare(b"libmvec.so", "libc6", "*/libmvec.so.*"),
    Spare(b"iconv_open", "libc6", "*/gconv/*", CHARACTER_SETS),
)
# The files of these packages contain such texts but need no spare part: a shell converts only from
# and to the character set of the locale.
IGNORED = {"bash", "coreutils", "libc-bin", "libc6", "libstdc++6", "tar"}


def below(folder: Path) -> list[str]:
    """Return the paths of a folder and of everything in it."""
    return [str(folder), *map(str, folder.rglob("*"))]


def below_root(path: Path, root: Path | None) -> Path:
    """Return where a path of this system is in the system in a folder; None is this system."""
    return path if root is None else root / path.relative_to(ROOT)


def files_of(spare: Spare, root: Path | None = None) -> Iterator[str]:
    """Return the files of a spare part that the system below root has, as paths of this system."""
    found = below_root(LIBRARIES, root).glob(spare.files)
    for path in (path for path in found if path.name not in spare.usual):
        yield from (str(ROOT / Path(each).relative_to(root or ROOT)) for each in below(path))


def texts_in(paths: Iterable[str | Path], only_programs: bool = False) -> set[bytes]:
    """Return the texts of spare parts that these files contain; ELF files only if asked."""
    found: set[bytes] = set()
    for path in paths:
        with open(path, "rb") as file:
            start = file.read(4)
            if not only_programs or start == b"\x7fELF":
                data = start + file.read()
                found.update(spare.text for spare in SPARE if spare.text in data)
    return found
