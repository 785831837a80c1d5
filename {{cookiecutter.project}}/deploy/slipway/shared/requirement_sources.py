"""Requirements that do not come from the usual package index, according to the application.

A name that the application says is its own, or another index's, may belong to a stranger on the
usual index. So each such statement is found: those of uv, Poetry and PDM in pyproject.toml, those
in the lock files of these tools and of Pipenv, and requirements that are a path or an address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from slipway.shared import lockfile, toml

INDEX = "the package index {}"
# Keys of a table that states a source, in the order in which they count.
KINDS = {
    "workspace": "the workspace",
    "git": "the repository {}",
    "vcs": "the repository {}",
    "hg": "the repository {}",
    "url": "the address {}",
    "archive": "the address {}",
    "editable": "the folder {}",
    "directory": "the folder {}",
    "virtual": "the folder {}",
    "path": "the path {}",
    "file": "the path {}",
    "index": INDEX,
    "source": INDEX,
    "registry": INDEX,
}
# The types of a source in Poetry's lock file.
POETRY = {
    "directory": "the folder {}",
    "file": "the path {}",
    "git": "the repository {}",
    "url": "the address {}",
    "legacy": INDEX,
}
USUAL = re.compile(r"https?://pypi\.(?:org|python\.org)/simple/?")
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
REFERENCE = re.compile(rf"({NAME.pattern})\s*(?:\[[^\]]*\])?\s*@\s*(\S+)")
EDITABLE = re.compile(r"(?:-e|--editable)[\s=]\s*(\S+)")
INCLUDED = re.compile(r"(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)")
# A requirement that is a path or an address, and not a name.
PLACE = re.compile(r"(?:\.{0,2}/|[\w.-]+/|\w[\w+.-]*://|file:|.*\.(?:whl|zip|tar\.gz)\b).*")
OWN = {".", "./"}


class Source(NamedTuple):
    """A requirement that comes from elsewhere.

    Attributes:
        name: the normalized name; empty if only its content shows the name.
        place: where it comes from, in words.
        file: the name of the file that says so.
        address: that of its package index, if it comes from one.
    """

    name: str
    place: str
    file: str
    address: str = ""


def find(application: Path) -> list[Source]:
    """Return what an application requires from elsewhere, each name once.

    ValueError if a file cannot be read.
    """
    found: dict[str, Source] = {}
    for source in (
        *_of_pyproject(application / "pyproject.toml"),
        *_of_requirements(application),
        *_of_lock_files(application),
    ):
        found.setdefault(source.name or source.place, source)
    return list(found.values())


def _of_pyproject(path: Path) -> Iterator[Source]:
    if not path.is_file():
        return
    content = toml.read(path)
    own = lockfile.normalize(str(toml.table(content, "project").get("name", "")))
    wanted = {*_names(toml.texts(toml.table(content, "project"), "dependencies"))}
    for line in toml.texts(toml.table(content, "project"), "dependencies"):
        yield from _of_line(line, path.name)
    tool = toml.table(content, "tool")
    stated = {lockfile.normalize(k): v for k, v in toml.table(tool, "uv", "sources").items()}
    indexes = _indexes(tool)
    for name in sorted(wanted & stated.keys() - {own}):
        yield from _stated(name, stated[name], path.name, indexes)
    for name, value in toml.table(tool, "poetry", "dependencies").items():
        yield from _stated(lockfile.normalize(name), value, path.name, indexes)
    for name, folder in _members(
        path.parent, toml.texts(toml.table(tool, "uv", "workspace"), "members")
    ):
        if name in wanted - stated.keys():
            yield Source(name, f"the workspace ({folder})", path.name)


def _indexes(tool: dict[str, Any]) -> dict[str, str]:
    """Return the addresses of the package indexes that uv and Poetry know by a name."""
    listed = toml.table(tool, "uv").get("index"), toml.table(tool, "poetry").get("source")
    tables = (each for some in listed if isinstance(some, list) for each in some)
    return {str(t.get("name")): str(t.get("url")) for t in tables if isinstance(t, dict)}


def _members(root: Path, patterns: Iterable[str]) -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        for folder in sorted(root.glob(pattern)):
            path = folder / "pyproject.toml"
            if path.is_file():
                name = toml.table(toml.read(path), "project").get("name")
                if isinstance(name, str):
                    yield lockfile.normalize(name), folder.relative_to(root).as_posix()


def _stated(
    name: str, value: Any, file: str, indexes: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Source]:
    """Yield the source in a table, or in the first of several tables for different systems."""
    for table in value if isinstance(value, list) else [value]:
        found = _source(name, table, file, indexes)
        if found:
            yield found
            return


def _source(
    name: str, table: Any, file: str, indexes: Mapping[str, str] = MappingProxyType({})
) -> Source | None:
    """Return the source that a table states; None for the usual package index."""
    if not isinstance(table, dict):
        return None
    words = POETRY.get(str(table.get("type")))
    kinds = {"url": words} if words else KINDS
    for key, words in kinds.items():
        value = table.get(key)
        if isinstance(value, dict):  # of pylock.toml
            value = value.get("url") or value.get("path") or ""
        if not value or (value is True and key != "workspace"):
            continue  # `editable = true` says how, and not from where
        text = str(value)
        if words is not INDEX:
            return Source(name, words.format(text), file)
        address = indexes.get(text, text)
        return None if USUAL.fullmatch(address) else Source(name, INDEX.format(text), file, address)
    return None


def _of_requirements(application: Path) -> Iterator[Source]:
    waiting = [
        name for name in lockfile.sources(application) if not name.endswith((".toml", ".py"))
    ]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        path = application / name
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        for line in lockfile.logical_lines(lockfile.read(path)):
            included = INCLUDED.fullmatch(line)
            if included:
                waiting.append(included[1])
            else:
                yield from _of_line(line, name)


def _of_line(line: str, file: str) -> Iterator[Source]:
    """Yield the source in a requirement, if it has one."""
    line = re.split(r"\s--hash|\s;\s", line)[0].strip()
    editable, reference = EDITABLE.match(line), REFERENCE.match(line)
    if editable:
        if editable[1].partition("[")[0] not in OWN:
            yield Source("", editable[1], file)
    elif reference:
        yield Source(lockfile.normalize(reference[1]), reference[2], file)
    elif not line.startswith("-") and PLACE.fullmatch(line) and line.partition("[")[0] not in OWN:
        yield Source("", line, file)


def _names(requirements: Iterable[str]) -> Iterator[str]:
    for text in requirements:
        found = NAME.match(text.strip())
        if found:
            yield lockfile.normalize(found[0])


def _of_lock_files(application: Path) -> Iterator[Source]:
    for name in ("uv.lock", "pylock.toml", "poetry.lock", "pdm.lock"):
        path = application / name
        if path.is_file():
            yield from _of_tables(toml.read(path), name)
            return
    path = application / "Pipfile.lock"
    if path.is_file():
        try:
            packages = json.loads(lockfile.read(path))["default"].items()
        except (KeyError, AttributeError, RecursionError):
            return
        for name, table in packages:
            table = {key: value for key, value in table.items() if key != "index"}
            yield from _stated(lockfile.normalize(name), table, path.name)


def _of_tables(content: dict[str, Any], file: str) -> Iterator[Source]:
    listed = content.get("package") or content.get("packages") or []
    packages = [each for each in listed if isinstance(each, dict)]
    needed = _needed(packages) if file == "uv.lock" else None
    for package in packages:
        name = _name(package)
        source = toml.table(package, "source")
        groups = package.get("groups") or ["main"]
        if needed is not None and name not in needed:
            continue
        if not {"main", "default"}.intersection(groups) or _is_own(source or package):
            continue
        # In pylock.toml and in PDM's lock file, the keys stand beside the name.
        table = source or {key: package.get(key) for key in KINDS if key != "source"}
        if found := _source(name, table, file):
            yield found


def _is_own(source: dict[str, Any]) -> bool:
    return any(source.get(key) == "." for key in ("editable", "virtual", "directory", "path"))


def _needed(packages: list[dict[str, Any]]) -> set[str]:
    """Return the names that the application needs without its own groups and extras."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in packages:
        by_name.setdefault(_name(package), []).append(package)
    waiting = [_name(each) for each in packages if _is_own(toml.table(each, "source"))]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for package in by_name.get(name, ()):
            lists = [package.get("dependencies")]
            if not _is_own(toml.table(package, "source")):
                # It may be needed with any of its extras.
                lists += toml.table(package, "optional-dependencies").values()
            tables = (each for some in lists if isinstance(some, list) for each in some)
            waiting += [_name(each) for each in tables if isinstance(each, dict)]
    return found


def _name(package: dict[str, Any]) -> str:
    return lockfile.normalize(str(package.get("name", "")))


def of_another_index(found: Iterable[Source], index: str) -> list[Source]:
    """Return the sources without those from the package index at an address."""
    return [each for each in found if not each.address or _bare(each.address) != _bare(index)]


def _bare(address: str) -> str:
    """Return an address without a user's name and password, and without a slash at its end."""
    return re.sub(r"(?<=://)[^/@]*@", "", address).rstrip("/")


def refusal(found: Iterable[Source]) -> str:
    """Return why requirements from elsewhere cannot be locked, and what to do; a line each."""
    lines = []
    of_indexes: dict[str, list[Source]] = {}
    for each in found:
        if each.address:
            of_indexes.setdefault(each.address, []).append(each)
        else:
            lines.append(
                f"{each.file} takes {each.name or 'a requirement'} from {each.place}, which slipway"
                " does not support yet. On a package index a stranger may own its name: put it into"
                " one of your own, require it by name and version, and remove this statement"
            )
    for address, several in of_indexes.items():
        names = ", ".join(each.name for each in several[:5]) + " ..." * (len(several) > 5)
        lines.append(
            f"{several[0].file} takes {names} from {several[0].place}, and slipway would ask"
            f" another one: set PIP_INDEX_URL={_bare(address)} if it has all packages"
        )
    return "\n".join(lines)
