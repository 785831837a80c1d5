"""Generated into a directory that is there, by cookiecutter's own flags; nothing is lost."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Baker, Project

MINE = {"README.md": "mine\n", "Makefile": "all: ; @echo mine\n", "src/shop.py": "x = 1\n"}


@pytest.fixture
def mine(tmp_path: Path) -> Project:
    """A repository with files of the same names as generated ones, and an empty folder."""
    for name, text in MINE.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "shop" / "tests").mkdir()
    return Project(tmp_path / "shop", "")


def generate(bake: Baker, project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """Run cookiecutter in a repository, for the directory that it is."""
    config = project.path.parent / "config.yaml"
    home = project.path.parent
    config.write_text(f"cookiecutters_dir: {home}\nreplay_dir: {home}/replay\n", encoding="utf-8")
    command: list[str | Path] = [
        BIN / "cookiecutter",
        "--no-input",
        "--config-file",
        config,
        "-o",
        "..",
    ]
    return project.run(
        *command, bake.template, "app=existing", f"project={project.path.name}", *words
    )


def has_what_was_there(project: Project, *but: str) -> bool:
    """Say whether all files are as they were, but some."""
    same = all(project.read(name) == text for name, text in MINE.items() if name not in but)
    return same and project.has("tests")


def test_without_a_flag_it_stops(bake: Baker, mine: Project) -> None:
    """The directory is named, and nothing is written into it."""
    done = generate(bake, mine)
    assert done.returncode != 0
    assert "shop" in done.stdout
    assert has_what_was_there(mine)
    assert not mine.has("deploy")


def test_skip_keeps_what_is_there_and_lists_it(bake: Baker, mine: Project) -> None:
    """The line that the Makefile lacks is said; then its make does what it did, and ours too."""
    done = generate(bake, mine, "--overwrite-if-exists", "--skip-if-file-exists")
    assert done.returncode == 0, done.stdout
    assert has_what_was_there(mine)
    assert "as it was: Makefile\nas it was: README.md\n" in done.stdout
    assert "add this line to your Makefile: include deploy/deploy.mk" in done.stdout
    assert "replaced" not in done.stdout
    assert not mine.has(".generated-into.json")
    (mine.path / "Makefile").open("a").write("include deploy/deploy.mk\n")
    assert mine.run("make").stdout == "mine\n"
    assert "make wheels" in mine.run("make", "help").stdout


def test_overwrite_lists_what_it_replaced(bake: Baker, mine: Project) -> None:
    """As cookiecutter says: files of the template's names, and no others."""
    done = generate(bake, mine, "--overwrite-if-exists")
    assert done.returncode == 0, done.stdout
    assert "replaced: Makefile\nreplaced: README.md\n" in done.stdout
    assert has_what_was_there(mine, "Makefile", "README.md")


@pytest.mark.parametrize("answer", ["native_deps=opensl", "port=0"])
def test_a_refused_answer_loses_nothing(bake: Baker, mine: Project, answer: str) -> None:
    """A hook that fails leaves a directory that was there as it was."""
    done = generate(bake, mine, "--overwrite-if-exists", answer)
    assert done.returncode != 0
    assert has_what_was_there(mine)
    assert not mine.has(".generated-into.json")
