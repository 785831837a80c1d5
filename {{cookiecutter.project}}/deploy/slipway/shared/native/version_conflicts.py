"""Find problems in a failed build's output that no library can fix.

The release's compiler or library is too old, the code was written for another version of Python or
of a library, or the build cannot download something.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence

OLD_RUST = re.compile(
    r"rustc ([\d.]+)\S* is not supported by the following package"
    r"|requires rustc [\d.]+.*active rustc version is ([\d.]+)"
    r"|[Rr]equires Rust >= ?[\d.]+.*(?:have|found|version is) (?:rustc )?([\d.]+)"
    r"|feature `edition\d+` is required"
    r"|this version of Cargo is older than the `\d+` edition"
    r"|this version of Cargo does not understand this lock file"
)
OLD_COMPILER = re.compile(
    r"unrecognized command[- ]line option \W*-std=(?:c|gnu)\+\+(?P<std>\w+)"
    r"|language dialect .CXX(?P<cxx>\d+)"
    r"|(?:[Rr]equires?|[Nn]eeds?|without|not support) (?:\w+ ){0,4}C\+\+ ?(?P<iso>2\w)\b(?!\.)"
    r"|C\+\+ ?(?P<is>2\w)(?: \w+){0,4} (?:is|are) (?:required|not supported|needed)"
    r"|[Rr]equires (?:at least )?(?:gcc|GCC|g\+\+)(?: version)? ?(?:>=|≥)? ?(?P<gcc>\d[\d.]*\d|\d)"
    r"|(?:gcc|GCC|g\+\+) ?(?:>=|≥) ?(?P<least>\d[\d.]*) (?:is )?required"
)
OLD_LIBRARY = re.compile(
    r"Dependency (?P<name>\S+) found: NO\.? [Ff]ound '?(?P<have>[\w.]+)'? but need:"
    r" '(?P<need>[^']+)"
    r"|Invalid version, need '(?P<lookup>\S+)' \['(?P<wants>[^']+)'.* found '(?P<has>[\w.]+)'"
    r"|Requested '(?P<pkg>\S+) (?P<req>[<>=]+ ?[\w.]+)' but version of .* is (?P<ver>[\w.]+\w)"
    r"|Package '(?P<mod>\S+)' has version '(?P<is>[\w.]+)', required version is '(?P<must>[^']+)"
    r'|Could NOT find (?P<find>\w+): Found unsuitable version "(?P<old>[^"]+)", but required is'
    r' (?P<new>(?:at least |exact version )?"[^"]+)'
)
OLD_FIELDS = (
    ("name", "need", "have"),
    ("lookup", "wants", "has"),
    ("pkg", "req", "ver"),
    ("mod", "must", "is"),
    ("find", "new", "old"),
)
# Messages of compilers about a name that the installed headers do not define.
NO_NAME = re.compile(
    r"error: (?:implicit declaration of function|unknown type name|too (?:few|many) arguments to"
    r" function|.* has no member named) [\"'\u2018](?P<name>\w+)"
    r"|error: [\"'\u2018](?P<undeclared>\w+)[\"'\u2019] (?:undeclared|was not declared)"
    r"|fatal error: (?P<header>[\w/.]+): No such file"
)
C_ERROR = re.compile(r"\.(?:c|cc|cpp|cxx|h|hpp|pyx):\d+(?::\d+)?: error: (.{,80})")
# Messages of Cython about code that older versions accepted.
CYTHON_ERROR = re.compile(r"^\s*[\w/.-]+\.(?:pyx|pxd|pxi):\d+:\d+: (?!.*not found)(.{,80})")
# Headers that only CPython has or had.
OF_PYTHON = r"(?:longintrepr|code|frameobject|pyframe|internal/pycore_\w+)\.h$"
# Downloads by a build itself, from hosts other than a package index.
FETCHED = re.compile(
    r"host=['\"]([\w.-]+)|[Cc]ould not resolve host:? ([\w.-]+\w)"
    r"|(?:failed to (?:download|fetch|get)|[Uu]nable to connect|[Dd]ownloading|[Ff]etching).*://([\w.-]+)"
)
INDEX = ("pypi.org", "files.pythonhosted.org")
NO_NETWORK = re.compile(
    r"[Nn]ame or service not known|[Nn]ame resolution|NameResolutionError|[Cc]ould not resolve host"
    r"|Network is unreachable|Connection refused|timed out|Couldn't resolve host"
    r"|HTTP Error [45]\d\d|Unable to connect to"
)


def old_rust(line: str) -> str:
    """Return the needed Rust, if a line states that the release's Rust is too old; or empty."""
    old = OLD_RUST.search(line)
    have = next(filter(None, old.groups()), "its version") if old else ""
    return f"a newer Rust than this release has ({have})" if old else ""


def old_other(line: str) -> str:
    """Return the needed version, if a line states that a compiler or library is too old."""
    if old := OLD_LIBRARY.search(line):
        for name, need, have in OLD_FIELDS:
            if old[name]:
                wanted = old[need].replace('"', "")
                return f"{old[name]} {wanted}, and this release has {old[have]}"
    old = None if re.search(r"checking|Performing|[Ww]arning", line) else OLD_COMPILER.search(line)
    if not old:
        return ""
    least = old["gcc"] or old["least"]
    standard = old["std"] or old["cxx"] or old["iso"] or old["is"]
    wanted = f"GCC {least}" if least else f"C++{standard}"
    return f"a compiler for {wanted}, newer than this release has"


def gone_name(line: str) -> str:
    """Return the software whose interface differs from the one that a package expects."""
    which = f"{platform.python_implementation()} {platform.python_version()}"
    if cython := CYTHON_ERROR.search(line):
        return f"today's Cython ({cython[1]})"
    found = NO_NAME.search(line)
    if not found:
        # PyPy's headers reject more than names in code that compiles on CPython
        other = C_ERROR.search(line) if which.startswith("PyPy") else None
        return f"{which} ({other[1]})" if other else ""
    name = found["name"] or found["undeclared"]
    if found["header"]:
        name = found["header"] if re.match(OF_PYTHON, found["header"]) else ""
    elif not re.match(r"_?Py|PYPY", name) and not re.search(r"\u2018_?Py|struct _(ts|is)\b", line):
        return f"this release's libraries (they have no {name})"
    return f"{which} (it has no {name})" if name else ""


def fetched_from(lines: Sequence[str]) -> str:
    """Return the host of a failed download; empty if that is not the problem."""
    if not any(NO_NETWORK.search(line) for line in lines):
        return ""
    for line in lines:
        for match in FETCHED.finditer(line):
            host = next(filter(None, match.groups()), "")
            if host and host not in INDEX:
                return host
    return ""
