"""Projects baked for the tests, by stock cookiecutter on its own command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# Modules of the template are imported where they stand; a bake would copy the caches.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
# What `make test` hands down would make each make of a test speak as one inside another.
for handed_down in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
    os.environ.pop(handed_down, None)


@dataclass(frozen=True)
class Project:
    """A generated project, and what cookiecutter said of it."""

    path: Path
    output: str

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; its status and output are the caller's to judge."""
        return subprocess.run(
            command,
            cwd=self.path,
            env={**os.environ, **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def read(self, name: str) -> str:
        """Give the text of one of its files."""
        return (self.path / name).read_text(encoding="utf-8")

    def has(self, name: str) -> bool:
        """Say whether it has a file or directory of that name."""
        return (self.path / name).exists()

    def files(self) -> dict[str, str]:
        """Give the mode of each file as git keeps it, and of each directory that is empty."""
        found = {}
        for path in sorted(self.path.rglob("*")):
            if path.is_file():
                found[path.relative_to(self.path).as_posix()] = (
                    "755" if path.stat().st_mode & 0o100 else "644"
                )
            elif not any(path.iterdir()):
                found[path.relative_to(self.path).as_posix()] = "empty"
        return found


class Baker:
    """Generates projects, each in a directory of its own."""

    def __init__(self, template: Path, directory: Callable[[], Path]) -> None:
        """Take a template, and something that gives a new directory for each project."""
        self.template = template
        self.directory = directory

    def __call__(self, **answers: str) -> Project:
        """Generate a project that must come out well."""
        done, place = self.cookiecutter(answers)
        assert done.returncode == 0, done.stdout
        return Project(place / answers.get("project", "deployme"), done.stdout)

    def refused(self, **answers: str) -> str:
        """Give what is said of answers that must be refused, with nothing generated."""
        done, place = self.cookiecutter(answers)
        assert done.returncode != 0, f"{answers} were not refused"
        assert not [path for path in place.parent.rglob("*") if path.is_file()]
        return done.stdout

    def cookiecutter(
        self, answers: dict[str, str], place: Path | None = None
    ) -> tuple[subprocess.CompletedProcess[str], Path]:
        """Run cookiecutter without questions, in a new place two levels deep or in a given one."""
        home = self.directory()
        if place is None:
            place = self.directory() / "place"
            place.mkdir()
        config = home / "config.yaml"
        config.write_text(f"cookiecutters_dir: {home}\nreplay_dir: {home}\n", encoding="utf-8")
        done = subprocess.run(
            [
                *(BIN / "cookiecutter", "--no-input", "--config-file", config, self.template),
                *(f"{question}={answer}" for question, answer in answers.items()),
            ],
            cwd=place,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done, place


def copy_template(place: Path) -> Path:
    """Copy this repository as a clone of it would be, uncommitted work included; gives place."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listing, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository to generate from."""
    return copy_template(tmp_path_factory.mktemp("clone") / "slipway")


@pytest.fixture(scope="session")
def bake(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Baker:
    """Generate projects: `bake(python="CPython").read("deploy/settings.mk")`."""
    return Baker(template, lambda: tmp_path_factory.mktemp("bake"))
