"""Projects generated from this template by cookiecutter, with its own command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project}}"
# Programs of the virtualenv that runs this, such as cookiecutter.
BIN = Path(sys.executable).parent
# The attachments application, with the package blobfiles.
BLOBFILES = TEMPLATE / "slipway-apps" / "attachments" / "src"
# make passes these on to every make below it, which would then behave as a part of the first one.
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")


def without_make(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that make passes on, and without PYTHON."""
    passed_on = (*MAKE_VARIABLES, "PYTHON")
    return {name: value for name, value in environment.items() if name not in passed_on}


@dataclass(frozen=True)
class Project:
    """A generated project, and the output of cookiecutter."""

    path: Path
    output: str

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; the caller checks its status and output."""
        return subprocess.run(
            command,
            cwd=self.path,
            env={**os.environ, **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def read(self, name: str) -> str:
        """Return the text of a file in the project."""
        return (self.path / name).read_text(encoding="utf-8")

    def has(self, name: str) -> bool:
        """Check whether the project has a file or folder with this name."""
        return (self.path / name).exists()

    def files(self) -> dict[str, str]:
        """Return git's mode of each file, and `empty` for each empty folder."""
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
    """Generates projects, each in its own folder."""

    def __init__(self, template: Path, directory: Callable[[], Path]) -> None:
        """Remember the template, and a function that returns a new folder for each project."""
        self.template = template
        self.directory = directory

    def __call__(self, **answers: str) -> Project:
        """Return a project generated with these answers, which must be valid."""
        done, place = self.cookiecutter(answers)
        assert done.returncode == 0, done.stdout
        return Project(place / answers.get("project", "deployme"), done.stdout)

    def refused(self, **answers: str) -> str:
        """Return the output for answers that must be rejected, without any generated file."""
        done, place = self.cookiecutter(answers)
        assert done.returncode != 0, f"{answers} were not refused"
        assert not [path for path in place.parent.rglob("*") if path.is_file()]
        return done.stdout

    def cookiecutter(
        self, answers: dict[str, str], place: Path | None = None
    ) -> tuple[subprocess.CompletedProcess[str], Path]:
        """Run cookiecutter without questions; return its result and the folder it ran in.

        The folder is a new one, two levels deep, unless place names one.
        """
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
    """Copy this repository to place, as in a clone, but with uncommitted changes; return place."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listing, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    return place
