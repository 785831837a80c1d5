"""An unpacked source distribution: its configuration, requirements and build effort."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import types
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from slipway.builder.errors import Failure
from slipway.builder.run_tool import run_quietly
from slipway.shared import git_version, lockfile
from slipway.shared.files import digest, sha256

if TYPE_CHECKING:
    from build import ProjectBuilder


T = TypeVar("T")
Env = Mapping[str, str]

# The files in which a back end may find its requirements.
CONFIGURATION = ("pyproject.toml", "setup.py", "setup.cfg")
# Those that state a build's requirements for all to read, and how much of them is read.
STATING = {"pyproject.toml", "setup.py"}
CONFIGURATION_LIMIT = 4 << 20  # bytes
# The end of the name of an application's archive; a source distribution has none like it.
PACKED = ".packed"

# An import in setup.py that newer versions of setuptools do not have, and the versions that do.
PKG_RESOURCES = re.compile(r"^\s*(?:import .*\bpkg_resources|from pkg_resources)\b", re.M)
WITH_PKG_RESOURCES = "setuptools<81"

# The places of headers and pkg-config files, by which a build finds C libraries.
LIBRARIES = (
    "/usr/include",
    "/usr/include/*-linux-*",
    "/usr/lib/*/pkgconfig",
    "/usr/share/pkgconfig",
)


# An estimate in seconds, for a file of a kind and for each of its bytes. Only the order counts.
CXX = (2.0, 3e-5)
EFFORT = {
    ".c": (0.2, 1.2e-5),
    **dict.fromkeys((".cc", ".cpp", ".cxx"), CXX),
    # translated to C, and then compiled
    ".pyx": (2.0, 1e-4),
    ".rs": (1.0, 1e-4),
    **dict.fromkeys((".f", ".f90"), (0.5, 2e-5)),
}


class Tree(NamedTuple):
    """A source tree from which a wheel is built.

    Attributes:
        identity: a digest that changes with the requirements of the build.
        name: the folder that the sandbox unpacks it into; compilers record its name.
        archive: a source distribution, or what `pack` made of a folder.
        within: the packages that are being built and need this one.
        variables: additional environment variables for the back end.
    """

    identity: str
    name: str
    archive: Path
    within: tuple[str, ...] = ()
    variables: Env = types.MappingProxyType({})


def libraries() -> list[str]:
    """Return the headers and pkg-config files of C libraries that a build may find.

    They are inputs of a wheel: many packages use a library only if it is installed.
    """
    root = Path("/")
    return sorted({path.name for each in LIBRARIES for path in root.glob(each[1:] + "/*")})


def compiler_flags(source: Path) -> dict[str, str]:
    """Return the variables that make a compiler's output independent of the source's folder.

    Debugging symbols are left out: they are most of an extension module's size, and nobody runs a
    debugger in the run image. Some packages use these flags instead of their own, hence -O2.
    """
    flags = f"-O2 -g0 -ffile-prefix-map={source}=."
    return {
        **{name: f"{os.environ.get(name, '')} {flags}".strip() for name in ("CFLAGS", "CXXFLAGS")},
        "PYTHONHASHSEED": "0",
    }


def call(ask: Callable[[ProjectBuilder], T], source: Path, python: str, env: Env) -> T:
    """Call a source tree's back end; raise Failure, with its output, if it fails."""
    from build import BuildBackendException, BuildException, ProjectBuilder  # with pip-tools

    output: list[str] = []

    def runner(
        cmd: Sequence[str],
        cwd: str | None = None,
        extra_environ: Mapping[str, str] | None = None,
    ) -> None:
        # `build` turns this exception into a message with the hook's name
        status, lines = run_quietly(cmd, {**env, **(extra_environ or {})}, cwd)
        output.extend(lines)
        if status:
            raise subprocess.CalledProcessError(status, cmd)

    try:
        return ask(ProjectBuilder(source, python_executable=python, runner=runner))
    except (BuildException, BuildBackendException) as problem:
        raise Failure(str(problem), output) from None


def tree_at(source: Path, version: str = "") -> Tree:
    """Return the tree in a folder; its identity is that of the files with requirements.

    `version` is the version according to git, for back ends that use it.
    """
    variables = git_version.variables(version)
    return Tree(configuration_of(source), source.name, pack(source), variables=variables)


def pack(source: Path) -> Path:
    """Return the archive of a folder, which is made beside it once."""
    archive = source.with_name(f"{source.name}{PACKED}")
    if not archive.exists():
        with tarfile.open(archive, "w") as tar:
            tar.add(source, source.name)
    return archive


def stated_requirements(archive: Path) -> set[str]:
    """Return the build requirements that an archive states, without running code of it.

    Only the two files that state them are unpacked.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, data in configuration_in(archive).items():
            Path(folder, name).write_bytes(data)
        return build_requirements(Path(folder))


def configuration_in(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive that state a build's requirements, by their names."""
    found = {}
    with reading(archive):
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                names = inside(member.name for member in tar.getmembers())
                for name in STATING & names.keys():
                    file = tar.extractfile(names[name])
                    found[name] = file.read(CONFIGURATION_LIMIT) if file else b""
        else:
            with zipfile.ZipFile(archive) as packed:
                names = inside(packed.namelist())
                for name in STATING & names.keys():
                    with packed.open(names[name]) as file:
                        found[name] = file.read(CONFIGURATION_LIMIT)
    return found


def inside(names: Iterable[str]) -> dict[str, str]:
    """Return an archive's names by what they are without the top folder."""
    return {name.partition("/")[2]: name for name in (n.removeprefix("./") for n in names)}


def build_requirements(source: Path) -> set[str]:
    """Return the build requirements in a source tree's pyproject.toml (PEP 518).

    An older setuptools is added if setup.py imports a module that newer versions do not have.
    """
    stated = set(call(lambda tree: tree.build_system_requires, source, sys.executable, {}))
    setup = source / "setup.py"
    text = setup.read_text(encoding="utf-8", errors="replace") if setup.is_file() else ""
    return stated | {WITH_PKG_RESOURCES} if takes_pkg_resources(text, stated) else stated


def takes_pkg_resources(setup: str, stated: Iterable[str]) -> bool:
    """Return whether setup.py imports pkg_resources and the requirements allow any setuptools."""
    from packaging.requirements import InvalidRequirement, Requirement  # with pip-tools

    if not PKG_RESOURCES.search(setup):
        return False
    try:
        asked = [each.specifier for each in map(Requirement, stated) if each.name == "setuptools"]
    except InvalidRequirement:  # reported when the set is resolved
        return False
    return bool(asked) and all(each.contains(v) for each in asked for v in ("80.9.0", "999"))


def configuration_of(source: Path) -> str:
    """Return one digest over the files with a build's requirements.

    If the back end is in the tree, all files of the tree are included.
    """
    files = {name: source / name for name in CONFIGURATION if (source / name).is_file()}
    if "pyproject.toml" in files and b"backend-path" in files["pyproject.toml"].read_bytes():
        files = {name: path for name, path in lockfile.files_of(source) if path.is_file()}
    return digest({name: sha256(path) for name, path in files.items()})


def unpack(archive: Path, place: Path) -> None:
    """Unpack the archive of a tree, without its top folder."""
    if not archive.name.endswith(PACKED):
        extract(archive, place)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            member.name = member.name.partition("/")[2]
            if member.islnk():
                member.linkname = member.linkname.partition("/")[2]
            if member.name:
                # all of it is as it was in the application's folder, links to elsewhere included
                if hasattr(tarfile, "fully_trusted_filter"):
                    tar.extract(member, place, filter="fully_trusted")
                else:
                    tar.extract(member, place)


def extract(archive: Path, place: Path) -> None:
    """Unpack a source distribution, a tar or zip archive, without its top folder."""
    from pip._internal.utils.unpacking import unpack_file

    with reading(archive):
        unpack_file(str(archive), str(place))


@contextlib.contextmanager
def reading(archive: Path) -> Iterator[None]:
    """Raise Failure if a source distribution cannot be read during the block."""
    from pip._internal.exceptions import InstallationError

    try:
        yield
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
    """Return the estimated seconds for compiling a source distribution, for sorting.

    Each C++ file includes much of the C++ library, so the number of files counts too.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                files = [(member.name, member.size) for member in tar]
        else:
            with zipfile.ZipFile(archive) as packed:
                files = [(member.filename, member.file_size) for member in packed.infolist()]
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError):
        return 0.0  # reported when the archive is unpacked
    found = 0.0
    for name, size in files:
        once, each_byte = EFFORT.get(Path(name).suffix.lower(), (0.0, 0.0))
        found += once + size * each_byte
    return found
