"""Build wheels from source trees, with the back ends that they name (PEP 517).

Back ends are pinned like dependencies: their versions and hashes are in the lock (lockfile.py).
Their code and that of source distributions runs in the sandbox. Wheels that were built from source
distributions of the package index are kept in the store, since compiling may take minutes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slipway.builder import bytecode, wheelhouse
from slipway.builder.errors import Failure, NeedsCompiler
from slipway.builder.package_index import Index
from slipway.builder.run_tool import compile_lock, results, say
from slipway.builder.sandbox_client import Sandbox
from slipway.builder.source_tree import Tree, effort, libraries, stated_requirements
from slipway.builder.store import Store
from slipway.shared import lockfile
from slipway.shared.files import digest, sha256
from slipway.shared.native import build_errors

# A part of every built wheel's key. Raise it when the way of building changes.
RECIPE = 2


class Builds:
    """The downloaded or built wheels of pins and of source trees."""

    def __init__(
        self,
        index: Index,
        pinned: Mapping[str, Sequence[lockfile.Pin]],
        environment: Mapping[str, str],
        scratch: Path,
        sandbox: Sandbox,
        locking: bool = False,
        without_compiler: bool = False,
    ) -> None:
        """Keep the pins of back ends by requirement set, and a folder for what is passed on.

        A requirement set without pins is pinned when it is needed. That is reported, unless a lock
        is being made.
        """
        self.sandbox = sandbox
        self.locking = locking
        self.without_compiler = without_compiler
        self.index = index
        self.store: Store = index.store
        self.pinned = dict(pinned)
        self.environment = dict(environment)
        self.version = self.environment.get("SCM_VERSION", "")
        self.scratch = scratch
        self._hopeless = False
        self._newest: dict[frozenset[str], list[lockfile.Pin]] = {}
        self._resolving = threading.RLock()
        self._wheels: dict[str, list[Path]] = {}
        self._doing: dict[str, threading.Lock] = {}

    def wheels(
        self,
        pins: Sequence[lockfile.Pin],
        options: Sequence[str] = (),
        only_fetch: bool = False,
        within: tuple[str, ...] = (),
    ) -> list[Path]:
        """Return the wheel of each pin, in the store; build those that the index does not have.

        Options are those of a lock, such as --no-binary NAME; they do not apply to back ends. With
        only_fetch, wheels that would have to be built are left out. Without a compiler,
        NeedsCompiler is raised if a build may need one.
        """
        return self.wheels_of(pins, self.index.fetch(pins, options), only_fetch, within)

    def wheels_of(
        self,
        pins: Sequence[lockfile.Pin],
        files: Sequence[Path],
        only_fetch: bool = False,
        within: tuple[str, ...] = (),
    ) -> list[Path]:
        """Return the wheel of each pin whose file was fetched, as `wheels` does."""
        found: list[Path | None] = []
        sources: list[tuple[int, lockfile.Pin, Path]] = []
        for number, (pin, path) in enumerate(zip(pins, files)):
            found.append(path if path.suffix == ".whl" else None)
            if path.suffix != ".whl":
                sources.append((number, pin, path))
        # the longest build first, so that it does not run alone at the end
        if len(sources) > 1:
            sources.sort(key=lambda each: -effort(each[2]))
        with ThreadPoolExecutor(processors()) as pool:
            tasks = [
                pool.submit(self._built, pin, path, only_fetch, within) for _, pin, path in sources
            ]
        for (number, _, _), wheel in zip(sources, results(tasks)):
            found[number] = wheel
        return [path for path in found if path is not None]

    def _built(
        self, pin: lockfile.Pin, archive: Path, only_fetch: bool, within: tuple[str, ...]
    ) -> Path | None:
        """Return the wheel of a source distribution; build it if the store does not have it."""
        name = f"{pin.name} {pin.version}"
        if self._hopeless:
            raise NeedsCompiler
        try:
            if name in within:
                raise Failure(f"{name} is needed to build {within[-1]}")
            tree = self.tree_of(pin, archive, within)
            _, needs = self.requirements(tree, only_fetch)
            if needs is None:
                return None
            # all inputs of the wheel; the builder image is none, so that a new image does not
            # compile everything again
            key = digest(RECIPE, tree.identity, lockfile.system(), libraries(), self._texts(needs))
            found = self.store.built(key)
            if found is not None or only_fetch:
                return found
            # made before the lock below is held, since it may wait for other builds
            self.virtualenv(needs, tree.within)
            with self._once(key), tempfile.TemporaryDirectory(dir=self.scratch) as folder:
                found = self.store.built(key)
                if found is None:
                    takes = self.store.answer(digest("compiler", key))
                    if self.without_compiler and takes.known:
                        raise NeedsCompiler
                    say(f"building {name} from source")
                    reads = Path(folder, "reads") if self.without_compiler else None
                    try:
                        wheel = self.build(tree, Path(folder), needs, reads)
                    finally:
                        if reads and started_programs(reads):
                            takes.remember(["yes"])  # the next build does not try again
                    if reads and (takes.known or not reads.is_file()):
                        raise NeedsCompiler
                    wheelhouse.metadata_of(wheel)
                    if not wheelhouse.is_same(wheelhouse.name_of(wheel), (pin.name, pin.version)):
                        raise WrongWheel(
                            f"{pin.name}=={pin.version} came out as {wheel.name}: run make lock"
                        )
                    found = self.store.add_built(key, wheel)
                return found
        except NeedsCompiler:
            self._hopeless = True
            raise
        except WrongWheel:
            raise
        except (Failure, ValueError) as error:
            problem = error if isinstance(error, Failure) else Failure(str(error))
            if self.without_compiler and not self.locking:
                self._hopeless = True
                raise NeedsCompiler from None
            diagnosis = build_errors.diagnose(pin.name, pin.version, problem.output)
            if diagnosis:
                raise Failure.diagnosed(diagnosis) from None
            raise Failure(f"{name} cannot be built: {problem}", problem.output) from None

    def tree_of(self, pin: lockfile.Pin, archive: Path, within: tuple[str, ...] = ()) -> Tree:
        """Return the tree of a source distribution, which is unpacked only while it is used."""
        return Tree(
            sha256(archive),
            f"sources/{pin.name}-{pin.version}",
            archive,
            (*within, f"{pin.name} {pin.version}"),
        )

    def build(self, tree: Tree, folder: Path, needs: set[str], reads: Path | None = None) -> Path:
        """Build the wheel of a tree into a folder; raise Failure if the back end fails.

        The names of the files that it reads are written to `reads`; see record_file_access.py.
        """
        virtualenv = self.virtualenv(needs, tree.within)
        with self._once(tree.name):  # one job at a time has the folder of that name
            return self.sandbox.wheel(tree, virtualenv, folder, reads)

    def requirements(
        self, tree: Tree, only_known: bool = False, reads: Path | None = None
    ) -> tuple[set[str], set[str] | None]:
        """Return the requirements of pyproject.toml, and these with those of the back end.

        Both are determined once for each identity of a tree. With only_known the back end is not
        run, and the second value is None if its answer is not known. `reads` is that of build.
        """
        stated = self.store.answer(digest("stated needs", tree.identity))
        if stated.known is None:
            stated.remember(sorted(stated_requirements(tree.archive)))
        static = set(stated.known or [])
        question = digest(tree.identity, lockfile.system(), self._texts(static))
        asked = self.store.answer(question)
        if asked.known is None and only_known:
            return static, None
        if asked.known is None:
            virtualenv = self.virtualenv(static, tree.within)
            with self._once(question):
                asked = self.store.answer(question)
                if asked.known is None:
                    with self._once(tree.name):
                        asked.remember(self.sandbox.requirements(tree, virtualenv, reads))
        return static, static | set(asked.known or [])

    def _once(self, key: str) -> threading.Lock:
        """Return the lock of work that one thread does while the others wait for its result."""
        return self._doing.setdefault(key, threading.Lock())

    def _texts(self, requirements: set[str]) -> list[str]:
        return [pin.text for pin in self.pins_for(requirements)]

    def pins_for(self, requirements: set[str]) -> Sequence[lockfile.Pin]:
        """Return the pins of a requirement set: those of the lock, or else the newest versions."""
        wanted = lockfile.build_set(requirements)
        with self._resolving:
            if wanted not in self.pinned:
                self.pinned[wanted] = self.resolve(requirements)
                if not self.locking:
                    names = ", ".join(f"{pin.name} {pin.version}" for pin in self.pinned[wanted])
                    say(f"the lock pins no {wanted}: using {names}; make lock pins them")
            return self.pinned[wanted]

    def resolve(self, requirements: set[str]) -> list[lockfile.Pin]:
        """Return pins of the newest versions that satisfy a requirement set.

        Most back ends require setuptools with a lower bound only: that is resolved once.
        """
        if not requirements:
            return []
        names = unbounded(requirements)
        known = self._newest.get(names, [])
        if known and satisfied(requirements, known):
            return known
        stated = "\n".join(sorted(requirements)) + "\n"
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            source = Path(folder, "requirements")
            source.mkdir()
            (source / "wanted.in").write_text(stated, encoding="utf-8")
            if self.locking:
                text = self.sandbox.lock(source, ["wanted.in"])
            else:
                text = self._resolve_here(requirements, source)
        found = lockfile.pins(text)
        if names:
            self._newest[names] = found
        return found

    def _resolve_here(self, requirements: set[str], source: Path) -> str:
        """Return the lock of wanted.in, from wheels alone: code of nobody else runs here."""
        output = source / "lock.txt"
        try:
            refuse_addresses(requirements)
            only_wheels = {**self.environment, "PIP_ONLY_BINARY": ":all:"}
            compile_lock(source, ["wanted.in"], output, only_wheels)
        except Failure as problem:
            raise Failure(
                f"the lock pins no {lockfile.build_set(requirements)}, and there are no wheels for"
                f" it: run make lock ({problem})",
                problem.output,
            ) from None
        # pip-compile writes no file if there are no requirements
        return output.read_text(encoding="utf-8") if output.exists() else ""

    def virtualenv(self, requirements: set[str], within: tuple[str, ...] = ()) -> str:
        """Return the name of the sandbox's virtualenv with some requirements; make it once."""
        pins = self.pins_for(requirements)
        name = digest([pin.text for pin in pins])[:16]
        if not self.sandbox.has_virtualenv(name):
            wheels = self.wheels(pins, within=within)  # before the lock: it may wait for others
            with self._once(name):
                if not self.sandbox.has_virtualenv(name):
                    kept = self._bytecode_of(name)
                    self._wheels[name] = wheels
                    self.sandbox.make_virtualenv(name, wheels, kept if kept.exists() else None)
        return name

    def _bytecode_of(self, name: str) -> Path:
        return self.store.root / "bytecode" / digest(name, lockfile.system(), sys.version)[:16]

    def keep_bytecode(self) -> None:
        """Keep the bytecode of the modules that builds were seen to use, for the next builds."""
        for name, used in self.sandbox.modules.items():
            if used and name in self._wheels:
                bytecode.pack(self._bytecode_of(name), self._wheels[name], used)


class WrongWheel(Failure):
    """A source distribution that became a wheel of another name or version."""


def processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def started_programs(reads: Path) -> bool:
    """Return whether a back end tried to start another program."""
    return "*" in recorded_files(reads)


def recorded_files(reads: Path) -> set[str]:
    """Read the list that record_file_access.py wrote."""
    text = os.fsdecode(reads.read_bytes()) if reads.is_file() else ""
    return set(filter(None, text.split("\0")))


def unbounded(requirements: set[str]) -> frozenset[str]:
    """Return the names in a requirement set without upper bounds; none if it has one."""
    from packaging.requirements import InvalidRequirement, Requirement  # with pip-tools

    try:
        asked = [Requirement(text) for text in requirements]
    except InvalidRequirement:  # reported when the set is resolved
        return frozenset()
    for each in asked:
        operators = {specifier.operator for specifier in each.specifier}
        if each.extras or each.marker or each.url or operators - {">", ">=", "!="}:
            return frozenset()
    return frozenset(lockfile.normalize(each.name) for each in asked)


def satisfied(requirements: set[str], pins: Sequence[lockfile.Pin]) -> bool:
    """Return whether pins satisfy a requirement set."""
    from packaging.requirements import Requirement  # with pip-tools

    versions = {pin.name: pin.version for pin in pins}
    asked = map(Requirement, requirements)
    return all(
        each.specifier.contains(versions.get(lockfile.normalize(each.name), "0"), prereleases=True)
        for each in asked
    )


def refuse_addresses(requirements: set[str]) -> None:
    """Raise Failure for anything but names and versions: a source distribution, or an option."""
    from packaging.requirements import InvalidRequirement, Requirement  # with pip-tools

    for text in requirements:
        try:
            named = not Requirement(text).url and "\n" not in text
        except InvalidRequirement:
            named = False
        if not named:
            raise Failure(f"{text!r} does not name a release of the package index")
