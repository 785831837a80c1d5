"""Make the lock: what the application asks for, by pip-compile, and what builds it from source."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import backend
import lockfile
from backend import Builds, Tree
from tools import Failure, NeedsCompiler, results, say

# How pip says that a package's back end failed, and not its search for one.
BUILD_FAILED = re.compile(
    "subprocess-exited-with-error|metadata-generation-failed|failed-wheel-build|Failed to build"
    "|BackendException|returned non-zero exit status"
)


def make(application: Path, present: str, upgrade: bool, builds: Builds) -> str:
    """Give a new lock's text for this interpreter.

    The present lock's text keeps what it pins where that is still allowed, unless upgrade.
    """
    wanted = lockfile.sources(application)
    if not wanted:
        raise Failure(
            "there is nothing to lock: write a pyproject.toml for the application,"
            " or a requirements.in that names one"
        )
    say(f"locking {', '.join(wanted)} for {lockfile.interpreter()}")
    source = copy_source(application, builds.scratch)
    output = builds.scratch / "lock.txt"
    if present and not upgrade:
        output.write_text(present, encoding="utf-8")
    options = ("--upgrade",) if upgrade else ()
    try:
        backend.compile_lock(source, wanted, output, builds.environment, *options)
    except Failure as problem:
        if builds.without_compiler and any(BUILD_FAILED.search(line) for line in problem.output):
            raise NeedsCompiler from None
        raise
    # pip-compile leaves no file when nothing is asked for
    text = output.read_text(encoding="utf-8") if output.exists() else ""
    needed = needed_sets(lockfile.pins_here(text), lockfile.options(text), source, builds)
    text = lockfile.with_build_pins(text, {name: builds.pinned[name] for name in needed})
    return lockfile.HEADER.format(interpreter=lockfile.interpreter()) + "\n" + text


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
        needed |= sets_of(backend.tree_at(application), builds)
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
