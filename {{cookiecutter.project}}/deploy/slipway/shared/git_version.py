"""The files and the version of an application according to git.

Some back ends read the version from git. The laptop passes the version to the builder, which has
no access to `.git`. Tag v1.2 gives 1.2, and three commits later the version is 1.2.post3. Without
a tag or without git it is 0.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from slipway.shared import lockfile, toml

# The build requirements and tools that read the version from git.
READERS = frozenset(
    "setuptools-scm hatch-vcs versioningit flit-scm poetry-dynamic-versioning"
    " setuptools-git-versioning".split()
)
# The same in a setup.py or setup.cfg, where a requirement may be anywhere.
MENTIONED = re.compile("|".join(READERS).replace("-", "[-_]").encode())
# A pyproject.toml without these words is not parsed: every command of the laptop comes here.
HINT = re.compile(rb"scm|vcs|versioning")
NAME = re.compile(r"[\w.-]+")
VARIABLES = (
    "SETUPTOOLS_SCM_PRETEND_VERSION",
    "PDM_BUILD_SCM_VERSION",
    "POETRY_DYNAMIC_VERSIONING_BYPASS",
)
DESCRIBED = re.compile(r"(?:.*?[^0-9.])?(\d+(?:\.\d+)*((?:a|b|rc)\d+)?)-(\d+)-g[0-9a-f]+")


def takes_it_from_git(application: Path) -> bool:
    """Return whether an application's back end reads the version from git."""
    setup = (application / name for name in ("setup.cfg", "setup.py"))
    if any(MENTIONED.search(path.read_bytes()) for path in setup if path.is_file()):
        return True
    pyproject = application / "pyproject.toml"
    if not (pyproject.is_file() and HINT.search(pyproject.read_bytes())):
        return False
    content = toml.read(pyproject)
    requires = toml.texts(toml.table(content, "build-system"), "requires")
    names = [name[0] for name in map(NAME.match, requires) if name]
    tools = toml.table(content, "tool")
    if READERS.intersection(map(lockfile.normalize, (*names, *tools))):
        return True
    return any(
        toml.table(tools, name, "version").get("source") in ("scm", "vcs")
        for name in ("pdm", "hatch")
    )


def version(application: Path) -> str:
    """Return the version according to git; empty if the back end does not read it from git."""
    if not takes_it_from_git(application):
        return ""
    command = ["git", "-C", str(application), "describe", "--tags", "--long", "--match", "*[0-9]*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "0"
    match = DESCRIBED.fullmatch(done.stdout.strip())
    if not match:
        return "0"
    return match[1] + (f".post{match[3]}" if match[3] != "0" else "")


def files(application: Path) -> set[str] | None:
    """Return the files that git has, or would have after `git add .`; None without git."""
    command = ["git", "-C", str(application), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return set(filter(None, os.fsdecode(done.stdout).split("\0")))


def variables(found: str) -> dict[str, str]:
    """Return the variables that pass a version to back ends; none for an empty version."""
    return dict.fromkeys(VARIABLES, found) if found else {}
