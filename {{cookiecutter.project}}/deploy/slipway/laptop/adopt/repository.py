"""What a repository says about its application: name, command, port, interpreter, Python version.

Each finding names the file and the line that it stands on. A file that cannot be read is said, and
the others are read all the same.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from slipway.laptop.adopt import toml_with_lines as tables
from slipway.laptop.settings import rules
from slipway.shared import git_version as scm
from slipway.shared import lockfile
from slipway.shared import other_lockfiles as otherlocks

SCRIPTS = (("project", "scripts"), ("project", "gui-scripts"), ("tool", "poetry", "scripts"))
DOCKERFILES = ("Dockerfile", "Containerfile", "docker/Dockerfile")
COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
# What lies at the top of a repository, and is no part of the application that it holds.
BESIDE = re.compile(
    r"\..*|(GNU)?[Mm]akefile|(Docker|Container|Proc|Pip|Vagrant)file.*|[\w.-]*compose[\w.-]*\.ya?ml"
    r"|.*\.(md|rst|lock|sh|bat)|(README|LICEN[CS]E|COPYING|NOTICE|AUTHORS|CHANGELOG|CHANGES)(\..*)?"
    r"|[\w-]*requirements[\w.-]*|constraints\.txt|runtime\.txt|pyproject\.toml|setup\.cfg|tox\.ini"
    r"|pytest\.ini|mypy\.ini|package(-lock)?\.json|(conftest|noxfile|tasks|fabfile)\.py"
    r"|tests?|docs?|examples?|dist|build|htmlcov"
)
PORT = r"[1-9][0-9]{0,4}"
# What says a port on a command line.
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
        said: what there is to say to its owner beside the findings, each in a sentence.
    """

    def __init__(self, folder: Path, name: str = "") -> None:
        """Read the files that say anything; name is the folder's, if it is to be another."""
        self.folder = folder
        self.name = name or folder.name
        self.said: list[str] = []
        self.pyproject = self._tables("pyproject.toml", tables.toml)
        self.setup = self._tables("setup.cfg", tables.ini)
        self.docker = next((each for each in DOCKERFILES if (folder / each).is_file()), "")

    def text(self, name: str) -> str:
        """Read a file; empty when there is none or it cannot be read, which is said."""
        path = self.folder / name
        try:
            return lockfile.read(path) if path.is_file() else ""
        except (OSError, ValueError) as problem:
            self._say(f"{name} is left out: {problem}")
            return ""

    def _say(self, sentence: str) -> None:
        if sentence not in self.said:
            self.said.append(sentence)

    def _tables(self, name: str, read: Any) -> Mapping[tuple[str, ...], tables.Entry]:
        try:
            found: Mapping[tuple[str, ...], tables.Entry] = read(self.text(name))
            return found
        except ValueError as problem:
            self._say(f"{name} is left out: {problem}")
            return {}

    def names(self) -> Iterator[Finding]:
        """Give the names that the project has, the best first, each fit for an image."""
        for key in (("project", "name"), ("tool", "poetry", "name")):
            if key in self.pyproject:
                yield self._name(self.pyproject[key], "pyproject.toml")
        if ("metadata", "name") in self.setup:
            yield self._name(self.setup["metadata", "name"], "setup.cfg")
        yield Finding("PROJECT", image_name(self.name), "the folder's name")

    def _name(self, entry: tables.Entry, file: str) -> Finding:
        return Finding("PROJECT", image_name(str(entry.value)), f"{file}:{entry.line}")

    def scripts(self) -> list[Finding]:
        """List the console scripts that the project installs."""
        found = []
        for table in SCRIPTS:
            for key, entry in self.pyproject.items():
                if key[:-1] == table:
                    where = f"pyproject.toml:{entry.line}"
                    found.append(Finding("COMMAND", key[-1], where))
        listed = self.setup.get(("options.entry_points", "console_scripts"), tables.Entry("", 0))
        for number, line in enumerate(str(listed.value).splitlines()):
            if "=" in line:
                where = f"setup.cfg:{listed.line + number}"
                found.append(Finding("COMMAND", line.partition("=")[0].strip(), where))
        for number, line in enumerate(self.text("setup.py").splitlines(), 1):
            for name in re.findall(r"[\"']([\w.-]+)\s*=\s*[\w.]+:[\w.]+[\"']", line):
                found.append(Finding("COMMAND", name, f"setup.py:{number}"))
        unique = {each.value: each for each in reversed(found)}
        return [each for each in found if unique[each.value] is each]

    def started(self) -> Iterator[Finding]:
        """Give the commands that start the application elsewhere: Procfile's, the Dockerfile's."""
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
        """Give each instruction of the Dockerfile's last stage with its line."""
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
        """Give the ports that it listens on, as files say."""
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
        """Give what the application is known to run on: pypy3 or python3."""
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
        """Give NATIVE with what the back end itself takes to compile: Rust."""
        key = ("build-system", "requires")
        asked = self.pyproject.get(key, tables.Entry([], 0))
        words = present.split()
        if re.search(r"maturin|setuptools[-_]rust", str(asked.value)) and "rust" not in words:
            yield Finding("NATIVE", " ".join([*words, "rust"]), f"pyproject.toml:{asked.line}")

    def other_lock(self) -> otherlocks.OtherLock | None:
        """Read another tool's lock; None when there is none, or none that can be read."""
        try:
            return otherlocks.find(self.folder)
        except (OSError, ValueError) as problem:
            self._say(f"{problem}; it is left out")
            return None

    def files(self) -> Finding | None:
        """Give FILES of an application that no back end installs: what is at the top.

        What is not of the application is left out. None where a back end installs it, or
        where there is no Python.
        """
        if lockfile.is_distribution(self.folder):
            return None
        tracked = scm.files(self.folder)
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
        """Give what the project says of Python's version."""
        places = (
            (("project", "requires-python"), self.pyproject, "pyproject.toml"),
            (("tool", "poetry", "dependencies", "python"), self.pyproject, "pyproject.toml"),
            (("options", "python_requires"), self.setup, "setup.cfg"),
        )
        for key, found, file in places:
            if key in found:
                return Finding("", str(found[key].value), f"{file}:{found[key].line}")
        return None


def image_name(name: str) -> str:
    """Make a name fit for an image; as few changes as that takes."""
    fit = re.sub(r"[^a-z0-9._-]+", "-", name.lower())
    fit = re.sub(
        r"[._-]*-[._-]*|[.]+|_{3,}", lambda match: "-" if "-" in match[0] else match[0][0], fit
    )
    return fit.strip("._-") or "application"


def by_shell(text: str) -> list[str]:
    """Give the words of a command that has a shell read a text."""
    return ["sh", "-c", text.strip()]


def exec_form(text: str) -> list[str]:
    """Read the words of a Dockerfile's CMD, in either form."""
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list):
        return by_shell(text)
    words = [str(word) for word in words]
    return by_shell(words[2]) if words[:2] == ["/bin/sh", "-c"] and len(words) == 3 else words


def as_command(text: str, port: str) -> str:
    """Give a command line as COMMAND takes it: with the port put in, and no shell without need."""
    words = shlex.split(PORT_VARIABLE.sub(port, text))
    if words[:2] != ["sh", "-c"] or len(words) != 3:
        return shlex.join(words)
    plain = re.sub(r"^exec ", "", words[2])
    if re.fullmatch(rules.RULES["COMMAND"][0], plain):
        return plain
    return shlex.join(words)


def allows(specifier: str, version: tuple[int, int]) -> bool:
    """Say whether a requires-python allows some release of a minor version of Python."""
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
    """Give the first finding; None when there is none."""
    return next(iter(findings), None)
