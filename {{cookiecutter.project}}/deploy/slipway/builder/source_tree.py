"""An unpacked source distribution: its configuration, requirements and build effort."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tarfile
import types
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from slipway.builder.errors import Failure
from slipway.builder.run_tool import quietly
from slipway.shared import git_version as scm
from slipway.shared import lockfile
from slipway.shared.files import digest, sha256

if TYPE_CHECKING:
    from build import ProjectBuilder


T = TypeVar("T")
Env = Mapping[str, str]

# What else a back end may say its requirements by.
CONFIGURATION = ("pyproject.toml", "setup.py", "setup.cfg")

# What setup.py may import of setuptools, and the setuptools that has it.
PKG_RESOURCES = re.compile(r"^\s*(?:import .*\bpkg_resources|from pkg_resources)\b", re.M)
WITH_PKG_RESOURCES = "setuptools<81"

# Where headers and pkg-config say which C libraries there are: what a build may look for.
LIBRARIES = (
    "/usr/include",
    "/usr/include/*-linux-*",
    "/usr/lib/*/pkgconfig",
    "/usr/share/pkgconfig",
)


# A guess in seconds, for a file of a kind and for each byte of it; only their order counts.
CXX = (2.0, 3e-5)
EFFORT = {
    ".c": (0.2, 1.2e-5),
    **dict.fromkeys((".cc", ".cpp", ".cxx"), CXX),
    # first translated, and then compiled
    ".pyx": (2.0, 1e-4),
    ".rs": (1.0, 1e-4),
    **dict.fromkeys((".f", ".f90"), (0.5, 2e-5)),
}


class Tree(NamedTuple):
    """A source tree to build a wheel of.

    Attributes:
        identity: changes with all that says what its build needs.
        opened: gives its folder for the length of a block.
        within: what is being built already, and needs it for that.
        variables: that its back end gets beside the others.
    """

    identity: str
    opened: Callable[[], AbstractContextManager[Path]]
    within: tuple[str, ...] = ()
    variables: Env = types.MappingProxyType({})


def libraries() -> list[str]:
    """Name the C libraries that a build may find, by their headers and pkg-config files.

    Part of what a wheel is built from: many take a library when it is there and do without it
    when it is not.
    """
    root = Path("/")
    return sorted({path.name for each in LIBRARIES for path in root.glob(each[1:] + "/*")})


def compiler_flags(source: Path) -> dict[str, str]:
    """Give the variables that make compilers write the same bytes wherever the source lies.

    Debugging symbols are left out: nobody starts a debugger in the run image, and they are most of
    an extension module's size. -O2 is there for packages that take these flags instead of theirs.
    """
    flags = f"-O2 -g0 -ffile-prefix-map={source}=."
    return {
        **{name: f"{os.environ.get(name, '')} {flags}".strip() for name in ("CFLAGS", "CXXFLAGS")},
        "PYTHONHASHSEED": "0",
    }


def call(ask: Callable[[ProjectBuilder], T], source: Path, python: str, env: Env) -> T:
    """Ask a source tree's back end for something; Failure, with what it said, when it fails."""
    from build import BuildBackendException, BuildException, ProjectBuilder  # with pip-tools

    output: list[str] = []

    def runner(
        command: Iterable[str],
        cwd: str | None = None,
        extra_environ: Mapping[str, str] | None = None,
    ) -> None:
        # build says the hook's name by this exception
        words = list(command)
        status, said = quietly(words, {**env, **(extra_environ or {})}, cwd)
        output.extend(said)
        if status:
            raise subprocess.CalledProcessError(status, words)

    try:
        return ask(ProjectBuilder(source, python_executable=python, runner=runner))
    except (BuildException, BuildBackendException) as problem:
        raise Failure(str(problem), output) from None


def tree_at(source: Path, version: str = "") -> Tree:
    """Give the tree that lies in a folder, which is known by the files that say what it needs.

    Version is what version control says, where the back end asks that.
    """
    return Tree(
        configuration_of(source),
        lambda: contextlib.nullcontext(source),
        variables=scm.variables(version),
    )


def build_requirements(source: Path) -> set[str]:
    """Read what a source tree's pyproject.toml states that its build needs (PEP 518).

    And an older setuptools, where setup.py imports what the present one has no more.
    """
    stated = set(call(lambda tree: tree.build_system_requires, source, sys.executable, {}))
    setup = source / "setup.py"
    text = setup.read_text(encoding="utf-8", errors="replace") if setup.is_file() else ""
    return stated | {WITH_PKG_RESOURCES} if takes_pkg_resources(text, stated) else stated


def takes_pkg_resources(setup: str, stated: Iterable[str]) -> bool:
    """Say whether setup.py's text imports it, and what is stated leaves open which setuptools."""
    from packaging.requirements import InvalidRequirement, Requirement  # with pip-tools

    if not PKG_RESOURCES.search(setup):
        return False
    try:
        asked = [each.specifier for each in map(Requirement, stated) if each.name == "setuptools"]
    except InvalidRequirement:  # which is said when it is resolved
        return False
    return bool(asked) and all(each.contains(v) for each in asked for v in ("80.9.0", "999"))


def configuration_of(source: Path) -> str:
    """Give one digest over the files that say what a build needs.

    That is the whole tree where the back end itself lies in it.
    """
    files = {name: source / name for name in CONFIGURATION if (source / name).is_file()}
    if "pyproject.toml" in files and b"backend-path" in files["pyproject.toml"].read_bytes():
        files = {name: path for name, path in lockfile.files_of(source) if path.is_file()}
    return digest({name: sha256(path) for name, path in files.items()})


def extract(archive: Path, place: Path) -> None:
    """Unpack a source distribution, a tar or zip archive, without the folder around it."""
    from pip._internal.exceptions import InstallationError
    from pip._internal.utils.unpacking import unpack_file

    try:
        unpack_file(str(archive), str(place))
    except (
        InstallationError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        ValueError,
    ) as problem:
        raise Failure(f"{archive.name} cannot be unpacked: {problem}") from None


def effort(archive: Path) -> float:
    """Guess the seconds that the compiler takes for a source distribution, to compare it by.

    A file of C++ reads much of the C++ library before it begins.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                files = [(member.name, member.size) for member in tar]
        else:
            with zipfile.ZipFile(archive) as packed:
                files = [(member.filename, member.file_size) for member in packed.infolist()]
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError):
        return 0.0  # which is said when it is unpacked
    found = 0.0
    for name, size in files:
        once, each_byte = EFFORT.get(Path(name).suffix.lower(), (0.0, 0.0))
        found += once + size * each_byte
    return found
