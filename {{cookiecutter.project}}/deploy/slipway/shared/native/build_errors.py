"""Find the missing C library in a failed build's output, or the problem that no library can fix.

The missing part is a header, a pkg-config module, a program, a compiler or a library for the
linker. The messages are those of compilers, linkers, pkg-config, setuptools, meson, CMake,
autotools, cargo and maturin.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from slipway.shared.native import catalogue, version_conflicts

HEADER, MODULE, PROGRAM, LIBRARY = "headers", "modules", "programs", "libraries"
CMAKE, WORD = "cmake", "word"
NAME = r"[\"'`\u2018]?([A-Za-z0-9_][A-Za-z0-9_.+/-]*?)[\"'`\u2019]?(?![A-Za-z0-9_])"

# Messages that end a build, and what each one names. A message about an unknown name is skipped.
FATAL = (
    (HEADER, rf"fatal error: {NAME}: No such file or directory"),
    (HEADER, rf"fatal error: {NAME} file not found"),
    (LIBRARY, rf"cannot find -l:?{NAME}(?::|$|\s)"),
    (LIBRARY, rf"unable to find library -l{NAME}(?:$|\s)"),
    (LIBRARY, rf"could not find native (?:static |dynamic )?library {NAME}"),
    (LIBRARY, r"ld(?:\.\w+)?: cannot find (?:\S*/)?(lib[\w.+-]+\.(?:so|a))\b"),
    (PROGRAM, r"can't find Rust compiler|[Rr]ust(?:c| toolchain)? (?:is )?not (?:found|installed)"),
    (PROGRAM, r"Cargo, the Rust package manager, is not installed|Unable to find cargo"),
    (PROGRAM, r"No (?:CMAKE_)?Fortran(?:_COMPILER)? (?:compiler|could be) found"),
    (PROGRAM, rf"Unknown compiler\(s\): \[\[?{NAME}[\],]"),
    (PROGRAM, rf"No such file or directory: (?:PosixPath\()?{NAME}(?:\)|$|\s|:)"),
    (PROGRAM, rf"command {NAME} (?:failed: No such file|not found)"),
    (PROGRAM, rf"unable to execute {NAME}: No such file"),
    (PROGRAM, rf"unable to find a build program corresponding to {NAME}"),
    (PROGRAM, rf"which: no {NAME} in"),
    (PROGRAM, r"CMake executable is (cmake)"),
    (PROGRAM, rf"(?:^|[ :/]){NAME}: (?:command )?not found$"),
    (PROGRAM, rf"make(?:\[\d+\])?: {NAME}: No such file or directory"),
    (PROGRAM, rf"(?:ERROR|Error|error): Program {NAME} not found"),
    (PROGRAM, rf"{NAME} executable(?: is)? not found"),
    (PROGRAM, rf"failed to execute command: .*{NAME}.*\(os error 2\)"),
    (MODULE, rf"ERROR: Dependency {NAME} not found"),
    (MODULE, rf"ERROR: Dependency lookup for {NAME} with method"),
    (MODULE, r"ERROR: Pkg-config binary missing|requirements? \(([\w.+-]+)[^)]*\) were not met"),
    (LIBRARY, rf"ERROR: (?:C|C\+\+|Fortran) (?:shared or static )?library {NAME} not found"),
    (HEADER, rf"ERROR: (?:C|C\+\+) header {NAME} not found"),
    (LIBRARY, r"(?:^|\s)(lib[\w.+-]+\.so[.\d]*): cannot open shared object file"),
    (MODULE, r"The system library `([\w.+-]+)` required by crate"),
    (WORD, r"[Cc]ould not find directory of (\w+) installation"),
)

# Messages about optional things. They count only if no message above leads to a known library.
TRIED = (
    (MODULE, rf"Package {NAME},? (?:was )?not found"),
    (MODULE, rf"Package {NAME}, required by .*, not found"),
    (MODULE, rf"No package {NAME} found"),
    (MODULE, rf"pkg-config (?:package|module) {NAME}(?: ?[<>=]+ ?[\w.]+\W?)? (?:was )?not found"),
    (
        MODULE,
        rf"pkg-config[\"'`]?(?: [\"'`]?--[\w=-]+[\"'`]?)* {NAME}"
        r"[\"'`]*(?: \S+){0,2} (?:returned|did not|failed|exited)",
    ),
    (MODULE, rf"None of the required {NAME} found"),
    (MODULE, rf"^\s+- {NAME}$"),
    (CMAKE, rf"Could NOT find {NAME}(?:\s|$|,)"),
    (CMAKE, rf"Could not find a package configuration file provided by {NAME}"),
    (WORD, rf"headers or library files could not be found for {NAME}"),
    (PROGRAM, rf"[Cc]ould not (?:find|run|execute) {NAME}(?:$|[\s:.,])"),
    (PROGRAM, rf"{NAME} not found"),
    (WORD, rf"{NAME}(?: (?:library|headers?|libraries))? (?:was |were )?not found"),
    # meson prints this about CMake whenever pkg-config does not find something
    (WORD, rf"[Dd]id not find (?!CMake 'cmake')(?:the )?{NAME}"),
    (WORD, rf"{NAME} (?:must|needs to|has to|should) be (?:installed|available|present)"),
    (WORD, r"(JAVA_HOME)\b.*\b(?:not|unset|[Cc]ould|must)\b"),
    (WORD, rf"[Pp]lease (?:make sure|install|ensure)(?: that)?(?: the)? {NAME}(?:\s|$|[,.])"),
    (
        WORD,
        rf"(?:[Uu]nable to|[Cc]annot|[Cc]an't|[Cc]ould ?n[o']t) (?:find|load)"
        rf"(?: the| dependency| library)* {NAME}(?:\s|$|[,.:])",
    ),
    (
        WORD,
        rf"configure: error: (?:\w+ ){{0,3}}{NAME}(?: library| headers?)?"
        r" (?:was )?(?:not found|missing)",
    ),
    (WORD, rf"{NAME} (?:is|are) (?:required|missing|not installed)"),
    (WORD, rf"requires? (?:the )?{NAME}"),
    (WORD, rf"[Nn]o (?:acceptable|suitable|usable|working) {NAME}"),
)

# Checks of configure scripts. They count only if nothing above leads to a known library.
LOOKED_FOR = (
    (LIBRARY, rf"checking for .* in -l{NAME}\.\.\. no"),
    (HEADER, rf"checking for {NAME}\.\.\. no"),
    (PROGRAM, rf"checking for {NAME}\.\.\. (?:no|not found)$"),
)

# A library that is installed, but in a version that does not suit the package.
UNFIT = re.compile(rf"(?:supported|suitable|compatible) (?:version of )?{NAME} (?:version|library)")

# English words that are also library names. In a sentence they do not name a library.
ENGLISH = frozenset("attr cap event file form git ice magic menu raw secret tag test".split())

# The evidence that is shown for a library that the output does not name.
LISTED = "listed in the catalogue"

# Programs that the builder always has.
COMPILER = re.compile(r"(?:[\w-]+-)?(?:gcc|cc|g\+\+|c\+\+|make)(?:-[\d.]+)?")


@dataclass(frozen=True)
class Diagnosis:
    """What a failed build needs.

    Attributes:
        message: one sentence for people; no program reads it.
        add: library names that would help, if they were in NATIVE.
        find: missing files that no library of the catalogue has, as for `make native FIND=…`.
    """

    message: str
    add: tuple[str, ...] = ()
    find: tuple[str, ...] = ()


class Missing(NamedTuple):
    """A missing part: its kind, which is a field of the catalogue, and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Return a phrase such as `zlib.h not found`."""
        if self.kind == LIBRARY:
            shown = self.name if ".so" in self.name else f"-l{self.name}"
            return f"{shown} not found"
        return f"{self.name} not found"


class Answer(NamedTuple):
    """A library name for NATIVE, and the evidence for it in the output.

    The evidence is empty if only the catalogue lists the library for the package.
    """

    word: str
    evidence: str


def missing_in(patterns: Iterable[tuple[str, str]], lines: Sequence[str]) -> Iterator[Missing]:
    """Yield the missing parts that lines of output name, each part once."""
    seen = set()
    compiled = [(kind, re.compile(pattern)) for kind, pattern in patterns]
    for line in lines:
        for kind, pattern in compiled:
            for match in pattern.finditer(line.rstrip()):
                found = Missing(kind, name_in(match))
                if found not in seen:
                    seen.add(found)
                    yield found


def name_in(match: re.Match[str]) -> str:
    """Return the name in a message; some messages about compilers contain no name."""
    name = next((group for group in match.groups() if group), "")
    if not name:
        lower = match.group(0).lower()
        return next(
            (word for word in ("cargo", "rustc") if word[:4] in lower),
            "gfortran" if "fortran" in lower else "pkgconf",
        )
    return name


def library_of(missing: Missing) -> catalogue.Library | None:
    """Return the catalogue's library that has a missing part."""
    known = catalogue.catalogue()
    name = missing.name
    if missing.kind == HEADER:
        return known.by_header(name)
    if missing.kind == LIBRARY:
        return known.by_file(name) or known.by("libraries", name)
    if missing.kind == PROGRAM:
        name = name.rpartition("/")[2]
        return known.by("programs", name)
    if missing.kind == MODULE:
        return known.by("modules", name)
    return known.find(name) if len(name) > 2 and name not in ENGLISH else None


def answers(
    name: str, lines: Sequence[str], here: bool = True
) -> tuple[list[Answer], list[Missing]]:
    """Return the libraries that a package's failed build needs, and the missing parts of none.

    A library that is installed here is not missing, unless the output comes from another machine.

    The other libraries that the package is known to need are added, so that the package does not
    have to fail once for each library.
    """
    unknown: list[Missing] = []
    found: dict[str, Answer] = {}
    for patterns in (FATAL, TRIED, LOOKED_FOR):
        for missing in missing_in(patterns, lines):
            library = library_of(missing)
            if library is not None and is_missing(library, here):
                found.setdefault(library.name, Answer(library.name, str(missing)))
            # the library may be installed while a part of it, in another Debian package, is not
            elif patterns is FATAL or is_distinct(missing):
                unknown.append(missing)
        if found:
            unknown = []
            break
    known = {each.name: each for each in built_with(name) if is_missing(each, here)}
    if found and patterns is not FATAL:
        last = list(found)[-1]
        found = {word: each for word, each in found.items() if word in known or word == last}
    for word in known:
        found.setdefault(word, Answer(word, ""))
    return list(found.values()), unknown


def is_distinct(missing: Missing) -> bool:
    """Return whether the name of an optional part looks like a system's name, not like English."""
    return missing.kind in (MODULE, CMAKE) or bool(re.search(r"^lib\w{2}|-config$", missing.name))


def built_with(name: str) -> list[catalogue.Library]:
    """Return the libraries that a PyPI package is known to be built with."""
    return [each for each in catalogue.catalogue().libraries if name.lower() in each.pypi]


def is_missing(library: catalogue.Library | None, here: bool = True) -> bool:
    """Return whether a library is known and, if `here` is set, not installed on this machine."""
    return library is not None and not (here and is_here(library))


def is_here(library: catalogue.Library) -> bool:
    """Return whether packages can be built with a library on this machine."""
    places = ("/usr/include", *glob.glob("/usr/include/*-linux-*"))
    headers = (glob.glob(f"{place}/{header}") for place in places for header in library.headers)
    modules = (
        glob.glob(f"/usr/{place}/pkgconfig/{module}.pc")
        for place in ("lib/*", "share")
        for module in library.modules
    )
    programs = (shutil.which(program) for program in library.programs)
    return any(headers) or any(modules) or any(programs)


# Parts that come with packages of the package index, or with CMake.
OF_INDEX = r"(?:numpy|Python3?|pybind11|nanobind|PkgConfig|Threads)\b"
# Libraries that no Debian release has: the names of their parts, by a key of catalogue.NOT_A_WORD.
ELSEWHERE = re.compile(
    r"(?P<cuda>^cuda|^cu(blas|dnn|fft|rand|solver|sparse)|^nvcc|^nccl|^nvrtc|^nvToolsExt)"
    r"|(?P<rocm>^hip/|^hipcc|^rocm|^hsa/)|(?P<oracle>^oci\.h|^ociap|^clntsh)"
    r"|(?P<mkl>^mkl)|(?P<db2>^sqlcli1\.h|^db2)",
    re.I,
)


def diagnose(name: str, version: str, lines: Sequence[str]) -> Diagnosis | None:
    """Return what a package's failed build needs; None if the output does not show it."""
    who = f"{name} {version}".strip()
    if packages := compilers(lines):
        return Diagnosis(f"{who} has to be compiled: {install_here(packages)}")
    found, unknown = answers(name, lines)
    if old := too_old(lines, bool(found)):
        return Diagnosis(
            f"{who} needs {old}: ask for an older {name} in the requirements, or leave it out of"
            " --no-binary, or take a later release for BASE_IMAGE in deploy/settings.mk"
        )
    for each in unknown:
        if match := ELSEWHERE.search(each.name):
            word = str(match.lastgroup)
            return Diagnosis(f"{who} needs {word.upper()} ({each}): {catalogue.NOT_A_WORD[word]}")
    evident = any(answer.evidence for answer in found)
    if not evident and (host := version_conflicts.fetched_from(lines)):
        return Diagnosis(
            f"{who} fetches from {host} what it is built from, and that failed: allow it in this"
            f" network, or leave {name} out of --no-binary, or ask for another version"
        )
    if found:
        words = [answer.word for answer in found]
        evidence = dict.fromkeys(answer.evidence or LISTED for answer in found)
        message = ask_for(who, words, ", ".join(evidence))
        return Diagnosis(message, () if is_this_machine() else tuple(words))
    unknown = [each for each in unknown if is_of_the_system(each)]
    fatal = [each for each in missing_in(FATAL, lines) if each in unknown]
    if not fatal and (gone := next(filter(None, map(version_conflicts.gone_name, lines)), "")):
        is_pypy = platform.python_implementation() == "PyPy"
        setting = "PYTHON" if is_pypy else "release for BASE_IMAGE"
        return Diagnosis(
            f"{who} does not compile with {gone}: ask for another version of it, or leave it out of"
            f" --no-binary, or take another {setting} in deploy/settings.mk"
        )
    return look_up(who, unknown, fatal) if unknown else None


def too_old(lines: Sequence[str], known: bool) -> str:
    """Return what a build needs in a newer version; empty if the output does not name it.

    `known` states whether the output names a library of the catalogue that is missing.
    """
    if old := next(filter(None, map(version_conflicts.old_rust, lines)), ""):
        return old
    is_fatal = any(is_missing(library_of(each)) for each in missing_in(FATAL, lines))
    old = "" if is_fatal else next(filter(None, map(version_conflicts.old_other, lines)), "")
    return old or ("" if known else unfit(lines))


def unfit(lines: Sequence[str]) -> str:
    """Return which installed library has an unsuitable version; empty if the output names none."""
    for match in filter(None, map(UNFIT.search, lines)):
        library = catalogue.catalogue().find(match.group(1))
        if library is not None and is_here(library):
            return f"another version of {library.name} than this release has"
    return ""


def look_up(who: str, unknown: Sequence[Missing], fatal: Sequence[Missing]) -> Diagnosis:
    """Return the diagnosis for missing parts that no library of the catalogue has."""
    # of optional parts, the last one ended the build
    *_, last = listed = fatal or unknown
    first = last if last.kind == HEADER or not fatal else listed[0]
    message = f"{who} needs {first.name}, which the catalogue does not know"
    if is_this_machine():
        return Diagnosis(f"{message}: install it")
    where = f"bin/{first.name}" if first.kind == PROGRAM else first.name
    return Diagnosis(
        f"{message}: make wheels NATIVE=auto adds its Debian package, or find its Debian package"
        f" with: make native FIND={where}",
        find=(where,),
    )


def compilers(lines: Sequence[str]) -> list[str]:
    """Return the Debian packages of a compiler and headers that are missing on this machine.

    The builder image always has them, so the list is empty there.
    """
    if not is_this_machine():
        return []
    for found in missing_in(FATAL, lines):
        if found.kind == PROGRAM and COMPILER.fullmatch(found.name.rpartition("/")[2]):
            return ["gcc", "g++", "make", f"{os.environ['PYTHON']}-dev"]
        if found == (HEADER, "Python.h"):
            return [f"{os.environ['PYTHON']}-dev"]
    return []


def is_this_machine() -> bool:
    """Return whether the build runs on the user's own machine, as in `make venv`."""
    return bool(os.environ.get("WHEELS_HERE"))


def install_here(packages: Iterable[str]) -> str:
    """Return the command that installs Debian packages on this machine."""
    typed = " ".join(each.partition("|")[0] for each in packages)
    return f"sudo apt install {typed} (or what this system calls that), then run this again"


def is_of_the_system(missing: Missing) -> bool:
    """Return whether a Debian package can have a missing part."""
    if missing.kind == PROGRAM:
        return "/" not in missing.name and "." not in missing.name
    # headers of numpy come with a package of the package index, and some of Python's headers
    # exist in CPython alone
    return not re.match(rf"{OF_INDEX}|{version_conflicts.OF_PYTHON}", missing.name)


def ask_for(who: str, words: Sequence[str], evidence: str) -> str:
    """Return a sentence for people: which library names to add to NATIVE, and the command."""
    listed = " and ".join(words)
    if is_this_machine():
        packages = catalogue.packages(words, "build")
        return f"{who} needs {listed} ({evidence}): {install_here(packages)}"
    typed = words[0] if len(words) == 1 else f"'{' '.join(words)}'"
    return (
        f"{who} needs {listed} ({evidence}): add {' '.join(words)} to NATIVE in"
        f" deploy/settings.mk, or run: make native ADD={typed}"
    )
