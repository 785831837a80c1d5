"""Reading ELF files, and finding the libraries that they require and that are missing."""

from __future__ import annotations

import struct
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slipway.image.check import elf, shared_libraries

X86_64, ARM64 = 62, 183
TAGS = {"needed": 1, "soname": 14, "rpath": 15, "runpath": 29}


def library(
    place: Path,
    needed: Sequence[str] = (),
    machine: int = X86_64,
    wide: bool = True,
    order: str = "<",
    **texts: str,
) -> Path:
    """Write a shared library with a dynamic section and without code."""
    names = [("needed", each) for each in needed] + list(texts.items())
    strings, entries = b"\0", []
    for tag, text in names:
        entries.append((TAGS[tag], len(strings)))
        strings += text.encode() + b"\0"
    header, entry, pair = (64, 56, "qQ") if wide else (52, 32, "iI")
    start = header + 2 * entry
    address = 0x10000
    entries += [(5, address + start), (0, 0)]
    # the table of strings comes first; the dynamic section refers to it by its address in memory
    dynamic = b"".join(struct.pack(order + pair, *each) for each in entries)
    at, size = start + len(strings), len(dynamic)
    if wide:
        loads = [
            (1, 5, 0, address, address, at + size, at + size, 4096),
            (2, 6, at, address + at, 0, size, size, 8),
        ]
        table = b"".join(struct.pack(order + "IIQQQQQQ", *each) for each in loads)
        rest = struct.pack(
            order + "HHIQQQIHHHHHH", 3, machine, 1, 0, header, 0, 0, header, entry, 2, 0, 0, 0
        )
    else:
        both = [
            (1, 0, address, address, at + size, at + size, 5, 4096),
            (2, at, address + at, 0, size, size, 6, 4),
        ]
        table = b"".join(struct.pack(order + "IIIIIIII", *each) for each in both)
        rest = struct.pack(
            order + "HHIIIIIHHHHHH", 3, machine, 1, 0, header, 0, 0, header, entry, 2, 0, 0, 0
        )
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(ident + rest + table + strings + dynamic)
    return place


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_elf_file_is_read(tmp_path: Path, wide: bool, order: str) -> None:
    """For both word sizes and byte orders."""
    path = library(
        tmp_path / "a.so",
        ["libz.so.1", "libc.so.6"],
        wide=wide,
        order=order,
        soname="a.so.1",
        runpath="$ORIGIN/b:/c",
    )
    found = elf.read(path)
    assert found
    assert found.needed == ("libz.so.1", "libc.so.6")
    assert (found.soname, found.rpath, found.runpath) == ("a.so.1", (), ("$ORIGIN/b", "/c"))


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"\x7fELF\x02\x01\x01" + bytes(70), b"#!/bin/sh\n"]
)
def test_other_files_and_truncated_ones_require_nothing(tmp_path: Path, content: bytes) -> None:
    """For example an empty file, or a script."""
    path = tmp_path / "x"
    path.write_bytes(content)
    found = elf.read(path)
    assert found is None or found.needed == ()


def test_interpreter_of_this_machine_is_read() -> None:
    """A real file requires the C library."""
    found = elf.read(Path(sys.executable).resolve())
    assert found
    assert any(name.startswith("libc.so") for name in found.needed)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system with one folder of libraries."""
    folder = tmp_path / "usr lib"
    folder.mkdir()
    monkeypatch.setattr(shared_libraries, "USUAL", (str(folder),))
    monkeypatch.setattr(shared_libraries, "configured", lambda path="": iter(()))
    return folder


def missing(site: Path, files: Sequence[Path]) -> dict[str, list[str]]:
    """Return the missing libraries of a distribution with these files."""
    names = [str(path.relative_to(site)) for path in files]
    found = shared_libraries.report({"dist": names}, str(site))
    return {name: [file for file, _ in missed] for name, missed in found["missing"].items()}


def test_library_that_does_not_exist_is_missing(system: Path, tmp_path: Path) -> None:
    """Until a library with the required name is added."""
    site = tmp_path / "site"
    extension = library(site / "pkg" / "x.so", ["libz.so.1"])
    assert missing(site, [extension]) == {"dist": ["libz.so.1"]}
    library(system / "libz.so.1", soname="libz.so.1")
    assert missing(site, [extension]) == {}


def test_library_of_another_machine_does_not_count(system: Path, tmp_path: Path) -> None:
    """A file with the right name for another processor is ignored."""
    site = tmp_path / "site"
    library(system / "libz.so.1", machine=ARM64)
    assert missing(site, [library(site / "x.so", ["libz.so.1"])]) == {"dist": ["libz.so.1"]}


def test_library_of_a_library_counts(system: Path, tmp_path: Path) -> None:
    """An existing library may require a missing one; two may require each other."""
    site = tmp_path / "site"
    library(system / "liba.so.1", ["libb.so.1"])
    library(system / "libb.so.1", ["liba.so.1", "libgone.so.2"])
    assert missing(site, [library(site / "x.so", ["liba.so.1"])]) == {"dist": ["libgone.so.2"]}


def test_library_that_is_loaded_already_is_not_looked_for(system: Path, tmp_path: Path) -> None:
    """Private libraries of a package find each other through the search path of the first."""
    site, private = tmp_path / "site", system / "samba"
    library(system / "libsmb.so.0", ["liba.so.0", "libb.so.0"], runpath=str(private))
    library(private / "liba.so.0", ["libb.so.0"], soname="liba.so.0")
    library(private / "libb.so.0", soname="libb.so.0")
    assert missing(site, [library(site / "x.so", ["libsmb.so.0"])]) == {}


@pytest.mark.parametrize("tag", ["rpath", "runpath"])
def test_library_beside_the_wheel_is_found(system: Path, tmp_path: Path, tag: str) -> None:
    """$ORIGIN is the folder of the file; an RPATH also applies to the libraries it loads."""
    site = tmp_path / "site"
    where: Any = {tag: "$ORIGIN/../pkg.libs"}
    extension = library(site / "pkg" / "x.so", ["libq-1a2b3c4d.so.1"], **where)
    library(site / "pkg.libs" / "libq-1a2b3c4d.so.1")
    assert missing(site, [extension]) == {}


def test_library_of_another_wheel_is_not_missing(system: Path, tmp_path: Path) -> None:
    """An import may load it before."""
    site = tmp_path / "site"
    files = [library(site / "one" / "x.so", ["libtorch.so"]), library(site / "two" / "libtorch.so")]
    assert missing(site, files) == {}


def test_used_libraries_are_those_that_wheels_require_directly(
    system: Path, tmp_path: Path
) -> None:
    """The libraries of these libraries are Debian's responsibility."""
    site = tmp_path / "site"
    library(system / "libpq.so.5", ["libssl.so.3"])
    library(system / "libssl.so.3")
    extension = library(site / "x.so", ["libpq.so.5"])
    found = shared_libraries.report({"dist": [str(extension.relative_to(site))]}, str(site))
    assert found["used"] == ["libpq.so.5"]
    assert found["files"] == 1


def test_ld_so_conf_is_followed(tmp_path: Path) -> None:
    """With included files and comments."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.conf").write_text("# nothing\n/opt/a/lib\n")
    main = tmp_path / "ld.so.conf"
    main.write_text("include conf.d/*.conf\n/opt/b # b\n")
    assert list(shared_libraries.configured(str(main))) == ["/opt/a/lib", "/opt/b"]


def test_files_of_the_interpreter_are_found() -> None:
    """The executable and its compiled modules."""
    paths = list(shared_libraries.of_interpreter())
    assert str(Path(sys.executable).resolve()) in paths
    assert len(paths) > 1 or not sysconfig.get_config_var("SHLIB_SUFFIX")
