"""Changes to settings.mk, which leave everything else in it as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.laptop.settings import edit, make_syntax


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("NATIVE :=\nPORT := 1\n", "NATIVE := libpq xml2\nPORT := 1\n"),
        ("NATIVE := openssl\n", "NATIVE := openssl libpq xml2\n"),
        ("NATIVE = openssl # why\n", "NATIVE = openssl libpq xml2 # why\n"),
        (
            "NATIVE := a \\\n    b\nPORT := 1\n",
            "NATIVE := a \\\n    b\nNATIVE += libpq xml2\nPORT := 1\n",
        ),
        ("NATIVE := a\nNATIVE += b\n", "NATIVE := a\nNATIVE += b libpq xml2\n"),
        ("# NATIVE := a\nPORT := 1\n", "# NATIVE := a\nPORT := 1\n\nNATIVE := libpq xml2\n"),
    ],
)
def test_words_are_added_to_the_line(text: str, after: str) -> None:
    """Nothing else changes, and what was there stays; the settings read it so."""
    assert edit.with_libraries(text, ["libpq", "xml2"]) == after
    assert make_syntax.parse(after, {})["NATIVE"][0].split()[-2:] == ["libpq", "xml2"]


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("PORT := 1 # why\nA := b\n", "PORT := a$$b\\#c # why\nA := b\n"),
        ("A := b\nPORT = 1 \\\n  2\n", "A := b\nPORT := a$$b\\#c\n"),
        ("export PORT ?= 1\n", "export PORT := a$$b\\#c\n"),
        ("A := b\n", "A := b\n\nPORT := a$$b\\#c\n"),
    ],
)
def test_a_value_is_written_so_that_it_is_read_as_it_was(text: str, after: str) -> None:
    """Comments stay, and characters that mean something to make are escaped."""
    assert edit.with_value(text, "PORT", "a$b#c") == after
    assert make_syntax.parse(after, {})["PORT"][0].strip() == "a$b#c"


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    """It may be private, or shared by a group."""
    path = tmp_path / "settings.mk"
    path.write_text("A := b\n")
    path.chmod(0o660)
    edit.write(path, "A := c\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("A := c\n", 0o660)
