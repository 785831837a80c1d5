"""Projects generated for the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from testbed.projects import BIN, MAKE_VARIABLES, ROOT, Baker, Project, copy_template

__all__ = ["BIN", "ROOT", "Baker", "Project", "copy_template"]

# Modules of the template are imported where they are; cookiecutter would copy their caches.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
for variable in MAKE_VARIABLES:
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository to generate projects from."""
    return copy_template(tmp_path_factory.mktemp("clone") / "slipway")


@pytest.fixture(scope="session")
def bake(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Baker:
    """A function that generates projects: `bake(python="CPython").read("deploy/settings.mk")`."""
    return Baker(template, lambda: tmp_path_factory.mktemp("bake"))
