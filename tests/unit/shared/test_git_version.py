"""The version according to git, for back ends in the builder, which has no repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slipway.shared import git_version as scm

ANN = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")


def git(folder: Path, *words: str) -> None:
    """Run git in a folder."""
    subprocess.run(["git", *ANN, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one commit, whose back end reads the version from git."""
    (tmp_path / "pyproject.toml").write_text('[tool.pdm.version]\nsource = "scm"\n')
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "One")
    return tmp_path


@pytest.mark.parametrize(
    ("tag", "version"),
    [("1.2", "1.2"), ("v2.0.1", "2.0.1"), ("shop-3.0rc1", "3.0rc1"), ("new", "0")],
)
def test_a_tag_is_the_version(tree: Path, tag: str, version: str) -> None:
    """The text before the number is removed; a tag without a number does not count."""
    git(tree, "tag", tag)
    assert scm.version(tree) == version


def test_commits_after_a_tag_are_counted(tree: Path) -> None:
    """A later commit has a later version."""
    git(tree, "tag", "v1.2")
    git(tree, "commit", "--allow-empty", "--quiet", "-m", "Two")
    assert scm.version(tree) == "1.2.post1"


def test_no_git_is_no_hindrance(tmp_path: Path) -> None:
    """Without git the version is 0; it is empty if the back end does not read it from git."""
    (tmp_path / "setup.cfg").write_text("[options]\nsetup_requires = setuptools_scm\n")
    assert scm.version(tmp_path) == "0"
    (tmp_path / "setup.cfg").write_text("[metadata]\nversion = 1\n")
    assert scm.version(tmp_path) == ""
    assert scm.variables("") == {}
    assert set(scm.variables("1").values()) == {"1"}


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ('[build-system]\nrequires = ["setuptools>=61", "setuptools_scm[toml]>=8"]\n', True),
        ('[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n', True),
        ('build-system.requires = ["flit.scm"]\n', True),
        ("[tool.poetry-dynamic-versioning]\nenable = true\n", True),
        ('[tool.hatch.version]\nsource = "vcs"\n', True),
        ('[tool.pdm]\nversion = {source = "scm"}\n', True),
        ('[tool.pdm]\nversion = {source = "file"} # or scm\n', False),
        ('[project]\ndescription = "scm, vcs and versioningit"\n', False),
        ('[project]\ndependencies = ["setuptools_scm"]\n', False),
        ("tool = 1\nbuild-system = 'scm'\n", False),
    ],
)
def test_a_back_end_that_reads_git_is_known_by_its_name(
    tmp_path: Path, text: str, asks: bool
) -> None:
    """A build requirement, its own table or the source of the version shows it."""
    (tmp_path / "pyproject.toml").write_text(text)
    assert scm.takes_it_from_git(tmp_path) is asks
