"""The lock: its place, its content, and the interpreter that it was made for.

As a program this module prints the name of the interpreter that runs it, as locks state it.

The builder and the laptop share this module, so that both use the same file and agree on which
files belong to an application's source. The format is pip's requirements format in hash-checking
mode: https://pip.pypa.io/en/stable/topics/secure-installs/

Back ends for builds from source (PEP 517) are pinned too. pip has no place for these pins, so they
are comments. Each requirement set of a pyproject.toml has pins of its own. Sets with the same pins
share them:

    # To build what asks for ["setuptools>=61"]:
    # To build what asks for ["setuptools>=77"]:
    #   setuptools==80.9.0 --hash=sha256:… --hash=sha256:…
"""

from __future__ import annotations

import fnmatch
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from slipway.shared import toml
from slipway.shared.files import read_text

read = read_text

PYPY = Path(__file__).with_name("native") / "not_on_pypy.ini"

HEADER = "# Locked for {interpreter} by `make lock`; `make upgrade` moves the pins."
HEADER_PATTERN = re.compile(r"# Locked for (\S+ \d+\.\d+) by `make lock`")
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;\\,*]+)")

# A requirement that is an option, other than the application itself: without a refusal it is lost.
EDITABLE = re.compile(r"(?:-e|--editable)[\s=](?!\s*\./?(?:\s|$))")

# Comments of the lock: the requirement set of the pins below it, and one such pin.
BUILD_SET = re.compile(r"# To build what asks for (\[.*\]):")
BUILD_PIN = re.compile(r"#   (\S+==\S+ .*)")

# Names that are no part of an application, in any folder. The second list counts only in the top
# folder, since a package may have a module of that name.
NOT_SOURCE = (
    *(".git", ".hg", ".deploy", ".venv", ".tox", ".nox", "node_modules"),
    *("__pycache__", "*.pyc", "*.egg-info", ".*_cache"),
)
NOT_SOURCE_AT_TOP = ("wheelhouse", "appenv", "venv")


def not_source(application: Path, folder: Path, names: Iterable[str]) -> set[str]:
    """Return the names in a folder that do not belong to the application's source."""
    patterns = NOT_SOURCE + (NOT_SOURCE_AT_TOP if folder == application else ())
    found = set()
    for name in names:
        path = folder / name
        special = not (path.is_symlink() or path.is_file() or path.is_dir())  # such as a socket
        # the folder of the machinery, in which setuptools would find a second package
        machinery = (path / "deploy.mk").is_file()
        if special or machinery or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            found.add(name)
    return found


def files_of(application: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the path of each file of an application; names are relative."""
    for folder, folders, files in os.walk(application):
        left_out = not_source(application, Path(folder), (*folders, *files))
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted({*folders} - left_out)
        for name in sorted({*files, *linked} - left_out):
            path = Path(folder, name)
            yield path.relative_to(application).as_posix(), path


NOTHING = (
    "there is nothing to build: write a pyproject.toml for the application, or a requirements.in"
    " that lists packages; list files that no package installs in FILES in deploy/settings.mk"
)


class NotPinned(ValueError):
    """A requirement without == or --hash; the message is the line."""


class Pin(NamedTuple):
    """One distribution of the lock: its normalized name, version, marker and hashes."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def sums(self) -> set[str]:
        """Return the SHA-256 of each file that the pin allows."""
        return {text[len("sha256:") :] for text in self.hashes if text.startswith("sha256:")}

    @property
    def text(self) -> str:
        """Return the pin as one line in pip's requirements format."""
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{self.name}=={self.version}{marker} " + " ".join(
            f"--hash={each}" for each in self.hashes
        )


def normalize(name: str) -> str:
    """Return the normalized spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def interpreter() -> str:
    """Return the running interpreter's name and version as in locks: `PyPy 3.11`."""
    return f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"


def not_on_pypy() -> dict[str, str]:
    """Return the distributions that do not work on this PyPy, each with its replacement.

    On another interpreter, all distributions are returned that do not work on some PyPy.
    """
    here = tuple(getattr(sys, "pypy_version_info", ()))
    found = {}
    for line in PYPY.read_text(encoding="utf-8").splitlines():
        name, sign, other = line.partition("=")
        name, _, before = (each.strip() for each in name.partition("<"))
        if sign and not line.startswith("#"):
            works = here and before and here >= tuple(map(int, before.split(".")))
            found.update({} if works else {name: other.strip()})
    return found


def system() -> str:
    """Return the properties that compiled wheels depend on: interpreter, ABI, system, release."""
    release = ""
    if os.path.exists("/etc/os-release"):
        text = Path("/etc/os-release").read_text(encoding="utf-8")
        found = dict(re.findall(r'^(ID|VERSION_CODENAME|VERSION_ID)="?([^"\n]*)', text, re.M))
        release = " " + "-".join(found[key] for key in ("ID", "VERSION_CODENAME") if key in found)
    import sysconfig  # slow, and the laptop does not ask

    abi = sysconfig.get_config_var("SOABI") or ""
    return f"{interpreter()} {abi} {sysconfig.get_platform()}{release}".replace("  ", " ")


def logical_lines(text: str) -> list[str]:
    """Return the lines of a requirements file as pip reads them: joined, without comments."""
    joined = re.sub(r"\\\n[ \t]*", " ", text)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def pins(text: str) -> list[Pin]:
    """Return a lock's pins; NotPinned names a requirement without == or --hash."""
    found = []
    for line in logical_lines(text):
        if line.startswith("-") and not EDITABLE.match(line):  # an option, such as --index-url
            continue
        requirement, *hashes = re.split(r"\s+--hash[= ]", line)
        specifier, _, marker = requirement.partition(";")
        match = PIN.fullmatch(specifier.strip())
        if not match or not hashes:
            raise NotPinned(line)
        found.append(
            Pin(
                normalize(match.group(1)),
                match.group(2),
                marker.strip(),
                tuple(sorted(text.strip() for text in hashes)),
            )
        )
    return found


def allowed_sums(locked: Iterable[Pin], built: Iterable[Pin]) -> dict[str, set[str]]:
    """Return by name the SHA-256 that wheels of a lock may have.

    They are those of its pins, or for a pin that was built here those of the built wheels.
    """
    made: dict[tuple[str, str], set[str]] = {}
    for pin in built:
        made.setdefault((pin.name, pin.version), set()).update(pin.sums)
    allowed: dict[str, set[str]] = {}
    for pin in locked:
        allowed.setdefault(pin.name, set()).update(made.get((pin.name, pin.version), pin.sums))
    return allowed


def pins_here(text: str) -> list[Pin]:
    """Return the pins of a lock whose markers apply to this interpreter and system."""
    from packaging.markers import Marker  # installed with pip-tools in the builder

    return [pin for pin in pins(text) if not pin.marker or Marker(pin.marker).evaluate()]


def options(text: str) -> list[str]:
    """Return a lock's options about kinds of files, such as --no-binary NAME."""
    lines = (line.replace("=", " ", 1).split() for line in logical_lines(text))
    return [
        word
        for words in lines
        if words[0] in ("--no-binary", "--only-binary")
        for word in (words[0], ",".join(words[1:]))
    ]


def build_pins(text: str) -> dict[str, list[Pin]]:
    """Return the pins of back ends by their requirement set, as with_build_pins writes them."""
    found: dict[str, list[Pin]] = {}
    current: list[Pin] | None = None
    for line in text.splitlines():
        if opened := BUILD_SET.fullmatch(line):
            if current is None or current:
                current = []
            found[opened.group(1)] = current
        elif current is not None and (pin := BUILD_PIN.fullmatch(line)):
            current.extend(pins(pin.group(1)))
        else:
            current = None
    return found


def build_set(requirements: Iterable[str]) -> str:
    """Return the text of a requirement set: a sorted list, which is valid JSON and TOML."""
    return json.dumps(sorted(set(requirements)))


def with_build_pins(text: str, sets: Mapping[str, Sequence[Pin]]) -> str:
    """Return a lock's text with some pins of back ends, and no others."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        inside = bool(BUILD_SET.fullmatch(line) or (inside and BUILD_PIN.fullmatch(line)))
        if not inside:
            kept.append(line)
    while kept and not kept[-1].strip("# "):
        kept.pop()
    together: dict[tuple[str, ...], list[str]] = {}
    for wanted in sorted(sets):
        together.setdefault(tuple(pin.text for pin in sets[wanted]), []).append(wanted)
    for texts, names in together.items():
        kept += ["", *(f"# To build what asks for {wanted}:" for wanted in names)]
        kept += [f"#   {text}" for text in texts]
    return "\n".join(kept) + "\n"


def locked_for(text: str) -> str | None:
    """Return the interpreter that a lock was made for; None if another tool made the lock."""
    match = HEADER_PATTERN.search(text)
    return match.group(1) if match else None


def is_lock(text: str) -> bool:
    """Return whether a text is a lock, and not a handwritten list of requirements."""
    if locked_for(text):
        return True
    try:
        return bool(pins(text))
    except ValueError:
        return False


def lock_path(application: Path) -> Path:
    """Return the path of the present or future lock.

    That is requirements.txt. If a handwritten list has that name, the list is an input and never
    overwritten, and the lock is requirements.lock.
    """
    usual = application / "requirements.txt"
    if usual.is_file() and not is_lock(read(usual)):
        return application / "requirements.lock"
    return usual


def is_distribution(application: Path) -> bool:
    """Return whether an application is a package from which a wheel can be built."""
    if (application / "setup.py").is_file():
        return True
    pyproject = application / "pyproject.toml"
    if not pyproject.is_file():
        return False
    content = toml.read(pyproject)
    return bool(content.keys() & {"project", "build-system"}) or "poetry" in toml.table(
        content, "tool"
    )


def sources(application: Path) -> list[str]:
    """Return the files with requirements, in pip-compile's order."""
    found = []
    if is_distribution(application):
        modern = (application / "pyproject.toml").is_file()
        found.append("pyproject.toml" if modern else "setup.py")
    if (application / "requirements.in").is_file():
        found.append("requirements.in")
    elif lock_path(application).name == "requirements.lock":
        found.append("requirements.txt")
    return found


if __name__ == "__main__":
    print(interpreter())
