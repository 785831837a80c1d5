"""The TOML reader, and its errors in one line each."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from slipway.shared import toml
from slipway.vendor import tomli
from tests.conftest import ROOT

LOCK = """\
# a lock
[[package]]
name = "six"
source = { registry = "https://index.example" }
wheels = [
    { hash = "sha256:aa", size = 1 },
]
"""


@pytest.fixture(params=["this Python's reader", "the vendored reader"])
def reader(request: pytest.FixtureRequest) -> Any:
    """The module, with the reader of a new Python and of an old one."""
    with (
        mock.patch.object(sys, "version_info", (3, 9))
        if "vendored" in request.param
        else (mock.MagicMock())
    ):
        yield toml


def test_both_readers_return_the_same(reader: Any) -> None:
    """Nested tables, arrays of tables, texts and numbers."""
    assert reader.loads(LOCK, "uv.lock") == {
        "package": [
            {
                "name": "six",
                "source": {"registry": "https://index.example"},
                "wheels": [{"hash": "sha256:aa", "size": 1}],
            }
        ]
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[project]\nname = shop\n", "(at line 2, column 8)"),
        ("[project\n", "(at line 1, column 9)"),
        ("a = 1\na = 2\n", "(at line 2, column 6)"),
        ('a = "x\n', "(at line 1, column 7)"),
        ("<<<<<<< HEAD\na = 1\n", "(at line 1, column 1)"),
    ],
)
def test_text_that_is_not_toml_is_named_with_its_line(reader: Any, text: str, says: str) -> None:
    """The message is one line, without a traceback of the parser."""
    with pytest.raises(ValueError, match=r"^pyproject\.toml is not valid TOML: ") as problem:
        reader.loads(text, "pyproject.toml")
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


def test_values_that_are_nested_too_deeply_are_refused(reader: Any) -> None:
    """They would exhaust the stack."""
    with pytest.raises(ValueError, match=r"^x\.toml is not valid TOML: "):
        reader.loads("a = " + "[" * 99_999, "x.toml")


def test_file_may_have_a_byte_order_mark_and_windows_line_ends(reader: Any, tmp_path: Path) -> None:
    """Editors of Windows write both."""
    path = tmp_path / "pyproject.toml"
    path.write_bytes(b"\xef\xbb\xbf[project]\r\nname = 'shop'\r\n")
    assert reader.read(path) == {"project": {"name": "shop"}}
    path.write_bytes("[project]".encode("utf-16"))
    with pytest.raises(ValueError, match=r"^pyproject\.toml is not UTF-8 text: save it as UTF-8$"):
        reader.read(path)


def test_value_of_another_type_is_no_table_and_no_array() -> None:
    """A reader of a file does not check each type."""
    content = {"a": {"b": {"c": ["x", 1, "y"]}}, "d": 1}
    assert toml.table(content, "a", "b") == {"c": ["x", 1, "y"]}
    assert toml.table(content, "d", "e") == toml.table(content, "nothing") == {}
    assert toml.texts(toml.table(content, "a", "b"), "c") == ["x", "y"]
    assert toml.texts(content, "d") == toml.texts(content, "nothing") == []


def test_vendored_library_is_named_with_its_version_and_licence() -> None:
    """So that a reader can compare it with the original."""
    folder = Path(tomli.__file__).parent
    assert f"tomli {tomli.__version__} (MIT licence" in (
        importlib.import_module("slipway.vendor").__doc__ or ""
    )
    assert (folder / "LICENSE").read_text().startswith("MIT License")
    assert folder.is_relative_to(ROOT)
