"""Read in a failed build's output what was missing, and say in one line what to add.

A header, a pkg-config module, a program that tells about a library, a compiler, or a library for
the linker: as compilers, pkg-config, setuptools, meson, CMake, autotools, cargo and maturin say it.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from slipway.shared.native import catalogue as native
from slipway.shared.native import version_conflicts as outdated

HEADER, MODULE, PROGRAM, LIBRARY = "headers", "modules", "programs", "libraries"
CMAKE, WORD = "cmake", "word"
NAME = r"[\"'`\u2018]?([A-Za-z0-9_][A-Za-z0-9_.+/-]*?)[\"'`\u2019]?(?![A-Za-z0-9_])"

# What ends a build, with what it names. One whose name nobody knows is passed over for the next.
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

# What many builds only try: it counts where nothing above is known.
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
    # meson says that of CMake wherever it does not find something by pkg-config
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

# What configure scripts look for; it counts where nothing else is known.
LOOKED_FOR = (
    (LIBRARY, rf"checking for .* in -l{NAME}\.\.\. no"),
    (HEADER, rf"checking for {NAME}\.\.\. no"),
    (PROGRAM, rf"checking for {NAME}\.\.\. (?:no|not found)$"),
)

# What is there, and not as it is wanted.
UNFIT = re.compile(rf"(?:supported|suitable|compatible) (?:version of )?{NAME} (?:version|library)")

# English, where a sentence has it and not a list; each is a library's name as well.
ENGLISH = frozenset("attr cap event file form git ice magic menu raw secret tag test".split())

# What the builder always has.
COMPILER = re.compile(r"(?:[\w-]+-)?(?:gcc|cc|g\+\+|c\+\+|make)(?:-[\d.]+)?")


class Missing(NamedTuple):
    """What was not there: its kind, a field of the catalogue, and its name."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Say it as it is said of a build."""
        if self.kind == LIBRARY:
            said = self.name if ".so" in self.name else f"-l{self.name}"
            return f"{said} not found"
        return f"{self.name} not found"


class Answer(NamedTuple):
    """A word for NATIVE, and what showed that it is needed."""

    word: str
    evidence: str


def said_by(patterns: Iterable[tuple[str, str]], lines: Sequence[str]) -> Iterator[Missing]:
    """Give what lines of output say was missing, each once."""
    seen = set()
    compiled = [(kind, re.compile(pattern)) for kind, pattern in patterns]
    for line in lines:
        for kind, pattern in compiled:
            for match in pattern.finditer(line.rstrip()):
                found = Missing(kind, named_by(match))
                if found not in seen:
                    seen.add(found)
                    yield found


def named_by(match: re.Match[str]) -> str:
    """Give the name in a complaint; the compilers are told by their complaint alone."""
    name = next((group for group in match.groups() if group), "")
    if not name:
        lower = match.group(0).lower()
        return next(
            (word for word in ("cargo", "rustc") if word[:4] in lower),
            "gfortran" if "fortran" in lower else "pkgconf",
        )
    return name


def library_of(missing: Missing) -> native.Library | None:
    """Give the catalogue's library that has what was missing."""
    known = native.catalogue()
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
    """Give what to add for a package whose build said lines, and what nobody knows.

    What is installed here is not missing, unless the lines were said elsewhere.

    What the package is known to be built with comes along: it is not built for each in turn.
    """
    unknown: list[Missing] = []
    found: dict[str, Answer] = {}
    for patterns in (FATAL, TRIED, LOOKED_FOR):
        for missing in said_by(patterns, lines):
            library = library_of(missing)
            if library is not None and is_missing(library, here):
                found.setdefault(library.name, Answer(library.name, str(missing)))
            # of a library that is there another part may be missing, which is another package's
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
        found.setdefault(word, Answer(word, "as is known of it"))
    return list(found.values()), unknown


def is_distinct(missing: Missing) -> bool:
    """Say whether what is only tried is a name of the system's and no word of a sentence."""
    return missing.kind in (MODULE, CMAKE) or bool(re.search(r"^lib\w{2}|-config$", missing.name))


def built_with(name: str) -> list[native.Library]:
    """Give the libraries that a PyPI package is known to be built with."""
    return [each for each in native.catalogue().libraries if name.lower() in each.pypi]


def is_missing(library: native.Library | None, here: bool = True) -> bool:
    """Say whether a library is known, and not here where that counts."""
    return library is not None and not (here and is_here(library))


def is_here(library: native.Library) -> bool:
    """Say whether a library can be built with already, so that it is not what is missing."""
    places = ("/usr/include", *glob.glob("/usr/include/*-linux-*"))
    headers = (glob.glob(f"{place}/{header}") for place in places for header in library.headers)
    modules = (
        glob.glob(f"/usr/{place}/pkgconfig/{module}.pc")
        for place in ("lib/*", "share")
        for module in library.modules
    )
    programs = (shutil.which(program) for program in library.programs)
    return any(headers) or any(modules) or any(programs)


# What packages of the index bring, and what CMake has of its own.
OF_INDEX = r"(?:numpy|Python3?|pybind11|nanobind|PkgConfig|Threads)\b"
# What is in no release: by the names that it is missed by, the words of native.NOT_A_WORD.
ELSEWHERE = re.compile(
    r"(?P<cuda>^cuda|^cu(blas|dnn|fft|rand|solver|sparse)|^nvcc|^nccl|^nvrtc|^nvToolsExt)"
    r"|(?P<rocm>^hip/|^hipcc|^rocm|^hsa/)|(?P<oracle>^oci\.h|^ociap|^clntsh)"
    r"|(?P<mkl>^mkl)|(?P<db2>^sqlcli1\.h|^db2)",
    re.I,
)


def explain(name: str, version: str, lines: Sequence[str]) -> str:
    """Say in one line what a package's failed build needs; empty when its output does not say."""
    who = f"{name} {version}".strip()
    if packages := compilers(lines):
        return f"{who} has to be compiled: {install_here(packages)}"
    found, unknown = answers(name, lines)
    ends = any(is_missing(library_of(each)) for each in said_by(FATAL, lines))
    old = next(filter(None, map(outdated.old_rust, lines)), "")
    old = old or ("" if ends else next(filter(None, map(outdated.old_other, lines)), ""))
    if not old and not found:
        old = unfit(lines)
    if old:
        return (
            f"{who} needs {old}: ask for an older {name} in the requirements, or leave it out of"
            " --no-binary, or take a later release for BASE_IMAGE in deploy/settings.mk"
        )
    for each in unknown:
        if match := ELSEWHERE.search(each.name):
            word = str(match.lastgroup)
            return f"{who} needs {word.upper()} ({each}): {native.NOT_A_WORD[word]}"
    told = [answer for answer in found if answer.evidence != "as is known of it"]
    if not told and (host := outdated.fetched_from(lines)):
        return (
            f"{who} fetches from {host} what it is built from, and that failed: allow it in this"
            f" network, or leave {name} out of --no-binary, or ask for another version"
        )
    if found:
        evidence = ", ".join(dict.fromkeys(answer.evidence for answer in found))
        return ask_for(who, [answer.word for answer in found], evidence)
    unknown = [each for each in unknown if is_of_the_system(each)]
    fatal = [each for each in said_by(FATAL, lines) if each in unknown]
    setting = "PYTHON" if platform.python_implementation() == "PyPy" else "release for BASE_IMAGE"
    if not fatal and (gone := next(filter(None, map(outdated.gone_name, lines)), "")):
        return (
            f"{who} does not compile with {gone}: ask for another version of it, or leave it out of"
            f" --no-binary, or take another {setting} in deploy/settings.mk"
        )
    if unknown:
        # of what is only tried the last one ended it
        *_, last = listed = fatal or unknown
        first = last if last.kind == HEADER or not fatal else listed[0]
        if is_this_machine():
            return f"{who} needs {first.name}, which the catalogue does not know: install it"
        where = f"bin/{first.name}" if first.kind == PROGRAM else first.name
        return (
            f"{who} needs {first.name}, which the catalogue does not know: make wheels NATIVE=auto"
            f" adds its Debian package, or find its Debian package with: make native FIND={where}"
        )
    return ""


def unfit(lines: Sequence[str]) -> str:
    """Say that a library is here in a version that will not do; empty when that is not said."""
    for match in filter(None, map(UNFIT.search, lines)):
        library = native.catalogue().find(match.group(1))
        if library is not None and is_here(library):
            return f"another version of {library.name} than this release has"
    return ""


def compilers(lines: Sequence[str]) -> list[str]:
    """Name the Debian packages of a compiler and headers that this machine lacks.

    The builder has them, whatever a build says.
    """
    if not is_this_machine():
        return []
    for found in said_by(FATAL, lines):
        if found.kind == PROGRAM and COMPILER.fullmatch(found.name.rpartition("/")[2]):
            return ["gcc", "g++", "make", f"{os.environ['PYTHON']}-dev"]
        if found == (HEADER, "Python.h"):
            return [f"{os.environ['PYTHON']}-dev"]
    return []


def is_this_machine() -> bool:
    """Say whether it is the user's own machine that builds, and no image (`make venv`)."""
    return bool(os.environ.get("WHEELS_HERE"))


def install_here(packages: Iterable[str]) -> str:
    """Write what is to be typed on this machine."""
    typed = " ".join(each.partition("|")[0] for each in packages)
    return f"sudo apt install {typed} (or what this system calls that), then run this again"


def is_of_the_system(missing: Missing) -> bool:
    """Say whether a Debian package can have what was missing."""
    if missing.kind == PROGRAM:
        return "/" not in missing.name and "." not in missing.name
    # numpy's and Python's own headers come with packages of the index, or with CPython alone
    return not re.match(rf"{OF_INDEX}|{outdated.OF_PYTHON}", missing.name)


def ask_for(who: str, words: Sequence[str], evidence: str) -> str:
    """Write the line that says what to add to NATIVE, and by which command."""
    listed = " and ".join(words)
    if is_this_machine():
        return f"{who} needs {listed} ({evidence}): {install_here(native.packages(words, 'build'))}"
    typed = words[0] if len(words) == 1 else f"'{' '.join(words)}'"
    return (
        f"{who} needs {listed} ({evidence}): add {' '.join(words)} to NATIVE in"
        f" deploy/settings.mk, or run: make native ADD={typed}"
    )


def words_in(text: str) -> list[str]:
    """Give the words that lines like those above say to add, and what they say to find."""
    found = re.findall(r"make native ADD=(?:'([^']*)'|(\S+))", text)
    return list(dict.fromkeys(" ".join(one or other for one, other in found).split()))


def searched_in(text: str) -> list[str]:
    """Give what lines like those above say to look for."""
    return list(dict.fromkeys(re.findall(r"make native FIND=(\S+)", text)))
