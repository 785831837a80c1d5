"""Make the lock: what the application asks for, by pip-compile, and what builds it from source."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from slipway.builder import build_from_source as backend
from slipway.builder import source_tree
from slipway.builder.build_from_source import Builds
from slipway.builder.errors import Failure, NeedsCompiler
from slipway.builder.package_index import AT_ONCE, Index
from slipway.builder.run_tool import results, say
from slipway.builder.source_tree import Tree
from slipway.shared import git_version as scm
from slipway.shared import lockfile, toml
from slipway.shared import other_lockfiles as otherlocks
from slipway.shared.native import build_errors
from slipway.shared.native.build_errors import Diagnosis

# What a pin of a lock is limited to.
MARKER = re.compile(r"(?<=\S) ?;.*?(?=\s*\\?$)", re.M)

# How pip says that a package's back end failed, and not its search for one.
BUILD_FAILED = re.compile(
    "subprocess-exited-with-error|metadata-generation-failed|failed-wheel-build|Failed to build"
    "|BackendException|returned non-zero exit status"
)

NO_PKG_RESOURCES = re.compile("No module named '?pkg_resources")

# Which one that was, in the words of pip and of its resolver.
UNBUILT = re.compile(r"Failed to build '([\w.-]+)'|Could not build wheels for ([\w.-]+)")

# How pip says that there is none, and which versions it has left out for their Python.
NOT_FOUND = re.compile(
    r"find a version that satisfies the requirement (?P<wanted>.+?) \("
    r".*?from versions: (?P<there>.*?)\)"
)
IGNORED = re.compile(r"([\w.!+]+) Requires-Python ([^;\n]+)")
LOST = re.compile(r"^pip\S*\.(?:Connection\w+|ReadTimeout\w*|NetworkConnectionError)")
CUT_OFF = "the index could not be reached to the end: run this again"
UNPREPARED = re.compile("when installing build dependencies")
UNREACHED = re.compile(r"Retrying \(|ConnectionError|SSLError|ProxyError|timed out")

# Which one it has begun with last, where it does not say.
COLLECTED = re.compile(r"^\s*Collecting ([A-Za-z0-9][\w.-]*)")


def make(application: Path, present: str, upgrade: bool, builds: Builds) -> str:
    """Give a new lock's text for this interpreter.

    The present lock's text keeps what it pins where that is still allowed, unless upgrade.
    """
    wanted = lockfile.sources(application)
    header = lockfile.HEADER.format(interpreter=lockfile.interpreter()) + "\n"
    if not wanted and builds.environment.get("FILES"):
        return header
    if not wanted:
        raise Failure(lockfile.NOTHING)
    say(f"locking {', '.join(wanted)} for {lockfile.interpreter()}")
    source = copy_source(application, builds.scratch)
    asked = list(asked_for(source, wanted))
    refuse_on_pypy(name_of(each) for each in asked)  # before it is compiled, which takes minutes
    output = builds.scratch / "lock.txt"
    try:
        other = otherlocks.find(application)
    except ValueError as problem:
        other = None
        say(f"{problem}; going on without it")
    start = present if upgrade else otherlocks.start(present, other)
    if other and start != present:
        say(f"beginning with the {len(other.pins)} pins of {other.name}")
        if other.ambiguous:
            say(f"{other.name} has several versions of {', '.join(other.ambiguous)}: the newest")
    if start and not upgrade:
        # a pin that was another interpreter's alone holds here too, when this one asks for it
        output.write_text(MARKER.sub("", start), encoding="utf-8")
    options = ("--upgrade",) if upgrade else ()
    environment = {**builds.environment, **scm.variables(builds.version)}
    try:
        compile_lock(source, wanted, output, environment, *options)
    except Failure as problem:
        refuse_on_pypy(collected(problem.output))
        if builds.without_compiler and any(BUILD_FAILED.search(line) for line in problem.output):
            refuse_on_pypy(name_of(each) for each in brought(asked, builds.index))
            raise NeedsCompiler from None
        if reason := why_not_found(problem.output, from_source(source, wanted)):
            raise Failure(reason) from None
        if diagnosis := why_not_built(problem.output):
            raise Failure.diagnosed(diagnosis) from None
        raise problem from None
    # pip-compile leaves no file when nothing is asked for
    text = output.read_text(encoding="utf-8") if output.exists() else ""
    refuse_on_pypy(pin.name for pin in lockfile.pins_here(text))
    needed = needed_sets(lockfile.pins_here(text), lockfile.options(text), source, builds)
    text = lockfile.with_build_pins(text, {name: builds.pinned[name] for name in needed})
    text = otherlocks.noted(text, other)
    return header + text


def compile_lock(
    source: Path, wanted: Sequence[str], output: Path, environment: Mapping[str, str], *options: str
) -> None:
    """Have pip-compile write the lock; pip asks back ends for it, with the newest setuptools.

    Once more with an older one, where one of them imports what that has no more.
    """
    try:
        backend.compile_lock(source, wanted, output, environment, *options)
    except Failure as problem:
        name = "PIP_BUILD_CONSTRAINT"
        if name in environment or not any(map(NO_PKG_RESOURCES.search, problem.output)):
            raise
        limits = output.with_name("build-constraints.txt")
        limits.write_text(f"{source_tree.WITH_PKG_RESOURCES}\n", encoding="utf-8")
        older = {**environment, name: str(limits)}
        backend.compile_lock(source, wanted, output, older, *options)


def name_of(requirement: Any) -> str:
    """Give the name of what a requirement is about."""
    return lockfile.normalize(requirement.name)


def brought(asked: Iterable[Any], index: Index) -> Iterator[Any]:
    """Give what requirements bring along on this interpreter, as the newest versions say."""
    from packaging.requirements import Requirement

    def lines_of(requirement: Any) -> list[str]:
        with contextlib.suppress(Exception):  # of pip's; what cannot be read is not known
            return index.asks_for(requirement.name)
        return []

    seen: set[tuple[str, frozenset[str]]] = set()
    level = list(asked)
    while level:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lines_of, level))
        here, level = level, []
        for requirement, lines in zip(here, answers):
            extras = ("", *requirement.extras)
            for each in map(Requirement, lines):
                key = (name_of(each), frozenset(each.extras))
                holds = not each.marker or any(each.marker.evaluate({"extra": e}) for e in extras)
                if holds and key not in seen:
                    seen.add(key)
                    level.append(each)
                    yield each


def asked_for(source: Path, wanted: Iterable[str]) -> Iterator[Any]:
    """Give what requirement files and a pyproject.toml ask for themselves, on this interpreter."""
    from packaging.requirements import InvalidRequirement, Requirement  # with pip-tools

    for name in wanted:
        if name.endswith(".toml"):
            project = toml.table(toml.read(source / name), "project")
            lines = toml.texts(project, "dependencies")
        else:
            lines = lockfile.logical_lines(lockfile.read(source / name))
        for line in lines:
            with contextlib.suppress(InvalidRequirement):
                requirement = Requirement(line)
                if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                    yield requirement


def refuse_on_pypy(names: Iterable[str]) -> None:
    """Raise Failure for a distribution that is known not to work on PyPy, where this is one."""
    if not lockfile.interpreter().startswith("PyPy"):
        return
    instead = lockfile.not_on_pypy()
    for name in names:
        if name in instead:
            use = f"use {instead[name]} instead, or " if instead[name] else ""
            raise Failure(
                f"{name} does not work on PyPy: {use}write PYTHON := python3 into"
                " deploy/settings.mk"
            )


def from_source(source: Path, wanted: Iterable[str]) -> set[str]:
    """Give the names that requirement files want no wheel of."""
    files = (source / name for name in wanted if not name.endswith(".toml"))
    options = [each for file in files for each in lockfile.options(lockfile.read(file))]
    refused = (b for a, b in zip(options[::2], options[1::2]) if a == "--no-binary")
    return {
        name if ":" in name else lockfile.normalize(name) for b in refused for name in b.split(",")
    }


def why_not_found(output: list[str], built: AbstractSet[str] = frozenset()) -> str:
    """Say why no version of a package will do; empty when that is not known to be so.

    Built are those of which no wheel is wanted.
    """
    if any(LOST.search(line) for line in output[-2:]):
        return CUT_OFF
    text = "".join(output)
    match = NOT_FOUND.search(text)
    if not match or UNREACHED.search(text):
        return ""
    wanted, there = match["wanted"], match["there"]
    others = dict(IGNORED.findall("".join(line for line in output if "Ignored the" in line)))
    if others:
        named = wanted.rpartition("==")[2]
        asks = others.get(named, list(others.values())[-1])
        return (
            f"{wanted} asks for Python {asks}, and this is {lockfile.interpreter()}: allow another"
            " version of it, or write a release with such a Python into BASE_IMAGE of"
            " deploy/settings.mk (debian:bookworm-slim has 3.11)"
        )
    name = lockfile.normalize(re.split(r"[^\w.-]", wanted)[0])
    if there == "none" and built & {name, ":all:"}:
        return (
            f"the index has no source distribution of {wanted}, which --no-binary asks for: leave"
            f" {name} out of --no-binary"
        )
    if there == "none":
        return (
            f"the index has no {wanted} for {lockfile.interpreter()}, neither a wheel nor a source:"
            " is its name spelled as there?"
        )
    return f"the index has no {wanted}; it has {', '.join(there.split(', ')[-5:])}"


def why_not_built(output: list[str]) -> Diagnosis | None:
    """Return what the package that pip could not build needs; None if the output does not show it."""
    if not any(BUILD_FAILED.search(line) for line in output):
        return None  # the package index was not reached, or it has no version that fits
    if any(UNPREPARED.search(line) for line in output[-2:]) and any(map(UNREACHED.search, output)):
        return Diagnosis(CUT_OFF)
    names = [match.group(1) or match.group(2) for match in map(UNBUILT.search, output) if match]
    names = [lockfile.normalize(name) for name in names] or collected(output)
    return build_errors.diagnose(names[-1], "", output) if names else None


def collected(output: list[str]) -> list[str]:
    """Name the distributions that pip has begun with, by what it said."""
    found = [match.group(1) for match in map(COLLECTED.search, output) if match]
    return [lockfile.normalize(name) for name in found]


def copy_source(application: Path, scratch: Path) -> Path:
    """Copy the application, since building writes into the tree that it builds."""
    source = scratch / "application"

    def ignore(folder: str, names: list[str]) -> set[str]:
        return lockfile.not_source(application, Path(folder), names)

    shutil.copytree(application, source, symlinks=True, ignore=ignore)
    # setuptools would pack what an earlier checkout left there
    for stale in (*source.glob("build/lib*"), *source.glob("build/bdist.*")):
        shutil.rmtree(stale)
    return source


def needed_sets(
    pins: list[lockfile.Pin], options: list[str], application: Path, builds: Builds
) -> set[str]:
    """Pin every requirement set that building these pins and the application takes.

    A back end may come as a source distribution too, with a back end of its own.
    """
    needed: set[str] = set()
    if lockfile.is_distribution(application):
        needed |= sets_of(source_tree.tree_at(application, builds.version), builds)
    seen: set[lockfile.Pin] = set()
    waiting = pins
    while waiting:
        seen.update(waiting)
        fetched = zip(waiting, builds.index.fetch(waiting, options))
        archives = [(pin, path) for pin, path in fetched if path.suffix != ".whl"]
        with ThreadPoolExecutor(backend.processors()) as pool:
            trees = [builds.tree_of(pin, path) for pin, path in archives]
            tasks = [pool.submit(sets_of, tree, builds) for tree in trees]
        needed = needed.union(*results(tasks))
        options = []  # the lock's are not meant for back ends
        asked = dict.fromkeys(pin for name in needed for pin in builds.pinned[name])
        waiting = [pin for pin in asked if pin not in seen]
    return needed


def sets_of(tree: Tree, builds: Builds) -> set[str]:
    """Pin the requirement sets that one tree's build takes: one, or two."""
    try:
        sets = [each for each in builds.requirements(tree) if each is not None]
    except Failure:
        if builds.without_compiler:
            raise NeedsCompiler from None
        # it cannot even say what it needs, for want of a C library; `make wheels` says so
        sets = [builds.requirements(tree, only_known=True)[0]]
    for each in sets:
        builds.pins_for(each)
    return {lockfile.build_set(each) for each in sets}
