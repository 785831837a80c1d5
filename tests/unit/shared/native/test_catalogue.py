"""The catalogue of C libraries: from any of their names to Debian packages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.shared.native import catalogue as native
from tests.conftest import Project

LIBRARIES = {library.name: library for library in native.catalogue().libraries}
PACKAGE = r"[a-z0-9][a-z0-9+.-]+"
# What is only built with, and what is only there when a program runs.
BUILT_WITH = (
    "cmake meson ninja swig nasm autotools bison flex git perl protoc rust clang llvm".split()
)
RUN_WITH = "atomic gomp".split()
SPELLINGS = [
    line
    for line in (Path(__file__).parents[2] / "data" / "spellings.txt").read_text().splitlines()
    if not line.startswith("#")
]


def test_catalogue_has_what_people_ask_for() -> None:
    """Web, databases, images, XML, cryptography, messaging, geography and audio are covered."""
    assert len(LIBRARIES) >= 200
    for name in "openssl libpq mariadb jpeg xml2 sodium zeromq rdkafka geos gdal sndfile".split():
        assert name in LIBRARIES


def test_every_library_is_made_of_packages() -> None:
    """Each library has packages to build and to run with, except tools and headers."""
    problems = []
    for name, library in LIBRARIES.items():
        needs = library.libraries and name not in BUILT_WITH
        if needs and not native.packages([name], "run"):
            problems.append(f"{name}: no package to run with")
        if not library.build and name not in RUN_WITH:
            problems.append(f"{name}: no package to build with")
        problems += [
            f"{name}: {package} is not the name of a package"
            for package in (*library.build, *library.run)
            if not re.fullmatch(rf"{PACKAGE}(\|{PACKAGE})*", package)
        ]
        problems += [
            f"{name}: {package} is not a package to run with"
            for package in library.run
            if package.endswith("-dev")
        ]
    assert not problems, "\n".join(problems)


def test_no_name_means_two_libraries() -> None:
    """Names and aliases are unique across the catalogue."""
    names = [name.lower() for library in LIBRARIES.values() for name in library.names()]
    assert sorted(names) == sorted(set(names))


def test_every_part_of_a_library_leads_to_one() -> None:
    """A user who knows a package, header, pkg-config module, program or -l finds the library."""
    known = native.catalogue()
    wrong = [name for name, library in LIBRARIES.items() if known.find(name) is not library]
    for name, library in LIBRARIES.items():
        words = [*library.aliases, *library.packages(), *library.modules, *library.programs]
        words += [f"-l{stem}" for stem in library.libraries]
        wrong += [f"{name}: {word}" for word in words if known.find(word) is None]
        for header in library.headers:
            path = header.replace("*", "x") + ("x.h" if header.endswith("/") else "")
            wrong += [] if known.by_header(path) else [f"{name}: {header}"]
        for stem in library.libraries:
            wrong += [] if known.by_file(f"lib{stem}.so.1") else [f"{name}: lib{stem}.so.1"]
    assert not wrong, f"these lead to no library, or to another one: {', '.join(wrong)}"


@pytest.mark.parametrize(
    ("word", "library"),
    [
        ("PostgreSQL", "libpq"),
        ("pq", "libpq"),
        ("libpq5", "libpq"),
        ("pg_config", "libpq"),
        ("psycopg2", "libpq"),
        ("libpq.so.5", "libpq"),
        ("libxml/parser.h", "xml2"),
        ("libxml-2.0", "xml2"),
        ("libssl1.1", "openssl"),
        ("libjpeg8-dev", "jpeg"),
        ("-lssl", "openssl"),
        ("libffi-devel", "libffi"),
        ("kerberos", "krb5"),
        ("libmysqlclient-dev", "mariadb"),
    ],
)
def test_a_library_is_known_as_people_say_it(word: str, library: str) -> None:
    """Names of other releases and distributions work as well."""
    found = native.catalogue().find(word)
    assert found and found.name == library


def test_a_library_is_known_by_what_other_systems_call_it() -> None:
    """A user knows the name of Fedora, Alpine, Homebrew, conda or an older release."""
    known = native.catalogue()
    wrong = []
    for line in SPELLINGS:
        library, _, words = line.partition(": ")
        for word in words.split():
            found = known.find(word)
            if found is None or found.name != library:
                wrong.append(f"{word} gives {found.name if found else None}, not {library}")
    assert len(SPELLINGS) > 200
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("libpq.so.5", "pq"),
        ("libpq-9b38f5e3.so.5.17", "pq"),
        ("/usr/lib/libglib-2.0.so.0", "glib-2.0"),
        ("libz.a", "z"),
        ("_psycopg.cpython-313-x86_64-linux-gnu.so", "_psycopg.cpython-313-x86_64-linux-gnu"),
    ],
)
def test_stem_is_what_a_linker_calls_a_library(name: str, stem: str) -> None:
    """The version, and the checksum that auditwheel adds, are removed."""
    assert native.stem_of(name) == stem


@pytest.mark.parametrize(
    ("wanted", "build", "run"),
    [
        ([], [], []),
        (["libffi"], ["libffi-dev"], ["libffi8"]),
        (
            ["OpenSSL", "libpq-dev"],
            ["libssl-dev", "libpq-dev"],
            ["libssl3t64|libssl3|for:libssl-dev", "libpq5"],
        ),
        (["mysqlclient", "mysql"], ["libmariadb-dev"], ["libmariadb3"]),
        (["LIBXML"], ["libxml2-dev"], ["libxml2-16|libxml2|for:libxml2-dev"]),
        (["apt:libfoo-dev"], ["libfoo-dev"], ["for:libfoo-dev"]),
        (["apt:libfoo2", "build:g++-13"], ["libfoo2", "g++-13"], ["for:libfoo2"]),
        (["locale:ca_ES.UTF-8@valencia"], [], ["locale:ca_ES.UTF-8@valencia"]),
        (["rados"], ["librados-dev", "librbd-dev"], ["for:librados-dev", "for:librbd-dev"]),
        (["krb5"], ["libkrb5-dev"], ["libgssapi-krb5-2", "libkrb5-3", "libk5crypto3"]),
    ],
)
def test_names_become_packages(wanted: list[str], build: list[str], run: list[str]) -> None:
    """Each name leads to packages to build and to run with, and no package is repeated."""
    assert native.packages(wanted, "build") == build
    assert native.packages(wanted, "run") == run


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("opensl", "did you mean openssl"),
        ("postgresq", "did you mean libpq"),
        ("libpoplr-devel", "did you mean poppler"),
        ("LIBXML", None),
        (
            "qqqqqq",
            "see deploy/slipway/shared/native/catalogue.ini."
            " A Debian package is named as apt:PACKAGE",
        ),
        ("locale:de_DE", "write a locale as locale:de_DE.UTF-8"),
        ("apt:Libfoo", "apt:PACKAGE"),
        ("apt:", "apt:PACKAGE"),
        ("apt:-o", "apt:PACKAGE"),
        ("apt:a|b", "apt:PACKAGE"),
    ],
)
def test_an_unknown_name_gives_the_nearest_ones(
    project: Project, name: str, hint: str | None
) -> None:
    """One line on standard error names the word and suggests others."""
    command = [sys.executable, "deploy/slipway/shared/native/catalogue.py"]
    command += ["build", "openssl", name]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True)
    if hint is None:
        assert done.returncode == 0, done.stderr
        assert done.stdout == "libssl-dev libxml2-dev\n"
        return
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"NATIVE in deploy/settings.mk names {name!r}" in done.stderr
    assert hint in done.stderr


def test_words_that_mean_the_same_are_not_added() -> None:
    """Different names of a library count as one."""
    there = ["libpq-dev", "apt:cmake"]
    assert native.unlike(["postgresql", "apt:cmake"], there) == []
    assert native.unlike(["ssl", "openssl", "apt:git"], there) == ["openssl", "apt:git"]


def test_what_no_word_brings_is_said() -> None:
    """The builder has some programs, and Debian does not have some libraries."""
    known = native.catalogue()
    for word, said in {"gcc": "always has it", "Oracle": "not in Debian", "db2": "ibm-db"}.items():
        with pytest.raises(native.UnknownName, match=said):
            native.check(word, known)
