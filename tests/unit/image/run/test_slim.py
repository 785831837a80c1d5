"""What stays of a Debian system when only an application is to run on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from slipway.image.run import slim

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
    """A small Debian's packages without a vendor's."""
    found: dict[str, Mapping[str, str]] = slim.installed(STATUS)
    for name in ("vendor-tool", "libstdc++6"):
        del found[name]
    return found


def test_only_what_is_installed_counts() -> None:
    """A package that left its configuration is none."""
    found = slim.installed(STATUS)
    assert "gone" not in found
    assert found["libssl3"]["Depends"] == "libc6,\n debconf (>= 0.5) | debconf-2.0"


def test_relations_are_read_without_versions_and_architectures() -> None:
    """As Debian's policy has them, over several lines."""
    assert slim.alternatives("libc6 (>= 2.38), a | b:any [amd64],\n c") == [
        ["libc6"],
        ["a", "b"],
        ["c"],
    ]


def test_what_installs_goes_and_what_an_application_needs_stays(
    packages: dict[str, Mapping[str, str]],
) -> None:
    """The interpreter's library stays though apt wants it too; apt's own goes with it."""
    assert slim.kept(["python3"], packages) == {"python3", "libssl3", "libc6", "coreutils"}


def test_what_is_asked_for_stays_with_what_it_depends_on(
    packages: dict[str, Mapping[str, str]],
) -> None:
    """Also when it belongs to the base system, or is there for installation alone."""
    assert "perl-base" in slim.kept(["perl-base"], packages)
    assert {"debconf", "perl-base"} < slim.kept(["debconf"], packages)
    assert {"apt", "libapt-pkg", "sqv"} < slim.kept(["apt"], packages)


def test_what_the_base_image_has_beside_the_base_system_stays() -> None:
    """A vendor's image; what it needs by another name stays with it."""
    assert {"vendor-tool", "perl-base"} < slim.kept(["python3"], slim.installed(STATUS))


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Debian in a folder, where /bin leads to /usr/bin."""
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
    for name in ("DPKG", "ASKED", "LIBRARIES", "DEBCONF", "ROOT"):
        monkeypatch.setattr(slim, name, tmp_path / getattr(slim, name).relative_to("/"))
    for name in ("LINKED", "MOUNTED_IN"):
        monkeypatch.setattr(slim, name, [f"{tmp_path}{each}" for each in getattr(slim, name)])
    (tmp_path / "var/cache/debconf").mkdir(parents=True)
    (tmp_path / "var/cache/debconf/templates.dat").touch()
    return tmp_path


def names_in(system: Path) -> set[str]:
    """Name the files and links of a system."""
    found = (path for path in system.rglob("*") if path.is_symlink() or path.is_file())
    return {str(path.relative_to(system)) for path in found}


def test_files_of_what_goes_are_removed_with_the_links_to_them(system: Path) -> None:
    """What two packages share stays, and so does what no package has."""
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


def test_the_list_of_packages_says_what_is_left(system: Path) -> None:
    """For scanners; the rest of what dpkg keeps goes."""
    slim.slim()
    status = (system / "var/lib/dpkg/status").read_text()
    assert set(slim.installed(status)) == {
        *("coreutils", "libc6", "libssl3", "perl-base", "python3", "vendor-tool"),
    }
    assert set(os.listdir(system / "var/lib/dpkg")) == {"status", "dated"}


def test_folders_that_shrank_have_the_date_of_the_base_image(system: Path) -> None:
    """So that two builds have the same bytes; by a file the engine sees that it is another one."""
    slim.slim()
    assert (system / "var/lib/dpkg/dated").read_text() == f"{MOMENT}\n"
    for name in ("usr/bin", "etc", "etc/alternatives", "var/lib/dpkg", "var/lib/dpkg/status"):
        assert (system / name).stat().st_mtime == MOMENT, name


def test_bytecode_that_nobody_needs_goes(system: Path) -> None:
    """That of the interpreter's tests; their sources stay."""
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
def test_what_a_program_here_wants_stays(system: Path, text: str, file: str) -> None:
    """Alone; a program is an ELF file, whatever it is called."""
    (system / "opt/vendor/tool").write_text(f"\x7fELF..\0{text}\0")
    slim.slim()
    left = {name for name in names_in(system) if name.startswith("usr/lib/x/")}
    assert left == {"usr/lib/x/gconv/UTF-16.so", f"usr/lib/x/{file}"}


def test_what_a_text_or_the_base_system_says_keeps_nothing(system: Path) -> None:
    """A shell can convert to character sets that nobody chose; the usual ones are there."""
    (system / "opt/vendor/tool").write_text("#!/bin/sh\necho iconv_open")
    (system / "usr/bin/ls").write_text("\x7fELF..\0iconv_open\0")
    slim.slim()
    assert os.listdir(system / "usr/lib/x/gconv") == ["UTF-16.so"]


def test_a_spare_part_that_is_asked_for_stays(system: Path) -> None:
    """By its package; character sets also when a locale has another one than UTF-8."""
    (system / "usr/lib/locale/C.utf8").mkdir(parents=True)
    slim.ASKED.write_text("python3 libstdc++6")
    assert "libstdc++6" in slim.sizes()
    slim.ASKED.write_text("python3 libc6")
    (_, going) = slim.chosen(slim.installed(STATUS))
    assert not any("gconv" in path or "libmvec" in path for path in going)
    slim.ASKED.write_text("python3")
    (_, going) = slim.chosen(slim.installed(STATUS))
    assert any("gconv" in path for path in going)
    (system / "usr/lib/locale/de_DE").mkdir()
    (_, going) = slim.chosen(slim.installed(STATUS))
    assert not any("gconv" in path for path in going)
    assert any("libmvec" in path for path in going)


@pytest.fixture
def slimmed(system: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole base image, when the system is without what nobody wants."""
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
def test_what_a_wheel_wants_comes_back(
    system: Path, slimmed: Path, text: str, files: set[str]
) -> None:
    """With its dates, and no folder has another one for it; dpkg's list names it again."""
    wheels_file = system / "appenv/module.so"
    wheels_file.parent.mkdir()
    wheels_file.write_text(text)
    for name in ("usr/lib/x", "usr", "usr/lib"):
        os.utime(system / name, (MOMENT, MOMENT))
    before = names_in(system)
    slim.bring_back([wheels_file], slimmed)
    assert names_in(system) - before == files
    status = system / "var/lib/dpkg/status"
    listed = set(slim.installed(status.read_text()))
    assert ("libstdc++6" in listed) == ("stdc++" in text)
    assert {"libc6", "python3"} < listed
    for name in (*files, "usr/lib/x", "usr", "usr/lib", "var/lib/dpkg/status"):
        assert (system / name).stat().st_mtime == MOMENT, name


def test_windows_stay_where_they_can_be_opened(system: Path) -> None:
    """That is where the package with their C part is installed; they cannot be imported else."""
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


def test_what_lies_in_a_package_is_summed(system: Path) -> None:
    """Of those that stay, each file once however it is reached."""
    found = slim.sizes()
    assert set(found) == {*("coreutils", "libc6", "libssl3", "perl-base", "python3", "vendor-tool")}
    assert found["python3"] == len("python3" * 10)
