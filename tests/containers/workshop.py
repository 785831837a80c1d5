"""A project in which things are built again and again."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Project
from tests.containers.laptop import Laptop, commit, write


class Running:
    """A make at work in the background, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Take the process, and the file that has what it says."""
        self._process = process
        self._log = log

    @property
    def said(self) -> str:
        """What it has said until now."""
        return self._log.read_text(encoding="utf-8")

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that it does; fail with what it said when it ended before."""
        while not is_so():
            assert self._process.poll() is None, self.said
            time.sleep(0.02)

    def kill(self) -> None:
        """End it and all that it has started here at once, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def fails(self) -> str:
        """Wait for its end, which must be a bad one; gives all that it said."""
        assert self._process.wait() != 0, self.said
        return self.said

    def end(self) -> str:
        """Wait for its end, which must be a good one; gives all that it said."""
        assert self._process.wait() == 0, self.said
        return self.said


@dataclass(frozen=True)
class Workshop:
    """A project in which things are built again and again, and what came of it."""

    laptop: Laptop
    project: Project
    name: str
    logs: Path
    variables: Mapping[str, str]

    def make(self, *words: str, **environment: str) -> str:
        """Run make in the project; fail with all that it said when it fails."""
        return self.laptop.make(self.project, *words, **{**self.variables, **environment})

    def make_fails(self, *words: str, **environment: str) -> str:
        """Run make in the project, which must fail; give what it said."""
        return self.laptop.make_fails(self.project, *words, **{**self.variables, **environment})

    def compiled(self, *words: str, **environment: str) -> set[str]:
        """Run make; gives the names of the packages that were built from source for it."""
        said = self.make(*words, **environment)
        return set(re.findall(r"^wheels: building (\S+) \S+ from source", said, re.M))

    def start(self, *words: str) -> Running:
        """Run make in the project, and do not wait for its end."""
        log = self.logs / secrets.token_hex(4)
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["make", *words],
                cwd=self.project.path,
                env={**os.environ, **self.laptop.engine.environment, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(process, log)

    def has_nothing_to_do(self, *words: str) -> bool:
        """Say whether make has nothing to do, and says so of each word."""
        said = self.make(*words).splitlines()
        return len(said) == len(words) and all("nothing to do" in line for line in said)

    @property
    def wheelhouse(self) -> Path:
        """The folder that the wheels are in."""
        return self.project.path / "wheelhouse" / "python3"

    @property
    def image(self) -> str:
        """The run image's ID; empty when there is none."""
        return self.laptop.image_id(f"{self.name}-run")

    @property
    def answer(self) -> str:
        """What the run image says, which is a program that ends."""
        return self.laptop.docker("run", "--rm", f"{self.name}-run").strip()

    @property
    def packages(self) -> list[str]:
        """What the run image has in site-packages, as in `idna-3.10`."""
        listed = self.laptop.runs(f"{self.name}-run", "ls /appenv/lib/python3*/site-packages")
        ending = ".dist-info"
        return [name.removesuffix(ending) for name in listed.split() if name.endswith(ending)]

    def wheels(self) -> dict[str, str]:
        """Give the sum of each file in the wheelhouse, by its place."""
        return {
            path.relative_to(self.wheelhouse).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for part in ("app", "deps")
            for path in sorted((self.wheelhouse / part).iterdir())
        }

    def is_whole(self) -> bool:
        """Say whether the wheelhouse has what its own lists name, and nothing else."""
        found = self.wheels()
        listed = set()
        for part in ("deps", "app"):
            text = (self.wheelhouse / part / "requirements.txt").read_text(encoding="utf-8")
            listed |= set(re.findall(r"--hash=sha256:(\S+)", text))
            del found[f"{part}/requirements.txt"]
        return set(found.values()) == listed

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that is there in one of the project's files."""
        text = self.project.read(name)
        assert old in text, text
        (self.project.path / name).write_text(text.replace(old, new), encoding="utf-8")

    def check_out(self, commit: str) -> None:
        """Have the files of a commit and no others, besides those that git does not see."""
        for words in (
            ("reset", "--quiet", "--hard", commit),
            ("clean", "--quiet", "-d", "--force"),
        ):
            done = self.project.run("git", *words)
            assert done.returncode == 0, done.stdout


GREETER = {
    "pyproject.toml": """\
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "greeter"
        version = "1.0"
        dependencies = ["idna"]
        [project.scripts]
        greet = "greeter:main"
        [tool.setuptools]
        py-modules = ["greeter"]
    """,
    # a build that takes its time, and says so, where there is a file of that name
    "setup.py": """\
        import os, time
        from setuptools import setup
        if os.path.exists("slow"):
            open("/wheelhouse/asleep", "w").close()
            time.sleep(2)
        setup()
    """,
    "greeter.py": "def main():\n    print('first')\n",
    "tests/test_greeter.py": "import greeter\n",
}


def greeter_in(laptop: Laptop, project: Project, logs: Path) -> tuple[Workshop, str]:
    """Make a project without an application a small one that is built; gives its commit too."""
    name = re.findall(r"^PROJECT := (\S+)$", project.read("deploy/settings.mk"), re.M)[0]
    write(project.path, GREETER)
    workshop = Workshop(laptop, project, name, logs, {})
    workshop.make("lock")
    workshop.make("base")
    first = commit(project, "First")
    workshop.make("image")
    return workshop, first


COMPILED = "gunicorn\ngreenlet\nmarkupsafe\n--no-binary markupsafe\n"
