"""Docstrings start with Return, Read, Write, Check, Run, Raise or a noun phrase."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

DEPLOY = ROOT / "{{cookiecutter.project}}" / "deploy"
FOLDERS = {
    "slipway": DEPLOY / "slipway",
    "slipway-apps": DEPLOY.parent / "slipway-apps",
    **{name: ROOT / name for name in ("hooks", "measure", "testbed", "tests")},
}
FORBIDDEN = ("Give", "Gives", "Say", "Says", "Take", "Takes", "Let", "Lets", "Have", "Has")
# Sources that stay as their authors wrote them.
VENDORED = DEPLOY / "slipway" / "vendor" / "tomli"


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring in a module."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_start_as_they_should(folder: str) -> None:
    """The message lists every docstring that starts with another verb."""
    modules = [path for path in FOLDERS[folder].rglob("*.py") if VENDORED not in path.parents]
    assert modules
    assert [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sorted(modules)
        for line, text in docstrings(path)
        if text.split(maxsplit=1)[0] in FORBIDDEN
    ] == []
