"""ELF files read without tools, and what they ask for that is not there."""

from __future__ import annotations

import struct
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slipway.image.check import elf
from slipway.image.check import shared_libraries as linked

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
    """Write a shared library that has a dynamic section and nothing to run."""
    names = [("needed", each) for each in needed] + list(texts.items())
    strings, entries = b"\0", []
    for tag, text in names:
        entries.append((TAGS[tag], len(strings)))
        strings += text.encode() + b"\0"
    header, entry, pair = (64, 56, "qQ") if wide else (52, 32, "iI")
    start = header + 2 * entry
    address = 0x10000
    entries += [(5, address + start), (0, 0)]
    # the table of strings comes first, and is found by the address that it is loaded at
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
    """Of either word size and byte order."""
    path = library(
        tmp_path / "a.so",
        ["libz.so.1", "libc.so.6"],
        wide=wide,
        order=order,
        soname="a.so.1",
        runpath="$ORIGIN/b:/c",
    )
    found = elf.read(path)
    assert found.needed == ("libz.so.1", "libc.so.6")
    assert (found.soname, found.rpath, found.runpath) == ("a.so.1", (), ("$ORIGIN/b", "/c"))


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"\x7fELF\x02\x01\x01" + bytes(70), b"#!/bin/sh\n"]
)
def test_what_is_no_elf_file_is_none(tmp_path: Path, content: bytes) -> None:
    """Cut off, or a script."""
    path = tmp_path / "x"
    path.write_bytes(content)
    found = elf.read(path)
    assert found is None or found.needed == ()


def test_interpreter_of_this_machine_is_read() -> None:
    """A real file asks for the C library."""
    found = elf.read(Path(sys.executable).resolve())
    assert any(name.startswith("libc.so") for name in found.needed)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system with one folder of libraries."""
    folder = tmp_path / "usr lib"
    folder.mkdir()
    monkeypatch.setattr(linked, "USUAL", (str(folder),))
    monkeypatch.setattr(linked, "configured", lambda path="": iter(()))
    return folder


def lacking(site: Path, files: Sequence[Path]) -> dict[str, list[str]]:
    """Report on one distribution of these files; gives its missing libraries."""
    names = [str(path.relative_to(site)) for path in files]
    found = linked.report({"dist": names}, str(site))
    return {name: [file for file, _ in missed] for name, missed in found["missing"].items()}


def test_library_that_is_not_there_is_missing(system: Path, tmp_path: Path) -> None:
    """Until it is, with the name that is asked for."""
    site = tmp_path / "site"
    extension = library(site / "pkg" / "x.so", ["libz.so.1"])
    assert lacking(site, [extension]) == {"dist": ["libz.so.1"]}
    library(system / "libz.so.1", soname="libz.so.1")
    assert lacking(site, [extension]) == {}


def test_library_of_another_machine_does_not_count(system: Path, tmp_path: Path) -> None:
    """A file of that name for another processor is passed over."""
    site = tmp_path / "site"
    library(system / "libz.so.1", machine=ARM64)
    assert lacking(site, [library(site / "x.so", ["libz.so.1"])]) == {"dist": ["libz.so.1"]}


def test_library_of_a_library_counts(system: Path, tmp_path: Path) -> None:
    """What is there may ask for what is not; two that ask for each other come to an end."""
    site = tmp_path / "site"
    library(system / "liba.so.1", ["libb.so.1"])
    library(system / "libb.so.1", ["liba.so.1", "libgone.so.2"])
    assert lacking(site, [library(site / "x.so", ["liba.so.1"])]) == {"dist": ["libgone.so.2"]}


def test_library_that_is_loaded_already_is_not_looked_for(system: Path, tmp_path: Path) -> None:
    """Private libraries of one package find each other by the search path of the first."""
    site, private = tmp_path / "site", system / "samba"
    library(system / "libsmb.so.0", ["liba.so.0", "libb.so.0"], runpath=str(private))
    library(private / "liba.so.0", ["libb.so.0"], soname="liba.so.0")
    library(private / "libb.so.0", soname="libb.so.0")
    assert lacking(site, [library(site / "x.so", ["libsmb.so.0"])]) == {}


@pytest.mark.parametrize("tag", ["rpath", "runpath"])
def test_library_beside_the_wheel_is_found(system: Path, tmp_path: Path, tag: str) -> None:
    """$ORIGIN is where the file lies; an RPATH holds for what is loaded, too."""
    site = tmp_path / "site"
    where: Any = {tag: "$ORIGIN/../pkg.libs"}
    extension = library(site / "pkg" / "x.so", ["libq-1a2b3c4d.so.1"], **where)
    library(site / "pkg.libs" / "libq-1a2b3c4d.so.1")
    assert lacking(site, [extension]) == {}


def test_library_of_another_wheel_is_not_missing(system: Path, tmp_path: Path) -> None:
    """It may be loaded before, by an import."""
    site = tmp_path / "site"
    files = [library(site / "one" / "x.so", ["libtorch.so"]), library(site / "two" / "libtorch.so")]
    assert lacking(site, files) == {}


def test_used_libraries_are_those_that_wheels_ask_for_themselves(
    system: Path, tmp_path: Path
) -> None:
    """What comes behind them is the distribution's business."""
    site = tmp_path / "site"
    library(system / "libpq.so.5", ["libssl.so.3"])
    library(system / "libssl.so.3")
    extension = library(site / "x.so", ["libpq.so.5"])
    found = linked.report({"dist": [str(extension.relative_to(site))]}, str(site))
    assert found["used"] == ["libpq.so.5"]
    assert found["files"] == 1


def test_ld_so_conf_is_followed(tmp_path: Path) -> None:
    """With the files that it includes, and comments."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.conf").write_text("# nothing\n/opt/a/lib\n")
    main = tmp_path / "ld.so.conf"
    main.write_text("include conf.d/*.conf\n/opt/b # b\n")
    assert list(linked.configured(str(main))) == ["/opt/a/lib", "/opt/b"]


def test_interpreters_own_libraries_are_looked_at() -> None:
    """The executable and its compiled modules."""
    paths = list(linked.of_interpreter())
    assert str(Path(sys.executable).resolve()) in paths
    assert len(paths) > 1 or not sysconfig.get_config_var("SHLIB_SUFFIX")
