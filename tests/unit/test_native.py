"""Native dependencies: from what people call a C library to Debian's packages."""

from __future__ import annotations

import configparser
import importlib
import re
import subprocess
import sys

import pytest

from tests.conftest import Project
from tests.unit.conftest import DEPLOY

native = importlib.import_module("native")

CATALOGUE = configparser.ConfigParser(interpolation=None)
CATALOGUE.read(DEPLOY / "native.ini", encoding="utf-8")
PACKAGE = r"[a-z0-9][a-z0-9+.-]+"


@pytest.mark.parametrize("library", CATALOGUE.sections())
def test_every_library_can_be_built_and_run_with(library: str) -> None:
    """Each has headers for the builder, shared libraries for the base image, and nothing else."""
    assert set(CATALOGUE[library]) == {"aliases", "build", "run"}
    for role in ("build", "run"):
        found = native.packages([library], role)
        assert found
        for package in found:
            assert re.fullmatch(rf"{PACKAGE}(\|{PACKAGE})*", package)
            assert package.endswith("-dev") is (role == "build")


def test_no_name_means_two_libraries() -> None:
    """Names and aliases are unique across the catalogue."""
    names = [
        name for each in CATALOGUE for name in (each, *CATALOGUE[each].get("aliases", "").split())
    ]
    names.remove("DEFAULT")
    assert sorted(names) == sorted(set(names))
    assert {name.lower() for name in names} == set(native.catalogue())


@pytest.mark.parametrize("library", CATALOGUE.sections())
def test_debian_packages_are_names_too(library: str) -> None:
    """Who knows the -dev package's name need not learn another."""
    for package in native.packages([library], "build"):
        for choice in package.split("|"):
            assert choice not in native.catalogue() or native.catalogue()[choice].name == library


@pytest.mark.parametrize(
    ("wanted", "build", "run"),
    [
        ([], [], []),
        (["libffi"], ["libffi-dev"], ["libffi8|libffi7"]),
        (["OpenSSL", "libpq-dev"], ["libssl-dev", "libpq-dev"], ["libssl3t64|libssl3", "libpq5"]),
        (["mysqlclient", "mysql"], ["libmariadb-dev"], ["libmariadb3"]),
        (["apt:libfoo-dev"], ["libfoo-dev"], []),
        (["apt:libfoo2", "apt:g++-13"], ["libfoo2", "g++-13"], ["libfoo2", "g++-13"]),
        (["krb5"], ["libkrb5-dev"], ["libgssapi-krb5-2", "libkrb5-3"]),
    ],
)
def test_names_become_packages(wanted: list[str], build: list[str], run: list[str]) -> None:
    """Each name gives what to build with and what to run with, and no package twice."""
    assert native.packages(wanted, "build") == build
    assert native.packages(wanted, "run") == run


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("opensl", "did you mean openssl"),
        ("postgresq", "did you mean postgresql"),
        ("LIBXML", None),
        ("qqqqqq", "see deploy/native.ini. A Debian package is named as apt:PACKAGE"),
        ("apt:Libfoo", "apt:PACKAGE"),
        ("apt:", "apt:PACKAGE"),
        ("apt:-o", "apt:PACKAGE"),
        ("apt:a|b", "apt:PACKAGE"),
    ],
)
def test_an_unknown_name_gives_the_nearest_ones(
    project: Project, name: str, hint: str | None
) -> None:
    """One line on standard error says which word it is and what to write; none when it is known."""
    command = [sys.executable, "deploy/native.py", "run", "openssl", name]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True)
    if hint is None:
        assert done.returncode == 0, done.stderr
        assert done.stdout == "libssl3t64|libssl3 libxml2-16|libxml2\n"
        return
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"NATIVE in deploy/settings.mk names {name!r}" in done.stderr
    assert hint in done.stderr
