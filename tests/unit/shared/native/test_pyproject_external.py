"""PEP 725's [external] table in an application's pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slipway.shared import toml
from slipway.shared.native import pyproject_external as external
from tests.unit.conftest import DEPLOY

EXTERNAL = """\
[project]
name = "shop"
[external]
build-requires = [
  "dep:virtual/compiler/c", # a compiler [of C]
  "dep:virtual/compiler/rust",
]
host-requires = ["dep:generic/libpq", 'pkg:generic/openssl@>=3', "dep:generic/frob"]
dependencies = ["dep:generic/libmagic; sys_platform == 'linux'"]
[tool.x]
dependencies = ["dep:generic/zlib"]
"""


def test_external_table_is_read(tmp_path: Path) -> None:
    """Entries become library names; entries that the builder always has need no name."""
    names = ["rust", "libpq", "openssl", "magic"]
    assert external.words(toml.loads(EXTERNAL, "")) == (names, ["dep:generic/frob"])
    (tmp_path / "pyproject.toml").write_text(EXTERNAL)
    assert external.of(tmp_path) == names


def test_external_table_may_be_written_as_dotted_keys(tmp_path: Path) -> None:
    """The file is TOML, in all its forms, with or without a byte order mark."""
    text = "\ufeffexternal.host-requires = ['dep:generic/libpq', 3]\nexternal.dependencies = 'x'\n"
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert external.of(tmp_path) == ["libpq"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[project]\nname = 'external'\n", "external = 1\n", "[external]\n"),
        "[external.x]\na = ['b']\n",
    ],
)
def test_no_external_table_is_nothing(tmp_path: Path, text: str) -> None:
    """Other values may have that name."""
    assert external.words(toml.loads(text, "")) == ([], [])
    (tmp_path / "pyproject.toml").write_text(text)
    assert external.of(tmp_path) == []
    assert external.of(tmp_path / "nowhere") == []


def test_file_without_the_table_is_not_parsed(tmp_path: Path) -> None:
    """Every command reads this file, and importing the parser takes a while."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    script = f"""\
import pathlib, sys
from slipway.shared import git_version
from slipway.shared.native import pyproject_external
here = pathlib.Path({str(tmp_path)!r})
assert pyproject_external.of(here) == []
assert git_version.version(here) == ""
assert "tomllib" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=DEPLOY).returncode == 0
