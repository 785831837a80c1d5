"""What a repository's files say about its application: name, command, port and interpreter.

Each finding names the file, and the line or the TOML key. A file that cannot be read is reported,
and the others are read all the same.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple, TypeVar

from slipway.laptop.adopt import setup_cfg
from slipway.laptop.settings import rules
from slipway.shared import files, git_version, lockfile, other_lockfiles, toml

T = TypeVar("T")

SCRIPTS = (("project", "scripts"), ("project", "gui-scripts"), ("tool", "poetry", "scripts"))
DOCKERFILES = ("Dockerfile", "Containerfile", "docker/Dockerfile")
COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
# Files and folders at the top of a repository that are not part of its application.
BESIDE = re.compile(
    r"\..*|(GNU)?[Mm]akefile|(Docker|Container|Proc|Pip|Vagrant)file.*|[\w.-]*compose[\w.-]*\.ya?ml"
    r"|.*\.(md|rst|lock|sh|bat)|(README|LICEN[CS]E|COPYING|NOTICE|AUTHORS|CHANGELOG|CHANGES)(\..*)?"
    r"|[\w-]*requirements[\w.-]*|constraints\.txt|runtime\.txt|pyproject\.toml|setup\.cfg|tox\.ini"
    r"|pytest\.ini|mypy\.ini|package(-lock)?\.json|(conftest|noxfile|tasks|fabfile)\.py"
    r"|tests?|docs?|examples?|dist|build|htmlcov"
)
PORT = r"[1-9][0-9]{0,4}"
# A port on a command line.
PORT_OPTION = re.compile(
    rf"(?:--port[= ]|-p |--bind[= ]\S*:|-b \S*:|--listen[= ]\S*:|0\.0\.0\.0:)({PORT})\b"
)
PORT_VARIABLE = re.compile(r"\$\{PORT(?::?-[^}]*)?\}|\$PORT\b")


class Finding(NamedTuple):
    """One value for a setting, and where it was found."""

    setting: str
    value: str
    where: str


class Repository:
    """An application's folder, and what its files say.

    Attributes:
        notes: sentences for the owner, beside the findings.
    """

    def __init__(self, folder: Path) -> None:
        """Read pyproject.toml and setup.cfg."""
        self.folder = folder
        self.notes: list[str] = []
        self.pyproject = self._read("pyproject.toml", toml.read) or {}
        self.setup = self._read("setup.cfg", setup_cfg.read) or {}
        self.docker = next((each for each in DOCKERFILES if (folder / each).is_file()), "")

    def text(self, name: str) -> str:
        """Return a file's text; empty if there is no such file, or none that can be read."""
        return self._read(name, files.read_text) or ""

    def _read(self, name: str, read: Callable[[Path], T]) -> T | None:
        path = self.folder / name
        try:
            return read(path) if path.is_file() else None
        except (OSError, ValueError) as problem:
            self._note(f"{problem}; the file is ignored")
            return None

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _stated(self, *keys: str) -> Any:
        """Return a value of pyproject.toml by its keys; None if it is not there."""
        return toml.table(self.pyproject, *keys[:-1]).get(keys[-1])

    def names(self) -> Iterator[Finding]:
        """Return the project's names, made fit for an image, the most reliable first."""
        for table in (("project",), ("tool", "poetry")):
            name = self._stated(*table, "name")
            if name is not None:
                yield Finding("PROJECT", image_name(str(name)), in_pyproject(*table, "name"))
        if entry := self.setup.get(("metadata", "name")):
            yield Finding("PROJECT", image_name(entry.value), f"setup.cfg:{entry.line}")
        yield Finding("PROJECT", image_name(self.folder.name), "the folder's name")

    def scripts(self) -> list[Finding]:
        """Return the console scripts that the project installs."""
        found = []
        for table in SCRIPTS:
            where = f"pyproject.toml [{'.'.join(table)}]"
            for name in toml.table(self.pyproject, *table):
                found.append(Finding("COMMAND", name, where))
        nothing = setup_cfg.Entry("", 0)
        listed = self.setup.get(("options.entry_points", "console_scripts"), nothing)
        for number, line in enumerate(listed.value.splitlines()):
            if "=" in line:
                where = f"setup.cfg:{listed.line + number}"
                found.append(Finding("COMMAND", line.partition("=")[0].strip(), where))
        for number, line in enumerate(self.text("setup.py").splitlines(), 1):
            for name in re.findall(r"[\"']([\w.-]+)\s*=\s*[\w.]+:[\w.]+[\"']", line):
                found.append(Finding("COMMAND", name, f"setup.py:{number}"))
        unique = {each.value: each for each in reversed(found)}
        return [each for each in found if unique[each.value] is each]

    def started(self) -> Iterator[Finding]:
        """Return the commands of Procfile and Dockerfile, which start the application elsewhere."""
        for number, line in enumerate(self.text("Procfile").splitlines(), 1):
            if line.startswith("web:"):
                yield Finding("COMMAND", shlex.join(by_shell(line[4:])), f"Procfile:{number}")
        entry: list[str] = []
        command: list[str] = []
        where = ""
        for number, word, rest in self._instructions():
            if word in ("CMD", "ENTRYPOINT"):
                where = f"{self.docker}:{number}"
                if word == "CMD":
                    command = exec_form(rest)
                else:
                    entry, command = exec_form(rest), []
        if where:
            yield Finding("COMMAND", shlex.join([*entry, *command]), where)

    def _instructions(self) -> Iterator[tuple[int, str, str]]:
        """Return (line, instruction, arguments) for the last stage of the Dockerfile."""
        if not self.docker:
            return
        found: list[tuple[int, str, str]] = []
        pending, first = "", 0
        for number, line in enumerate(self.text(self.docker).splitlines(), 1):
            if line.lstrip().startswith("#"):
                continue
            first = first if pending else number
            pending += line.rstrip()
            if pending.endswith("\\"):
                pending = pending[:-1] + " "
                continue
            word, _, rest = pending.strip().partition(" ")
            pending = ""
            if word.upper() == "FROM":
                found.clear()
            if word:
                found.append((first, word.upper(), rest.strip()))
        yield from found

    def ports(self) -> Iterator[Finding]:
        """Return the ports that the application listens on."""
        for each in self.started():
            for port in PORT_OPTION.findall(each.value):
                yield Finding("PORT", port, each.where)
        for number, word, rest in self._instructions():
            for port in re.findall(rf"(?:^| )({PORT})\b", rest) if word == "EXPOSE" else ():
                yield Finding("PORT", port, f"{self.docker}:{number}")
        for name in COMPOSE:
            for number, line in enumerate(self.text(name).splitlines(), 1):
                match = re.match(
                    rf"\s*-\s*[\"']?(?:[\d.$%{{}}\w:-]*:)?({PORT})(?:/tcp)?[\"']?\s*$", line
                )
                if match and ":" in line:
                    yield Finding("PORT", match.group(1), f"{name}:{number}")

    def interpreters(self) -> Iterator[Finding]:
        """Return the interpreters that the application is known to run on."""
        version = self.text(".python-version").split()
        if version:
            value = "pypy3" if version[0].startswith("pypy") else "python3"
            yield Finding("PYTHON", value, ".python-version:1")
        for number, word, rest in self._instructions():
            image = rest.rpartition("/")[2] if word == "FROM" else ""
            if re.match(r"(pypy|python):", image):
                value = "pypy3" if image.startswith("pypy") else "python3"
                yield Finding("PYTHON", value, f"{self.docker}:{number}")
        if other := self.other_lock():
            unsupported = lockfile.not_on_pypy()
            for name in filter(unsupported.__contains__, other.pins):
                yield Finding("PYTHON", "python3", f"{other.name} has {name}")

    def libraries(self, present: str) -> Iterator[Finding]:
        """Return NATIVE with the compiler that the build back end requires: Rust."""
        key = ("build-system", "requires")
        names = present.split()
        required = str(self._stated(*key))
        if re.search(r"maturin|setuptools[-_]rust", required) and "rust" not in names:
            yield Finding("NATIVE", " ".join([*names, "rust"]), in_pyproject(*key))

    def other_lock(self) -> other_lockfiles.OtherLock | None:
        """Return another tool's lock; None if there is none, or none that can be read."""
        try:
            return other_lockfiles.find(self.folder)
        except (OSError, ValueError) as problem:
            self._note(f"{problem}; the file is ignored")
            return None

    def files(self) -> Finding | None:
        """Return FILES of an application that no build back end installs.

        These are the entries at the top of the repository that belong to the application. None if
        a back end installs it, or if there is no Python file.
        """
        try:
            if lockfile.is_distribution(self.folder):
                return None
        except ValueError:  # a broken pyproject.toml, which was reported
            return None
        tracked = git_version.files(self.folder)
        names = [name for name, _ in lockfile.files_of(self.folder)]
        tops: dict[str, list[str]] = {}
        for name in names if tracked is None else filter(tracked.__contains__, names):
            top = name.split("/")[0]
            if not BESIDE.fullmatch(top) and not re.search(r"[\s\\\"'*?]", top):
                tops.setdefault(top, []).append(name)
        if not any(name.endswith(".py") for each in tops.values() for name in each):
            return None
        return Finding("FILES", " ".join(sorted(tops)), "no pyproject.toml installs them")

    def requires_python(self) -> Finding | None:
        """Return the Python versions that the project supports."""
        for key in (
            ("project", "requires-python"),
            ("tool", "poetry", "dependencies", "python"),
        ):
            stated = self._stated(*key)
            if stated is not None:
                return Finding("", str(stated), in_pyproject(*key))
        entry = self.setup.get(("options", "python_requires"))
        return Finding("", entry.value, f"setup.cfg:{entry.line}") if entry else None


def in_pyproject(*keys: str) -> str:
    """Return a place in pyproject.toml as people write it."""
    return f"pyproject.toml [{'.'.join(keys[:-1])}] {keys[-1]}"


def image_name(name: str) -> str:
    """Return a name that an image can have, with as few changes as possible."""
    fit = re.sub(r"[^a-z0-9._-]+", "-", name.lower())
    fit = re.sub(
        r"[._-]*-[._-]*|[.]+|_{3,}", lambda match: "-" if "-" in match[0] else match[0][0], fit
    )
    return fit.strip("._-") or "application"


def by_shell(text: str) -> list[str]:
    """Return the command that runs a text with a shell."""
    return ["sh", "-c", text.strip()]


def exec_form(text: str) -> list[str]:
    """Return the words of a Dockerfile's CMD, in either of its forms."""
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list):
        return by_shell(text)
    words = [str(word) for word in words]
    return by_shell(words[2]) if words[:2] == ["/bin/sh", "-c"] and len(words) == 3 else words


def as_command(text: str, port: str) -> str:
    """Return a command line as COMMAND: with its port, and without a shell if it needs none."""
    words = shlex.split(PORT_VARIABLE.sub(port, text))
    if words[:2] != ["sh", "-c"] or len(words) != 3:
        return shlex.join(words)
    plain = re.sub(r"^exec ", "", words[2])
    if rules.accepts("COMMAND", plain):
        return plain
    return shlex.join(words)


def allows(specifier: str, version: tuple[int, int]) -> bool:
    """Return whether a requires-python allows any release of a minor version of Python.

    Hand-written, since the laptop has no library for version specifiers.
    """
    for clause in re.split(r"[,\s]+(?=[<>=!~^])|,", specifier):
        match = re.fullmatch(
            r"(\^|~=|~|[<>=!]=?=?)?\s*v?(\d+)(?:\.(\d+))?(\.[\w*]+)*(\.\*)?", clause.strip()
        )
        if not match:
            continue
        operator, major, minor = match.group(1) or "==", int(match[2]), int(match[3] or 0)
        exact = bool(match.group(4)) and not clause.strip().endswith("*")
        bound = (major, minor)
        good = {
            ">=": version >= bound,
            ">": version >= bound if exact else version > bound,
            "<=": version <= bound,
            "<": version < bound or (exact and version == bound),
            "==": version == bound or (match[3] is None and version[0] == major),
            "!=": version != bound or exact,
            "^": version >= bound and version[0] == major,
            "~": version == bound,
            "~=": version >= bound and version[0] == major and (not exact or version[1] == minor),
        }.get(operator, True)
        if not good:
            return False
    return True


def first(findings: Iterable[Finding]) -> Finding | None:
    """Return the first finding, or None."""
    return next(iter(findings), None)
