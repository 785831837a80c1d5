"""The reference pages and the tables in the code that they are made of."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "reference"
spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
assert spec and spec.loader
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("name", sorted(generate.PAGES))
def test_page_is_what_the_table_says(name: str) -> None:
    """After a change of a table: make reference."""
    page = Path(FOLDER, name).read_text(encoding="utf-8")
    assert page == generate.PAGES[name](), "run: make reference"
