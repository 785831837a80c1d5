#!/usr/bin/env python3
"""Make an application's lock and wheelhouse; the builder image's entry point.

    wheels.py [wheels]   build the wheels that the lock and the application name
    wheels.py fetch      the dependencies alone, if nothing has to be built from source
    wheels.py lock       print a lock that keeps the present pins
    wheels.py upgrade    print a lock with the newest versions allowed

In the builder the application is the volume /application, which is only read, and the wheelhouse
is the volume /wheelhouse:

    /wheelhouse/deps/*.whl, requirements.txt    what the lock names, with the wheels' own sums
    /wheelhouse/app/*.whl, requirements.txt     the application itself, when there is one
    /wheelhouse/unread.json                     which of its files the application's wheel is not of

Without a lock for this interpreter `wheels` makes one in the wheelhouse, or with --locked says so
by status 3. Once the dependencies are there anew, and the application is what is left, it prints
`dependencies`. `make venv` runs the same file on the host with other folders.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slipway.builder import build_from_source as backend
from slipway.builder import make_lock as locking
from slipway.builder import plain_files_wheel as plainfiles
from slipway.builder import source_tree, store, wheelhouse
from slipway.builder.build_from_source import Builds
from slipway.builder.errors import Failure, NeedsCompiler
from slipway.builder.package_index import Index
from slipway.builder.run_tool import say, telling
from slipway.shared import files as kept_files
from slipway.shared import lockfile, network
from slipway.shared.files import EPOCH
from slipway.shared.native import build_errors as missing

NEEDS_LOCK = 3
NEEDS_COMPILER = 4


def build_dependencies(lock: str, place: Path, builds: Builds, only_fetch: bool = False) -> bool:
    """Make place hold exactly the wheels that the lock names for this interpreter.

    With only_fetch nothing is built, and False says that something would have to be.
    """
    from packaging.version import Version  # with pip-tools in the builder

    pins = lockfile.pins_here(lock)
    back_ends = {name: [pin.text for pin in each] for name, each in builds.pinned.items()}
    made_from = kept_files.digest(lockfile.logical_lines(lock), back_ends)
    header = f"# lock sha256:{made_from}\n# {lockfile.system()}\n"
    # what was built from source may have taken another library, had it been there
    libraries = f"# libraries sha256:{kept_files.digest(source_tree.libraries())}\n"
    options = lockfile.options(lock)
    is_whole = wheelhouse.is_whole(place, header, header + libraries)
    if is_whole and is_true(place, pins, options, builds):
        say(f"{len(pins)} dependencies are there already")
        return True
    if pins:
        say(f"getting {len(pins)} dependencies for {lockfile.interpreter()}")
    wheels = builds.wheels(pins, options, only_fetch)
    if len(wheels) < len(pins):
        return False
    for pin, wheel in zip(pins, wheels):
        name, version = wheelhouse.name_of(wheel)
        if name != pin.name or Version(version) != Version(pin.version):
            raise Failure(f"{pin.name}=={pin.version} came out as {wheel.name}: run make lock")
    with wheelhouse.replacing(place) as new:
        for wheel in wheels:
            shutil.copyfile(wheel, new / wheel.name)
        built = any(builds.store.is_built(wheel) for wheel in wheels)
        wheelhouse.list_in(new, header + (libraries if built else ""))
    if not only_fetch:
        print("dependencies", flush=True)
    return True


def is_true(
    place: Path, pins: Sequence[lockfile.Pin], options: Sequence[str], builds: Builds
) -> bool:
    """Say whether the wheels in place are those of the index, or those that were built here.

    Place is whole, so that its list has their sums; what put them there is not known by that.
    """
    listed = lockfile.pins(lockfile.read(place / "requirements.txt"))
    sums = {pin.name: sum_ for pin in listed for sum_ in pin.sums}
    built = [pin for pin in pins if sums.get(pin.name) not in pin.sums]
    kept = builds.wheels(built, options, only_fetch=True)
    return len(kept) == len(built) and all(
        sums.get(pin.name) == kept_files.sha256(wheel) for pin, wheel in zip(built, kept)
    )


def build_application(application: Path, lock: str, place: Path, builds: Builds) -> None:
    """Make place hold the application's own wheel and that of FILES, or what there is of these.

    Which of its files did not matter is written beside place, for state.py. Without a compiler,
    NeedsCompiler says that the back end started a program, which may have been that.
    """
    with wheelhouse.replacing(place) as new:
        source = locking.copy_source(application, builds.scratch)
        paths = dict(lockfile.files_of(source))
        files = set(paths)
        # a link is not read, but what it leads to
        links = {name for name, path in paths.items() if path.is_symlink()}
        matter = {*source_tree.CONFIGURATION, *links}
        wheel = None
        if lockfile.is_distribution(application):
            reads = builds.scratch / "reads"
            try:
                tree = source_tree.tree_at(source, builds.version)
                _, needs = builds.requirements(tree, reads=reads)
                wheel = builds.build(tree, new, needs or set(), reads)
            except Failure as problem:
                answer = missing.explain("the application", "", problem.output)
                # the builder may have what it looked for, and did not even start
                if builds.without_compiler and (answer or backend.started_programs(reads)):
                    raise NeedsCompiler from None
                message = f"the application's wheel cannot be built: {problem}"
                raise Failure(answer or message, [] if answer else problem.output) from None
            if builds.without_compiler and backend.started_programs(reads):
                raise NeedsCompiler
            unlocked = missing_from_lock(wheelhouse.requirements_of(wheel), lock)
            if unlocked:
                raise Failure(
                    f"the lock does not have {', '.join(unlocked)}, which the application asks for:"
                    " run make lock"
                )
            say(f"built {wheel.name}")
            # a back end that reads nothing is one that cannot be listened to
            matter |= read_files(reads, files) or files
        names = builds.environment.get("FILES", "").split()
        if names:
            version = wheelhouse.name_of(wheel)[1] if wheel else plainfiles.VERSION
            project = builds.environment["PROJECT"]
            found = plainfiles.named(paths, names)
            say(f"packed {plainfiles.wheel_of(found, project, version, new).name}")
            matter |= found.keys()
        wheelhouse.list_in(new, f"# {lockfile.system()}\n")
        kept_files.write(place.with_name("unread.json"), json.dumps(sorted(files - matter)))


def prepare(application: Path, builds: Builds) -> None:
    """Make the virtualenv of the application's back end, when the lock pins what is in it."""
    if lockfile.is_distribution(application):
        stated = source_tree.build_requirements(application)
        if lockfile.build_set(stated) in builds.pinned:
            builds.virtualenv(stated)


def read_files(reads: Path, files: set[str]) -> set[str]:
    """Give which files a build may have read; all of them when that cannot be known."""
    listed = backend.noted(reads)
    return files if "*" in listed or not reads.is_file() else listed & files


def missing_from_lock(requirements: list[str], lock: str) -> list[str]:
    """List the requirements that hold here and that no pin of the lock satisfies."""
    from packaging.requirements import Requirement  # with pip-tools in the builder

    versions = {pin.name: pin.version for pin in lockfile.pins(lock)}
    unlocked = []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = versions.get(lockfile.normalize(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            unlocked.append(str(requirement))
    return unlocked


def why_not(path: Path) -> str:
    """Say why the application's lock cannot be used here; empty when it can."""
    if not path.is_file():
        return f"there is no lock ({path.name}) yet"
    made_for = lockfile.locked_for(lockfile.read(path))
    if made_for and made_for != lockfile.interpreter():
        return f"{path.name} is locked for {made_for} and this is {lockfile.interpreter()}"
    return ""


def build(options: argparse.Namespace, environment: Mapping[str, str], scratch: Path) -> int:
    """Build the wheelhouse; gives the exit status.

    Without a lock for this interpreter one is made, with the pins that there are, and kept in the
    wheelhouse: the application is only read.
    """
    path = lockfile.lock_path(options.application)
    has_files = bool(environment.get("FILES"))
    if not (path.is_file() or has_files or lockfile.sources(options.application)):
        raise Failure(lockfile.NOTHING)
    reason = why_not(path)
    if reason:
        say(reason)
        if options.locked:
            return NEEDS_LOCK
        own = options.wheelhouse / "requirements.txt"
        text = make_lock(options, path if path.is_file() else own, environment, scratch)
        path = own
        kept_files.write(path, text)
    lock = lockfile.read(path)
    builds = builds_for(lock, options, environment, scratch)
    try:
        only_fetch = options.job == "fetch"
        with ThreadPoolExecutor(1) as pool:
            # while the dependencies come; what fails here is done again in its turn, and said then
            pool.submit(prepare, options.application, builds)
            done = build_dependencies(lock, options.wheelhouse / "deps", builds, only_fetch)
    except lockfile.NotPinned as line:
        raise Failure(
            f"{path.name} has a line without == or --hash: {line}: run make lock"
        ) from None
    if done and options.job == "wheels":
        build_application(options.application, lock, options.wheelhouse / "app", builds)
    return 0 if done else NEEDS_COMPILER


def builds_for(
    lock: str, options: argparse.Namespace, environment: Mapping[str, str], scratch: Path
) -> Builds:
    """Give what fetches and builds wheels as a lock's text says."""
    kept = store.Store(Path(environment["XDG_CACHE_HOME"], "store"))
    index = Index(kept, environment)
    pinned = {} if options.job == "upgrade" else lockfile.build_pins(lock)
    locking = options.job in ("lock", "upgrade")
    return Builds(index, pinned, environment, scratch, locking, options.without_compiler)


def make_lock(
    options: argparse.Namespace, present: Path, environment: Mapping[str, str], scratch: Path
) -> str:
    """Give a new lock's text, with the pins of the present one unless they are to move."""
    text = lockfile.read(present) if present.is_file() else ""
    upgrade = options.job == "upgrade"
    with tempfile.TemporaryDirectory(dir=scratch) as own:
        builds = builds_for(text, options, environment, Path(own))
        return locking.make(options.application, text, upgrade, builds)


def become_owner(wheelhouse: Path) -> None:
    """Give up root for the owner of the wheelhouse, so that what is built is theirs."""
    if os.name != "posix" or os.geteuid() != 0:
        return
    owner = wheelhouse.stat()
    if owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give an empty folder; the same in every container, since compilers write its name down."""
    usual = Path(tempfile.gettempdir(), "wheels")
    try:
        usual.mkdir(mode=0o700)
    except FileExistsError:  # on a host, where there are other builds
        with tempfile.TemporaryDirectory() as other:
            yield Path(other)
        return
    try:
        yield usual
    finally:
        shutil.rmtree(usual, ignore_errors=True)


def environment_for(scratch: Path, ca: Path, cache: Path) -> dict[str, str]:
    """Give the tools' environment: the certificates to trust, a cache and a home of their own."""
    own_cache = cache / str(os.geteuid())  # pip uses no cache that is somebody else's
    return {
        **os.environ,
        "PIP_CACHE_DIR": str(own_cache / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # the same source gives the same wheel, byte for byte: every file in it is of this time
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", str(EPOCH)),
        "XDG_CACHE_HOME": str(own_cache),
        "HOME": str(scratch),
        **network.trusting(ca, scratch),
    }


def arguments_of(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="wheels", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "job",
        nargs="?",
        default="wheels",
        choices=("wheels", "fetch", "lock", "upgrade"),
    )
    parser.add_argument("--application", type=Path, default=Path("/application"))
    parser.add_argument("--wheelhouse", type=Path, default=Path("/wheelhouse"))
    parser.add_argument(
        "--without-compiler", action="store_true", help="compile nothing, end with status 4"
    )
    parser.add_argument("--locked", action="store_true", help="make no lock, end with status 3")
    parser.add_argument("--ca", type=Path, default=Path("/ca"), help="folder of extra *.crt files")
    parser.add_argument("--cache", type=Path, default=Path("/cache"))
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Do one job; gives the exit status: 0, 1 for a failure that was said, 3 for no lock."""
    options = arguments_of(arguments)
    if not os.environ.get("VERBOSE"):
        warnings.simplefilter("ignore")  # back ends' advice to those who wrote the package
    try:
        if not options.application.is_dir():
            raise Failure(f"mount the application at {options.application}")
        os.umask(0o022)  # modes are part of a wheel
        if options.job in ("lock", "upgrade"):
            with scratch_folder() as scratch:
                environment = environment_for(scratch, options.ca, options.cache)
                present = lockfile.lock_path(options.application)
                sys.stdout.write(make_lock(options, present, environment, scratch))
            return 0
        if not options.wheelhouse.is_dir():
            raise Failure(f"mount a folder for the wheels at {options.wheelhouse}")
        become_owner(options.wheelhouse)
        with scratch_folder() as scratch, wheelhouse.alone_in(options.wheelhouse):
            environment = environment_for(scratch, options.ca, options.cache)
            return build(options, environment, scratch)
    except NeedsCompiler:
        return NEEDS_COMPILER
    except (Failure, ValueError, OSError) as problem:
        sys.stderr.writelines(telling(getattr(problem, "output", [])))
        for line in str(problem).splitlines():
            say(line)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
