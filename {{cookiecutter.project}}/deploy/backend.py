"""Build the application's wheel with the back end that its pyproject.toml names (PEP 517).

A back end's virtualenv is made once and kept in the cache: making it is most of the time that a
wheel of a few files takes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import lockfile
from tools import Failure, quietly, run

# What else a back end may say its requirements by.
CONFIGURATION = ("pyproject.toml", "setup.py", "setup.cfg")


def build_wheel(source: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Build source's wheel into folder; Failure when the back end does not."""
    from build import BuildBackendException, BuildException, ProjectBuilder  # with pip-tools

    def runner(
        command: Iterable[str],
        cwd: str | None = None,
        extra_environ: Mapping[str, str] | None = None,
    ) -> None:
        # build says the hook's name by this exception
        words = list(command)
        status = quietly(words, {**variables, **(extra_environ or {})}, cwd)
        if status:
            raise subprocess.CalledProcessError(status, words)

    try:
        builder = ProjectBuilder(source)
        static = set(builder.build_system_requires)
        python, variables = virtualenv(static, environment)
        builder = ProjectBuilder(source, python_executable=python, runner=runner)
        known = Path(python).parents[1] / f"asks-{configuration_of(source)}.json"
        if not known.is_file():
            asked = sorted(builder.get_requires_for_build("wheel"))
            known.write_text(json.dumps(asked), encoding="utf-8")
        more = set(json.loads(known.read_text(encoding="utf-8")))
        if more - static:
            python, variables = virtualenv(static | more, environment)
            builder = ProjectBuilder(source, python_executable=python, runner=runner)
        builder.build("wheel", folder)
    except (BuildException, BuildBackendException) as problem:
        raise Failure(f"the application's wheel cannot be built: {problem}") from None


def configuration_of(source: Path) -> str:
    """Give one digest over the files that say what a build needs."""
    total = hashlib.sha256()
    for name in CONFIGURATION:
        if (source / name).is_file():
            total.update(name.encode() + (source / name).read_bytes())
    return total.hexdigest()[:16]


def virtualenv(
    requirements: set[str], environment: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Give the interpreter and the environment of a virtualenv with these requirements.

    Kept in the cache, and made by one process at a time.
    """
    wanted = sorted(requirements)
    named = json.dumps([wanted, lockfile.interpreter(), sys.executable])
    cache = Path(environment["XDG_CACHE_HOME"], "backends")
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / hashlib.sha256(named.encode()).hexdigest()[:16]
    python = place / "bin" / "python"
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            run("venv", "--without-pip", str(place), environment=environment)
            if wanted:
                options = ("--python", str(python), "install", "--progress-bar", "off")
                run("pip", *options, *wanted, environment=environment)
            (place / "ready").touch()
    path = f"{place / 'bin'}:{environment.get('PATH', '')}"
    return str(python), {**environment, "PATH": path, "VIRTUAL_ENV": str(place)}
