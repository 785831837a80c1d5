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
    """A make that runs in the background, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Remember the process, and the file that has its output."""
        self._process = process
        self._log = log

    @property
    def said(self) -> str:
        """Its output until now."""
        return self._log.read_text(encoding="utf-8")

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; fail with the output of make when it ends before that."""
        while not is_so():
            assert self._process.poll() is None, self.said
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it, and all processes that it has started here, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def fails(self) -> str:
        """Wait for its end, which must be a failure, and return its output."""
        assert self._process.wait() != 0, self.said
        return self.said

    def end(self) -> str:
        """Wait for its end, which must be a success, and return its output."""
        assert self._process.wait() == 0, self.said
        return self.said


@dataclass(frozen=True)
class Workshop:
    """A project in which things are built again and again, and the results."""

    laptop: Laptop
    project: Project
    name: str
    logs: Path
    variables: Mapping[str, str]

    def make(self, *words: str, **environment: str) -> str:
        """Run make in the project, and return its output; the test fails when make fails."""
        return self.laptop.make(self.project, *words, **{**self.variables, **environment})

    def make_fails(self, *words: str, **environment: str) -> str:
        """Run make in the project, and return its output; the test fails when make succeeds."""
        return self.laptop.make_fails(self.project, *words, **{**self.variables, **environment})

    def compiled(self, *words: str, **environment: str) -> set[str]:
        """Run make, and return the names of the packages that it has built from source."""
        said = self.make(*words, **environment)
        return set(re.findall(r"^builder: building (\S+) \S+ from source", said, re.M))

    def start(self, *words: str) -> Running:
        """Run make in the project without waiting for its end."""
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

    def is_building(self) -> bool:
        """Return whether a back end is at work in a sandbox of the project."""
        volume = f"volume={self.name}-sandbox"
        listed = self.laptop.docker("ps", "--quiet", "--filter", volume).split()
        environment = {**os.environ, **self.laptop.engine.environment}
        for each in listed:
            # a container may end in between
            words = ["docker", "top", each]
            shown = subprocess.run(words, env=environment, capture_output=True, check=False)
            if b"_in_process.py" in shown.stdout:
                return True
        return False

    def has_nothing_to_do(self, *words: str) -> bool:
        """Return whether make has nothing to do, and prints that for each of its goals."""
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
        """The output of the run image, which is a program that ends."""
        return self.laptop.docker("run", "--rm", f"{self.name}-run").strip()

    @property
    def packages(self) -> list[str]:
        """What the run image has in site-packages, as in `idna-3.10`."""
        listed = self.laptop.runs(f"{self.name}-run", "ls /appenv/lib/python3*/site-packages")
        ending = ".dist-info"
        return [name.removesuffix(ending) for name in listed.split() if name.endswith(ending)]

    def wheels(self) -> dict[str, str]:
        """Return the SHA-256 of each file in the wheelhouse, by its place."""
        return {
            path.relative_to(self.wheelhouse).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for part in ("app", "deps")
            for path in sorted((self.wheelhouse / part).iterdir())
        }

    def is_whole(self) -> bool:
        """Return whether the wheelhouse has what its own lists name, and nothing else."""
        found = self.wheels()
        listed = set()
        for part in ("deps", "app"):
            text = (self.wheelhouse / part / "requirements.txt").read_text(encoding="utf-8")
            listed |= set(re.findall(r"--hash=sha256:(\S+)", text))
            del found[f"{part}/requirements.txt"]
        return set(found.values()) == listed

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text, which must be there, in one of the project's files."""
        text = self.project.read(name)
        assert old in text, text
        (self.project.path / name).write_text(text.replace(old, new), encoding="utf-8")

    def check_out(self, commit: str) -> None:
        """Check out a commit, and remove all other files but those that git ignores."""
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
    # a build that takes its time where there is a file named slow
    "setup.py": """\
        import os, time
        from setuptools import setup
        if os.path.exists("slow"):
            time.sleep(2)
        setup()
    """,
    "greeter.py": "def main():\n    print('first')\n",
    "tests/test_greeter.py": "import greeter\n",
}


def greeter_in(laptop: Laptop, project: Project, logs: Path) -> tuple[Workshop, str]:
    """Write a small application into a project and build it; return its commit as well."""
    name = re.findall(r"^PROJECT := (\S+)$", project.read("deploy/settings.mk"), re.M)[0]
    write(project.path, GREETER)
    workshop = Workshop(laptop, project, name, logs, {})
    workshop.make("lock")
    workshop.make("base")
    first = commit(project, "First")
    workshop.make("image")
    return workshop, first


COMPILED = "gunicorn\ngreenlet\nmarkupsafe\n--no-binary markupsafe\n"
