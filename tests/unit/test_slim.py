"""What stays of a Debian system when only an application is to run on it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

slim = importlib.import_module("slim")

STATUS = """\
Package: apt
Status: install ok installed
Priority: required
Architecture: amd64
Depends: libapt-pkg (>= 3.0), libc6 (>= 2.38), sqv | gpgv

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
    "libc6:amd64": ("usr/lib/libc.so",),
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
    del found["vendor-tool"]
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
    for name in ("DPKG", "ASKED"):
        monkeypatch.setattr(slim, name, tmp_path / getattr(slim, name).relative_to("/"))
    for name in ("LINKED", "MOUNTED_IN"):
        monkeypatch.setattr(slim, name, [f"{tmp_path}{each}" for each in getattr(slim, name)])
    monkeypatch.setattr(slim, "LIBRARIES", tmp_path / "usr/lib")
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
    assert os.listdir(system / "var/lib/dpkg") == ["status"]


def test_folders_that_shrank_have_the_date_of_the_base_image(system: Path) -> None:
    """So that two builds have the same bytes."""
    slim.slim()
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


def test_what_lies_in_a_package_is_summed(system: Path) -> None:
    """Of those that stay, each file once however it is reached."""
    found = slim.sizes()
    assert set(found) == {*("coreutils", "libc6", "libssl3", "perl-base", "python3", "vendor-tool")}
    assert found["python3"] == len("python3" * 10)
