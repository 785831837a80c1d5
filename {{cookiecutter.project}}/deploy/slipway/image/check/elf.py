"""Read which libraries an ELF file requires from the dynamic linker.

The format: https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html
Hand-written, because the check runs inside the run image, where no library can be installed.
pyelftools finds the same, but takes 2.0 s for 400 files instead of 0.1 s.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAGIC = b"\x7fELF"
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 0, 1, 5, 14, 15, 29


class Elf(NamedTuple):
    """The information in a file that the dynamic linker uses.

    Attributes:
        kind: word size, byte order and machine; a file loads only files of its own kind.
        needed: names of the libraries that the file requires (DT_NEEDED).
        soname: the name by which other files require this one.
        rpath: folders for its libraries and theirs; ignored if there is a runpath.
        runpath: folders for its own libraries.
    """

    kind: tuple[int, int, int]
    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


def read(path: Path) -> Elf | None:
    """Read a file; return None if it is no ELF file or is truncated."""
    try:
        with path.open("rb") as file:
            return parse(file)
    except (OSError, struct.error, IndexError):
        return None


def parse(file: BinaryIO) -> Elf | None:
    """Read an open file; return None if it is no ELF file."""
    ident = file.read(16)
    if ident[:4] != MAGIC or len(ident) < 16:
        return None
    wide = ident[4] == 2
    order = "<" if ident[5] == 1 else ">"
    header = struct.unpack(
        order + ("HHIQQQIHHH" if wide else "HHIIIIIHHH"), file.read(42 if wide else 30)
    )
    kind = (ident[4], ident[5], header[1])
    offset, entry_size, count = header[4], header[8], header[9]
    file.seek(offset)
    table = file.read(entry_size * count)
    loads: list[tuple[int, int, int]] = []
    dynamic = None
    for number in range(count):
        entry = table[number * entry_size : (number + 1) * entry_size]
        if wide:
            type_, _, at, address, _, size = struct.unpack_from(order + "IIQQQQ", entry)
        else:
            type_, at, address, _, size = struct.unpack_from(order + "IIIII", entry)
        if type_ == PT_LOAD:
            loads.append((address, at, size))
        elif type_ == PT_DYNAMIC:
            dynamic = (at, size)
    if dynamic is None:  # statically linked, or an object file
        return Elf(kind)
    file.seek(dynamic[0])
    pairs = list(
        struct.iter_unpack(
            order + ("qQ" if wide else "iI"), cut(file.read(dynamic[1]), 16 if wide else 8)
        )
    )
    strings = next((value for tag, value in pairs if tag == DT_STRTAB), None)
    if strings is None:
        return Elf(kind)
    start = next(
        (
            at + strings - address
            for address, at, size in loads
            if address <= strings < address + size
        ),
        strings,
    )

    def text(position: int) -> str:
        file.seek(start + position)
        return file.read(4096).partition(b"\0")[0].decode("utf-8", "surrogateescape")

    found: dict[int, list[str]] = {}
    for tag, value in pairs:
        if tag == DT_NULL:
            break
        if tag in (DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH):
            found.setdefault(tag, []).append(text(value))
    return Elf(
        kind,
        tuple(found.get(DT_NEEDED, ())),
        next(iter(found.get(DT_SONAME, ())), ""),
        folders(found.get(DT_RPATH, ())),
        folders(found.get(DT_RUNPATH, ())),
    )


def cut(data: bytes, size: int) -> bytes:
    """Return data without an incomplete entry at its end."""
    return data[: len(data) // size * size]


def folders(paths: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders in search paths, which colons separate."""
    return tuple(folder for path in paths for folder in path.split(":") if folder)
