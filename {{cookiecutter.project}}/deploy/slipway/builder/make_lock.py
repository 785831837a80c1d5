"""The lock: pip-compile resolves the dependencies, and back ends are pinned beside them."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from slipway.builder import build_from_source, source_tree
from slipway.builder.build_from_source import Builds
from slipway.builder.errors import Failure, NeedsCompiler
from slipway.builder.package_index import AT_ONCE, Index
from slipway.builder.run_tool import results, say
from slipway.builder.source_tree import Tree
from slipway.shared import git_version, lockfile, other_lockfiles, requirement_sources, toml
from slipway.shared.native import build_errors
from slipway.shared.native.build_errors import Diagnosis

# The environment marker of a pin.
MARKER = re.compile(r"(?<=\S) ?;.*?(?=\s*\\?$)", re.M)

# Messages of pip about a back end that failed, in contrast to a failed search.
BUILD_FAILED = re.compile(
    "subprocess-exited-with-error|metadata-generation-failed|failed-wheel-build|Failed to build"
    "|BackendException|returned non-zero exit status"
)

NO_PKG_RESOURCES = re.compile("No module named '?pkg_resources")

# Messages of pip and of its resolver that name the package.
UNBUILT = re.compile(r"Failed to build '([\w.-]+)'|Could not build wheels for ([\w.-]+)")

# Messages of pip about a package that was not found, and about versions for another Python.
NOT_FOUND = re.compile(
    r"find a version that satisfies the requirement (?P<wanted>.+?) \("
    r".*?from versions: (?P<there>.*?)\)"
)
IGNORED = re.compile(r"([\w.!+]+) Requires-Python ([^;\n]+)")
LOST = re.compile(r"^pip\S*\.(?:Connection\w+|ReadTimeout\w*|NetworkConnectionError)")
CUT_OFF = "the connection to the package index was lost: run this again"
UNPREPARED = re.compile("when installing build dependencies")
UNREACHED = re.compile(r"Retrying \(|ConnectionError|SSLError|ProxyError|timed out")

# The package that pip started with last, if the other messages name none.
COLLECTED = re.compile(r"^\s*Collecting ([A-Za-z0-9][\w.-]*)")


def make(application: Path, present: str, upgrade: bool, builds: Builds) -> str:
    """Return a new lock's text for this interpreter.

    The versions of the present lock are kept where they are still allowed, unless `upgrade` is set.
    """
    wanted = lockfile.sources(application)
    header = lockfile.HEADER.format(interpreter=lockfile.interpreter()) + "\n"
    if not wanted and builds.environment.get("FILES"):
        return header
    if not wanted:
        raise Failure(lockfile.NOTHING)
    refuse_elsewhere(application, builds.environment)
    say(f"locking {', '.join(wanted)} for {lockfile.interpreter()}")
    source = copy_source(application, builds.scratch)
    asked = list(direct_requirements(source, wanted))
    refuse_on_pypy(name_of(each) for each in asked)  # before a build, which may take minutes
    try:
        other = other_lockfiles.find(application)
    except ValueError as problem:
        other = None
        say(f"{problem}; continuing without it")
    start = present if upgrade else other_lockfiles.start(present, other)
    if other and start != present:
        say(f"starting with the {len(other.pins)} pins of {other.name}")
        if other.ambiguous:
            names = ", ".join(other.ambiguous)
            say(f"{other.name} has several versions of {names}: the newest is used")
    # a pin for another interpreter is kept if this interpreter requires the package too
    kept = "" if upgrade else MARKER.sub("", start)
    try:
        text = compile_lock(source, wanted, kept, upgrade, builds)
    except Failure as problem:
        refuse_on_pypy(collected(problem.output))
        if builds.without_compiler and any(BUILD_FAILED.search(line) for line in problem.output):
            refuse_on_pypy(name_of(each) for each in indirect_requirements(asked, builds.index))
            raise NeedsCompiler from None
        if reason := why_not_found(problem.output, names_without_wheels(source, wanted)):
            raise Failure(reason) from None
        if diagnosis := why_not_built(problem.output):
            raise Failure.diagnosed(diagnosis) from None
        raise problem from None
    refuse_on_pypy(pin.name for pin in lockfile.pins_here(text))
    if builds.environment.get("PIP_EXTRA_INDEX_URL"):
        point_out_several(builds.index.on_several([pin.name for pin in lockfile.pins_here(text)]))
    needed = needed_sets(lockfile.pins_here(text), lockfile.options(text), source, builds)
    text = lockfile.with_build_pins(text, {name: builds.pinned[name] for name in needed})
    text = other_lockfiles.noted(text, other)
    return header + text


def compile_lock(
    source: Path, wanted: Sequence[str], text: str, upgrade: bool, builds: Builds
) -> str:
    """Return what pip-compile makes of a lock's text; it runs the newest back ends on the way.

    If a back end imports pkg_resources, run it again with a setuptools that still has the module.
    """
    variables = git_version.variables(builds.version)
    options = ["--upgrade"] if upgrade else []
    try:
        return builds.sandbox.lock(source, wanted, text, variables, options)
    except Failure as problem:
        limited = "PIP_BUILD_CONSTRAINT" in builds.environment
        if limited or not any(map(NO_PKG_RESOURCES.search, problem.output)):
            raise
        limits = f"{source_tree.WITH_PKG_RESOURCES}\n"
        return builds.sandbox.lock(source, wanted, text, variables, options, limits)


def point_out_several(names: Sequence[str]) -> None:
    """Print the names that several package indexes have, if there are any."""
    if names:
        listed = ", ".join(names[:10]) + " ..." * (len(names) > 10)
        say(
            f"several package indexes have {listed}: pip takes the highest version, whoever owns"
            " the name there. Set PIP_INDEX_URL to one index that has all, and no"
            " PIP_EXTRA_INDEX_URL"
        )


def refuse_elsewhere(
    application: Path, environment: Mapping[str, str], names: AbstractSet[str] | None = None
) -> None:
    """Raise Failure if the application takes a requirement from another place than the index.

    With names, only those count.
    """
    found = requirement_sources.of_another_index(
        requirement_sources.find(application), environment.get("PIP_INDEX_URL", "")
    )
    if names is not None:
        found = [each for each in found if each.name in names]
    if found:
        raise Failure(requirement_sources.refusal(found))


def name_of(requirement: Any) -> str:
    """Return the normalized name in a requirement."""
    return lockfile.normalize(requirement.name)


def indirect_requirements(asked: Iterable[Any], index: Index) -> Iterator[Any]:
    """Yield the indirect requirements of some requirements, by the newest versions."""
    from packaging.requirements import Requirement

    def lines_of(requirement: Any) -> list[str]:
        with contextlib.suppress(Exception):  # of pip; a gap in the answer is acceptable
            return index.requirements_of_newest(requirement.name)
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


def direct_requirements(source: Path, wanted: Iterable[str]) -> Iterator[Any]:
    """Yield the requirements in requirement files and pyproject.toml for this interpreter."""
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
    """Raise Failure on PyPy for a distribution that is known not to work there."""
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


def names_without_wheels(source: Path, wanted: Iterable[str]) -> set[str]:
    """Return the names that requirement files list after --no-binary."""
    files = (source / name for name in wanted if not name.endswith(".toml"))
    options = [each for file in files for each in lockfile.options(lockfile.read(file))]
    refused = (b for a, b in zip(options[::2], options[1::2]) if a == "--no-binary")
    return {
        name if ":" in name else lockfile.normalize(name) for b in refused for name in b.split(",")
    }


def why_not_found(output: list[str], built: AbstractSet[str] = frozenset()) -> str:
    """Return why no version of a package is suitable; empty if that is not the problem.

    `built` has the names after --no-binary.
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
            f"{wanted} requires Python {asks}, and this is {lockfile.interpreter()}: allow another"
            " version of it, or write a release with such a Python into BASE_IMAGE of"
            " deploy/settings.mk (debian:bookworm-slim has 3.11)"
        )
    name = lockfile.normalize(re.split(r"[^\w.-]", wanted)[0])
    if there == "none" and built & {name, ":all:"}:
        return (
            f"the package index has no source distribution of {wanted}, which --no-binary requires:"
            f" leave {name} out of --no-binary"
        )
    if there == "none":
        return (
            f"the package index has no {wanted} for {lockfile.interpreter()}, neither a wheel nor a"
            " source distribution: check the spelling of its name"
        )
    return f"the package index has no {wanted}; it has {', '.join(there.split(', ')[-5:])}"


def why_not_built(output: list[str]) -> Diagnosis | None:
    """Return what a package that pip could not build needs; None if the output does not show it."""
    if not any(BUILD_FAILED.search(line) for line in output):
        return None  # the package index was not reached, or it has no version that fits
    if any(UNPREPARED.search(line) for line in output[-2:]) and any(map(UNREACHED.search, output)):
        return Diagnosis(CUT_OFF)
    names = [match.group(1) or match.group(2) for match in map(UNBUILT.search, output) if match]
    names = [lockfile.normalize(name) for name in names] or collected(output)
    return build_errors.diagnose(names[-1], "", output) if names else None


def collected(output: list[str]) -> list[str]:
    """Return the distributions that pip started with, according to its output."""
    found = [match.group(1) for match in map(COLLECTED.search, output) if match]
    return [lockfile.normalize(name) for name in found]


def copy_source(application: Path, scratch: Path) -> Path:
    """Copy the application, since a build writes into its source tree."""
    source = scratch / "application"

    def ignore(folder: str, names: list[str]) -> set[str]:
        return lockfile.not_source(application, Path(folder), names)

    shutil.copytree(application, source, symlinks=True, ignore=ignore)
    # setuptools would pack old files that an earlier build left there
    for stale in (*source.glob("build/lib*"), *source.glob("build/bdist.*")):
        shutil.rmtree(stale)
    return source


def needed_sets(
    pins: list[lockfile.Pin], options: list[str], application: Path, builds: Builds
) -> set[str]:
    """Return all requirement sets for building some pins and the application; pin each set.

    A back end may be a source distribution too, with a back end of its own.
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
        with ThreadPoolExecutor(build_from_source.processors()) as pool:
            trees = [builds.tree_of(pin, path) for pin, path in archives]
            tasks = [pool.submit(sets_of, tree, builds) for tree in trees]
        needed = needed.union(*results(tasks))
        options = []  # those of the lock do not apply to back ends
        asked = dict.fromkeys(pin for name in needed for pin in builds.pinned[name])
        waiting = [pin for pin in asked if pin not in seen]
    return needed


def sets_of(tree: Tree, builds: Builds) -> set[str]:
    """Return the requirement sets for building one tree, one or two; pin each set."""
    try:
        sets = [each for each in builds.requirements(tree) if each is not None]
    except Failure:
        if builds.without_compiler:
            raise NeedsCompiler from None
        # the back end cannot answer, often because a C library is missing: `make wheels` reports it
        sets = [builds.requirements(tree, only_known=True)[0]]
    for each in sets:
        builds.pins_for(each)
    return {lockfile.build_set(each) for each in sets}
