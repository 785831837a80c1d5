"""The template through cruft, which people use to get later versions of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Baker, Project

GIT = ["git", "-c", "user.name=tests", "-c", "user.email=tests@example.com"]


@pytest.fixture(scope="module")
def repository(template: Path) -> Path:
    """The template as a git repository with one commit."""
    subprocess.run([*GIT, "init", "--quiet", "--initial-branch=main"], cwd=template, check=True)
    subprocess.run([*GIT, "add", "--all"], cwd=template, check=True)
    subprocess.run([*GIT, "commit", "--quiet", "--message=It"], cwd=template, check=True)
    return template


def cruft(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run cruft without the user's own cookiecutter configuration."""
    return subprocess.run(
        [BIN / "cruft", *arguments],
        cwd=directory,
        env={**os.environ, "HOME": str(directory)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize("app", ["hello", "attachments", "existing"])
def test_cruft_creates_what_cookiecutter_does(
    repository: Path, bake: Baker, tmp_path: Path, app: str
) -> None:
    """The same files, modes and texts, and cruft's own note of where they came from."""
    done = cruft(
        tmp_path, "create", "--no-input", repository, "--extra-context", json.dumps({"app": app})
    )
    assert done.returncode == 0, done.stdout
    made, baked = Project(tmp_path / "deployme", done.stdout), bake(app=app)
    assert made.files() == {**baked.files(), ".cruft.json": "644"}
    for name in baked.files():
        assert made.read(name) == baked.read(name)


def test_cruft_finds_a_new_project_up_to_date(repository: Path, tmp_path: Path) -> None:
    """`cruft check` and `cruft diff` have nothing to say of what was just created."""
    assert cruft(tmp_path, "create", "--no-input", repository).returncode == 0
    assert cruft(tmp_path / "deployme", "check").returncode == 0
    assert "@@" not in cruft(tmp_path / "deployme", "diff").stdout


def test_cruft_refuses_an_unknown_library(repository: Path, tmp_path: Path) -> None:
    """cruft does not say where the catalogue is; the name is refused all the same."""
    answers = json.dumps({"native_deps": "opensl"})
    done = cruft(tmp_path, "create", "--no-input", repository, "--extra-context", answers)
    assert done.returncode != 0
    assert "openssl" in done.stdout
    assert not (tmp_path / "deployme").exists()
