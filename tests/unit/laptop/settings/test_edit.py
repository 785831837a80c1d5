"""Changes of one setting in settings.mk."""

from __future__ import annotations

import pytest

from slipway.laptop.settings import edit


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A := 1\nB := 2 # why\n", "B := x # why"),
        ("B ?= 2\n", "B := x"),
        ("B := 1 \\\n  2\nA := 3\n", "B := x"),
        ("A := 1\n", "B := x"),
    ],
)
def test_one_setting_is_changed_in_its_place(text: str, line: str) -> None:
    """Its comment stays, its continuation lines are removed, and a missing setting is added."""
    lines = edit.with_value(text, "B", "x").splitlines()
    assert line in lines
    assert [each for each in lines if each.startswith("A")] == [
        each for each in text.splitlines() if each.startswith("A")
    ]
    assert not any("2" in each for each in lines)
