"""What version control says of an application: its files, and its version.

Some back ends take the version from there, and the builder has no repository: they are told what
git says here. Tag v1.2 is 1.2, three commits after it is 1.2.post3, and without a tag or git it is
0.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ASKS = re.compile(
    r"setuptools[-_]scm|hatch-vcs|hatch_vcs|source\s*=\s*[\"'](?:scm|vcs)[\"']|versioningit"
    r"|flit[-_]scm|poetry-dynamic-versioning|setuptools-git-versioning"
)
VARIABLES = (
    "SETUPTOOLS_SCM_PRETEND_VERSION",
    "PDM_BUILD_SCM_VERSION",
    "POETRY_DYNAMIC_VERSIONING_BYPASS",
)
DESCRIBED = re.compile(r"(?:.*?[^0-9.])?(\d+(?:\.\d+)*((?:a|b|rc)\d+)?)-(\d+)-g[0-9a-f]+")


def version(application: Path) -> str:
    """Give the version by git; empty when no file of the application asks for it."""
    texts = (application / name for name in ("pyproject.toml", "setup.cfg", "setup.py"))
    said = "".join(
        path.read_text(encoding="utf-8", errors="replace") for path in texts if path.is_file()
    )
    if not ASKS.search(said):
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
    """Name the files that git has, or would have after `git add .`; None where there is no git."""
    command = ["git", "-C", str(application), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return set(filter(None, os.fsdecode(done.stdout).split("\0")))


def variables(found: str) -> dict[str, str]:
    """Give the variables by which back ends take a version; none for an empty one."""
    return dict.fromkeys(VARIABLES, found) if found else {}
