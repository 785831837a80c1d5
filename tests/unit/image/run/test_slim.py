"""Removing from a Debian system what an application does not need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from slipway.image.run import lookup_data, slim, spare_files
from slipway.shared import dpkg_status

STATUS = """\
Package: apt
Status: install ok installed
Priority: required
Architecture: amd64
Depends: libapt-pkg (>= 3.0), libc6 (>= 2.38), libstdc++6 (>= 11), sqv | gpgv

Package: sqv
Status: install ok installed
Priority: optional
Architecture: amd64

Package: libapt-pkg
Status: install ok installed
Priority: optional
Architecture: amd64
Depends: libssl3 (>= 3), libc6

Package: libc6
Status: install ok installed
Priority: optional
Architecture: amd64
Multi-Arch: same

Package: libssl3
Status: install ok installed
Priority: optional
Architecture: amd64
Depends: libc6,
 debconf (>= 0.5) | debconf-2.0

Package: debconf
Status: install ok installed
Priority: important
Architecture: all
Pre-Depends: perl-base

Package: perl-base
Essential: yes
Status: install ok installed
Priority: required
Architecture: amd64
Provides: perlapi-5.40 (= 5.40), libfile-temp-perl

Package: coreutils
Essential: yes
Status: install ok installed
Priority: required
Architecture: amd64
Pre-Depends: libc6

Package: python3
Status: install ok installed
Priority: optional
Architecture: amd64
Depends: libssl3, libc6:any, dpkg

Package: dpkg
Essential: yes
Status: install ok installed
Priority: required
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Priority: optional
Architecture: amd64

Package: libstdc++6
Status: install ok installed
Priority: optional
Architecture: amd64
Depends: libc6

Package: vendor-tool
Status: install ok installed
Priority: optional
Architecture: amd64
Depends: libfile-temp-perl
"""
FILES = {
    "apt": ("usr/bin/apt", "etc/apt/sources.list", "usr/share/doc/both"),
    "sqv": ("usr/bin/sqv",),
    "libapt-pkg": ("usr/lib/libapt-pkg.so",),
    "libc6:amd64": (
        "usr/lib/libc.so",
        "usr/lib/x/libmvec.so.1",
        "usr/lib/x/gconv/KOI8-R.so",
        "usr/lib/x/gconv/UTF-16.so",
    ),
    "libstdc++6": ("usr/lib/x/libstdc++.so.6", "usr/share/gcc/printers.py"),
    "libssl3": ("usr/lib/libssl.so", "usr/share/doc/both"),
    "debconf": ("usr/bin/debconf",),
    "perl-base": ("usr/bin/perl",),
    "coreutils": ("usr/bin/ls",),
    "python3": ("bin/python3",),
    "dpkg": ("usr/bin/dpkg",),
    "vendor-tool": ("opt/vendor/tool",),
}
MOMENT = 1_000_000


@pytest.fixture
def packages() -> dict[str, Mapping[str, str]]:
    """The packages of a small Debian system, without a vendor's package."""
    found: dict[str, Mapping[str, str]] = dpkg_status.installed(STATUS)
    for name in ("vendor-tool", "libstdc++6"):
        del found[name]
    return found


def test_package_managers_go_and_libraries_of_the_interpreter_stay(
    packages: dict[str, Mapping[str, str]],
) -> None:
    """A library of both apt and the interpreter stays; apt's own library goes with apt."""
    assert slim.kept(["python3"], packages) == {"python3", "libssl3", "libc6", "coreutils"}


def test_packages_that_were_asked_for_stay_with_their_dependencies(
    packages: dict[str, Mapping[str, str]],
) -> None:
    """Even if they belong to the base system, or only install other packages."""
    assert "perl-base" in slim.kept(["perl-base"], packages)
    assert {"debconf", "perl-base"} < slim.kept(["debconf"], packages)
    assert {"apt", "libapt-pkg", "sqv"} < slim.kept(["apt"], packages)


def test_packages_that_the_base_image_adds_to_the_base_system_stay() -> None:
    """A vendor's package stays, with its dependency on a virtual package."""
    assert {"vendor-tool", "perl-base"} < slim.kept(["python3"], dpkg_status.installed(STATUS))


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Debian in a folder, where /bin is a link to /usr/bin."""
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    for package, files in FILES.items():
        names = ["/."]
        for name in files:
            place = tmp_path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(package * 10)
            names += [str(tmp_path / Path(name).parent), str(place)]
        (info / f"{package}.list").write_text("\n".join(names) + "\n")
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    asked = tmp_path / "var/lib/dpkg/asked"
    asked.write_text("python3 libnone|libssl3\n")
    os.utime(asked, (MOMENT, MOMENT))
    (tmp_path / "etc/alternatives").mkdir()
    (tmp_path / "etc/alternatives/tool").symlink_to(tmp_path / "usr/bin/apt")
    (tmp_path / "usr/bin/tool").symlink_to(tmp_path / "etc/alternatives/tool")
    (tmp_path / "usr/bin/dangled").symlink_to("never there")
    (tmp_path / "home/mine").mkdir(parents=True)
    for module, words in (
        (slim, "DPKG ASKED DEBCONF"),
        (spare_files, "LIBRARIES ROOT"),
        (lookup_data, "ZONES BUNDLE"),
    ):
        for name in words.split():
            place = tmp_path / getattr(module, name).relative_to("/")
            monkeypatch.setattr(module, name, place)
    for name in ("LINKED", "MOUNTED_IN"):
        monkeypatch.setattr(slim, name, [f"{tmp_path}{each}" for each in getattr(slim, name)])
    (tmp_path / "var/cache/debconf").mkdir(parents=True)
    (tmp_path / "var/cache/debconf/templates.dat").touch()
    return tmp_path


def names_in(system: Path) -> set[str]:
    """Return the files and links of a system."""
    found = (path for path in system.rglob("*") if path.is_symlink() or path.is_file())
    return {str(path.relative_to(system)) for path in found}


def test_files_of_unused_packages_are_removed_with_links_to_them(system: Path) -> None:
    """Files that another package has too stay, and so do files of no package."""
    before = names_in(system)
    slim.slim()
    gone = {name for name in before - names_in(system) if not name.startswith("var/lib/dpkg/")}
    assert gone == {
        *("usr/bin/apt", "usr/bin/sqv", "usr/bin/dpkg", "usr/bin/debconf", "etc/apt/sources.list"),
        *("usr/lib/libapt-pkg.so", "etc/alternatives/tool", "usr/bin/tool"),
        *("usr/lib/x/libmvec.so.1", "usr/lib/x/gconv/KOI8-R.so", "usr/lib/x/libstdc++.so.6"),
        *("usr/share/gcc/printers.py", "var/cache/debconf/templates.dat"),
    }
    assert not (system / "etc/apt").exists()
    assert (system / "home/mine").is_dir()


def test_the_status_file_lists_the_packages_that_are_left(system: Path) -> None:
    """For vulnerability scanners; dpkg's other files are removed."""
    slim.slim()
    status = (system / "var/lib/dpkg/status").read_text()
    assert set(dpkg_status.installed(status)) == {
        *("coreutils", "libc6", "libssl3", "perl-base", "python3", "vendor-tool"),
    }
    assert set(os.listdir(system / "var/lib/dpkg")) == {"status", "dated"}


def test_changed_folders_have_the_time_of_the_base_image(system: Path) -> None:
    """So that two builds have the same bytes; a file tells the engine that the time is another."""
    slim.slim()
    assert (system / "var/lib/dpkg/dated").read_text() == f"{MOMENT}\n"
    for name in ("usr/bin", "etc", "etc/alternatives", "var/lib/dpkg", "var/lib/dpkg/status"):
        assert (system / name).stat().st_mtime == MOMENT, name


def test_old_names_of_time_zones_are_links(system: Path) -> None:
    """To the zones that are there; they have the time of the base image."""
    zones = system / "usr/share/zoneinfo"
    (zones / "America").mkdir(parents=True)
    (zones / "America/New_York").write_text("EST")
    (zones / "Cuba").write_text("Havana")
    lines = ("America/New_York US/Eastern", "America/New_York EST5EDT", "America/New_York Cuba")
    text = "".join(f"L {line}\n" for line in (*lines, "Asia/Nowhere Old/Nowhere"))
    (zones / "tzdata.zi").write_text(f"# version 1\nZ America/New_York -4:56 - LMT\n{text}")
    slim.slim()
    assert (zones / "US/Eastern").read_text() == (zones / "EST5EDT").read_text() == "EST"
    assert os.readlink(zones / "US/Eastern") == "../America/New_York"
    assert (zones / "Cuba").read_text() == "Havana"
    assert not os.path.lexists(zones / "Old/Nowhere")
    for name in ("US/Eastern", "US", "EST5EDT"):
        assert (zones / name).lstat().st_mtime == MOMENT, name


def test_own_authorities_are_added_to_the_trusted_ones(system: Path, tmp_path: Path) -> None:
    """In the same order on every machine, whatever is written around them."""
    bundle, ca = system / "etc/ssl/certs/ca-certificates.crt", tmp_path / "mnt/ca"
    bundle.parent.mkdir(parents=True)
    bundle.write_text("usual\n")
    ca.mkdir(parents=True)
    (ca / "b.crt").write_bytes(b"B, Soci\xe9t\xe9")
    (ca / "a.crt").write_text("A\n\n")
    (ca / "README.md").write_text("no certificate")
    slim.slim(ca)
    assert bundle.read_text() == "usual\nA\nB, Soci\ufffdt\ufffd\n"
    assert bundle.stat().st_mtime == MOMENT


def test_bytecode_of_tests_is_removed(system: Path) -> None:
    """The sources of the interpreter's tests stay."""
    library = system / "usr/lib/python3.13"
    for name in ("test/support/__pycache__/x.pyc", "test/x.py", "json/__pycache__/x.pyc"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).touch()
    slim.slim()
    left = sorted(path.relative_to(library).as_posix() for path in library.rglob("*.*"))
    assert left == ["json/__pycache__/x.pyc", "test/x.py"]


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("libstdc++.so.6", "libstdc++.so.6"),
        ("libmvec.so.1", "libmvec.so.1"),
        ("iconv_open", "gconv/KOI8-R.so"),
    ],
)
def test_a_spare_part_that_a_program_uses_stays(system: Path, text: str, file: str) -> None:
    """No other part stays; a program is any ELF file, whatever its name."""
    (system / "opt/vendor/tool").write_text(f"\x7fELF..\0{text}\0")
    slim.slim()
    left = {name for name in names_in(system) if name.startswith("usr/lib/x/")}
    assert left == {"usr/lib/x/gconv/UTF-16.so", f"usr/lib/x/{file}"}


def test_scripts_and_base_programs_keep_no_spare_part(system: Path) -> None:
    """A shell mentions conversions that nobody uses; the usual character sets stay."""
    (system / "opt/vendor/tool").write_text("#!/bin/sh\necho iconv_open")
    (system / "usr/bin/ls").write_text("\x7fELF..\0iconv_open\0")
    slim.slim()
    assert os.listdir(system / "usr/lib/x/gconv") == ["UTF-16.so"]


def test_a_spare_part_that_was_asked_for_stays(system: Path) -> None:
    """By its package; character sets also if there is a locale with another one than UTF-8."""
    (system / "usr/lib/locale/C.utf8").mkdir(parents=True)
    slim.ASKED.write_text("python3 libstdc++6")
    assert "libstdc++6" in slim.sizes()
    slim.ASKED.write_text("python3 libc6")
    (_, going) = slim.chosen(dpkg_status.installed(STATUS))
    assert not any("gconv" in path or "libmvec" in path for path in going)
    slim.ASKED.write_text("python3")
    (_, going) = slim.chosen(dpkg_status.installed(STATUS))
    assert any("gconv" in path for path in going)
    (system / "usr/lib/locale/de_DE.utf8").mkdir()
    (_, going) = slim.chosen(dpkg_status.installed(STATUS))
    assert any("gconv" in path for path in going)
    (system / "usr/lib/locale/de_DE").mkdir()
    (_, going) = slim.chosen(dpkg_status.installed(STATUS))
    assert not any("gconv" in path for path in going)
    assert any("libmvec" in path for path in going)


@pytest.fixture
def slimmed(system: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole base image; the system is slimmed afterwards."""
    base = tmp_path_factory.mktemp("base")
    for package, files in FILES.items():
        lists = base / "var/lib/dpkg/info" / f"{package}.list"
        lists.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(system / "var/lib/dpkg/info" / f"{package}.list", lists)
        for name in files:
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(system / name, base / name)
            os.utime(base / name, (MOMENT, MOMENT))
    (base / "var/lib/dpkg/status").write_text(STATUS)
    slim.slim()
    return base


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("NEEDED libstdc++.so.6", {"usr/lib/x/libstdc++.so.6", "usr/share/gcc/printers.py"}),
        ("find_library('stdc++')", {"usr/lib/x/libstdc++.so.6", "usr/share/gcc/printers.py"}),
        ("libmvec.so.1", {"usr/lib/x/libmvec.so.1"}),
        ("iconv_open", {"usr/lib/x/gconv/KOI8-R.so"}),
        ("nothing", set()),
    ],
)
def test_spare_parts_that_a_wheel_uses_come_back(
    system: Path, slimmed: Path, text: str, files: set[str]
) -> None:
    """With their times; folders keep theirs, and dpkg's status file lists the package again."""
    wheels_file = system / "appenv/module.so"
    wheels_file.parent.mkdir()
    wheels_file.write_text(text)
    for name in ("usr/lib/x", "usr", "usr/lib"):
        os.utime(system / name, (MOMENT, MOMENT))
    before = names_in(system)
    slim.bring_back([wheels_file], slimmed)
    assert names_in(system) - before == files
    status = system / "var/lib/dpkg/status"
    listed = set(dpkg_status.installed(status.read_text()))
    assert ("libstdc++6" in listed) == ("stdc++" in text)
    assert {"libc6", "python3"} < listed
    for name in (*files, "usr/lib/x", "usr", "usr/lib", "var/lib/dpkg/status"):
        assert (system / name).stat().st_mtime == MOMENT, name


def test_modules_for_windows_stay_if_they_can_be_imported(system: Path) -> None:
    """This requires a package with their C part."""
    names = ("tkinter/__init__.py", "turtle.py", "__pycache__/turtle.x.pyc", "os.py")
    for library in ("python3.13", "pypy3.11"):
        for name in (*names, "lib-dynload/_testcapi.so", "lib-dynload/_ssl.so"):
            path = system / "usr/lib" / library / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (system / "usr/lib/pypy3.11/_tkinter").mkdir()
    slim.slim()
    left = {name.removeprefix("usr/lib/") for name in names_in(system) if "3.1" in name}
    assert left == {
        *("python3.13/os.py", "python3.13/lib-dynload/_ssl.so"),
        *(f"pypy3.11/{name}" for name in (*names, "lib-dynload/_ssl.so")),
    }


def test_sizes_of_packages_are_sums_of_their_files(system: Path) -> None:
    """For packages that stay; each file counts once, even if links lead to it."""
    found = slim.sizes()
    assert set(found) == {*("coreutils", "libc6", "libssl3", "perl-base", "python3", "vendor-tool")}
    assert found["python3"] == len("python3" * 10)
