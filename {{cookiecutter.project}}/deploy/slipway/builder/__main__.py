"""Make an application's lock and wheelhouse; the entry point of the builder image.

    python -m slipway.builder [wheels]   build the wheels of the application and its lock
    python -m slipway.builder fetch      download the dependencies, if none must be compiled
    python -m slipway.builder lock       make a lock that keeps the present versions
    python -m slipway.builder upgrade    make a lock with the newest versions allowed
    python -m slipway.builder sandbox    run the code of others for another builder

In the container the application is mounted at /application, read-only. The wheelhouse is mounted at
/wheelhouse:

    /wheelhouse/deps/*.whl, requirements.txt    the packages of the lock, with the wheels' SHA-256
    /wheelhouse/app/*.whl, requirements.txt     the application itself, if it is a package
    /wheelhouse/unread.json                     source files that do not affect the wheels

Code of back ends and of source distributions runs in the sandbox (sandbox.py). With --sandbox, the
sandbox is a container that connects in this folder, where `sandbox` was run with the same folder.
Otherwise it is a process of this container.

If there is no lock for this interpreter, `wheels` makes one in the wheelhouse. With --locked it
refuses instead. With --events, standard output consists of JSON lines (events.py). The exit status
is 0 or 1. `make venv` runs this module on the host, with other folders.
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

from slipway.builder import (
    build_from_source,
    events,
    make_lock,
    plain_files_wheel,
    sandbox,
    sandbox_client,
    source_tree,
    store,
    wheelhouse,
)
from slipway.builder.build_from_source import Builds
from slipway.builder.errors import Failure, NeedsCompiler, NeedsLock
from slipway.builder.events import Output
from slipway.builder.package_index import Index
from slipway.builder.run_tool import relevant_lines, say
from slipway.builder.sandbox_client import Sandbox
from slipway.shared import files as file_tools
from slipway.shared import lockfile, network
from slipway.shared.files import EPOCH
from slipway.shared.native import build_errors

# The virtualenv that this module is installed in, in the builder's images.
IMAGE_PREFIX = "/opt/builder"
# The version of what is kept in the cache.
LAYOUT = "2"


def build_dependencies(
    lock: str, place: Path, builds: Builds, output: Output, only_fetch: bool = False
) -> None:
    """Fill a folder with exactly the wheels that the lock names for this interpreter.

    With only_fetch nothing is built, and NeedsCompiler is raised if a package must be built.
    """
    from packaging.version import Version  # installed with pip-tools in the builder

    pins = lockfile.pins_here(lock)
    back_ends = {name: [pin.text for pin in each] for name, each in builds.pinned.items()}
    made_from = file_tools.digest(lockfile.logical_lines(lock), back_ends)
    header = f"# lock sha256:{made_from}\n# {lockfile.system()}\n"
    # a package that was built from source may use another C library once that is installed
    libraries = f"# libraries sha256:{file_tools.digest(source_tree.libraries())}\n"
    options = lockfile.options(lock)
    is_whole = wheelhouse.is_whole(place, header, header + libraries)
    if is_whole and is_trusted(place, pins, options, builds, output):
        say(f"{len(pins)} dependencies are there already")
        return
    if pins:
        say(f"getting {len(pins)} dependencies for {lockfile.interpreter()}")
    files = builds.index.fetch(pins, options)
    output.sources([pin.name for pin, path in zip(pins, files) if path.suffix != ".whl"])
    wheels = builds.wheels_of(pins, files, only_fetch)
    if len(wheels) < len(pins):
        raise NeedsCompiler
    for pin, wheel in zip(pins, wheels):
        name, version = wheelhouse.name_of(wheel)
        if name != pin.name or Version(version) != Version(pin.version):
            raise Failure(f"{pin.name}=={pin.version} came out as {wheel.name}: run make lock")
    built = {}
    with wheelhouse.replacing(place) as new:
        for pin, wheel in zip(pins, wheels):
            copy = new / wheel.name
            shutil.copyfile(wheel, copy)
            if builds.store.is_built(wheel):
                built[pin.name] = file_tools.sha256(copy)
        wheelhouse.list_in(new, header + (libraries if built else ""))
    output.built(built)
    if not only_fetch:
        output.dependencies()


def is_trusted(
    place: Path,
    pins: Sequence[lockfile.Pin],
    options: Sequence[str],
    builds: Builds,
    output: Output,
) -> bool:
    """Check that a folder's wheels come from the package index or were built here.

    The folder matches its own list of checksums, but this does not prove where the wheels came
    from. If they are trusted, those that were built here are reported.
    """
    listed = lockfile.pins(lockfile.read(place / "requirements.txt"))
    checksums = {pin.name: checksum for pin in listed for checksum in pin.sums}
    built = [pin for pin in pins if checksums.get(pin.name) not in pin.sums]
    files = builds.index.fetch(built, options)
    if any(path.suffix == ".whl" for path in files):
        return False  # it should have one of the lock's checksums
    kept = builds.wheels_of(built, files, only_fetch=True)
    sums = {pin.name: file_tools.sha256(wheel) for pin, wheel in zip(built, kept)}
    if len(kept) < len(built) or any(checksums.get(name) != sums[name] for name in sums):
        return False
    output.sources(list(sums))
    output.built(sums)
    return True


def build_application(application: Path, lock: str, place: Path, builds: Builds) -> None:
    """Fill a folder with the application's own wheel and the wheel of FILES, if there are any.

    The names of files that do not affect the wheels are written beside the folder, for the laptop.
    Without a compiler, NeedsCompiler is raised if the back end started a program: that program may
    have been a compiler.
    """
    with wheelhouse.replacing(place) as new:
        source = make_lock.copy_source(application, builds.scratch)
        paths = dict(lockfile.files_of(source))
        files = set(paths)
        # a back end opens the target of a symbolic link, so that reading the link is not noticed
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
                diagnosis = build_errors.diagnose("the application", "", problem.output)
                # the builder may have what the build looked for before it started any program
                started = build_from_source.started_programs(reads)
                if builds.without_compiler and (diagnosis or started):
                    raise NeedsCompiler from None
                if diagnosis:
                    raise Failure.diagnosed(diagnosis) from None
                message = f"the application's wheel cannot be built: {problem}"
                raise Failure(message, problem.output) from None
            if builds.without_compiler and build_from_source.started_programs(reads):
                raise NeedsCompiler
            unlocked = missing_from_lock(wheelhouse.requirements_of(wheel), lock)
            if unlocked:
                raise Failure(
                    f"the lock does not have {', '.join(unlocked)}, which the application requires:"
                    " run make lock"
                )
            say(f"built {wheel.name}")
            # a back end that reads no file at all cannot be observed
            matter |= read_files(reads, files) or files
        names = builds.environment.get("FILES", "").split()
        if names:
            version = wheelhouse.name_of(wheel)[1] if wheel else plain_files_wheel.VERSION
            project = builds.environment["PROJECT"]
            found = plain_files_wheel.files_named(paths, names)
            say(f"packed {plain_files_wheel.wheel_of(found, project, version, new).name}")
            matter |= found.keys()
        wheelhouse.list_in(new, f"# {lockfile.system()}\n")
        file_tools.write(place.with_name("unread.json"), json.dumps(sorted(files - matter)))


def prepare(application: Path, builds: Builds) -> None:
    """Make the virtualenv of the application's back end, if the lock pins its packages."""
    if lockfile.is_distribution(application):
        stated = source_tree.build_requirements(application)
        pins = builds.pinned.get(lockfile.build_set(stated))
        if pins is not None and len(builds.wheels(pins, only_fetch=True)) == len(pins):
            builds.virtualenv(stated)


def read_files(reads: Path, files: set[str]) -> set[str]:
    """Return the files that a build may have read; all files if that cannot be known."""
    listed = build_from_source.recorded_files(reads)
    return files if "*" in listed or not reads.is_file() else listed & files


def missing_from_lock(requirements: list[str], lock: str) -> list[str]:
    """Return the requirements that apply here and that no pin of the lock satisfies."""
    from packaging.requirements import Requirement  # installed with pip-tools in the builder

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


def why_unusable(path: Path) -> str:
    """Return why the application's lock cannot be used here; empty if it can."""
    if not path.is_file():
        return f"there is no lock ({path.name}) yet"
    made_for = lockfile.locked_for(lockfile.read(path))
    if made_for and made_for != lockfile.interpreter():
        return f"{path.name} is locked for {made_for} and this is {lockfile.interpreter()}"
    return ""


def build(
    options: argparse.Namespace,
    output: Output,
    environment: Mapping[str, str],
    scratch: Path,
    box: Sandbox,
) -> None:
    """Build the wheelhouse.

    If there is no lock for this interpreter, one is made from the present pins. It is kept in the
    wheelhouse, since the application is only read. With --locked, NeedsLock is raised instead.
    """
    path = lockfile.lock_path(options.application)
    has_files = bool(environment.get("FILES"))
    if not (path.is_file() or has_files or lockfile.sources(options.application)):
        raise Failure(lockfile.NOTHING)
    reason = why_unusable(path)
    if reason:
        if options.locked:
            raise NeedsLock(reason)
        say(reason)
        own = options.wheelhouse / "requirements.txt"
        text = new_lock(options, path if path.is_file() else own, environment, scratch, box)
        path = own
        file_tools.write(path, text)
    lock = lockfile.read(path)
    refuse_strangers(options.application, lock, environment)
    builds = builds_for(lock, options, environment, scratch, box)
    only_fetch = options.job == "fetch"
    try:
        with ThreadPoolExecutor(1) as pool:
            # in parallel with the downloads; a failure here is ignored, since the same step is
            # repeated, and its failure reported, when the application is built
            if not only_fetch:
                pool.submit(prepare, options.application, builds)
            build_dependencies(lock, options.wheelhouse / "deps", builds, output, only_fetch)
    except lockfile.NotPinned as line:
        raise Failure(
            f"{path.name} has a line without == or --hash: {line}: run make lock"
        ) from None
    if not only_fetch:
        build_application(options.application, lock, options.wheelhouse / "app", builds)
        builds.keep_bytecode()


def refuse_strangers(application: Path, lock: str, environment: Mapping[str, str]) -> None:
    """Raise Failure if the lock takes a package from the index that comes from elsewhere."""
    with contextlib.suppress(lockfile.NotPinned):  # reported later
        names = {pin.name for pin in lockfile.pins(lock)}
        make_lock.refuse_elsewhere(application, environment, names)


def builds_for(
    lock: str,
    options: argparse.Namespace,
    environment: Mapping[str, str],
    scratch: Path,
    box: Sandbox,
    locking: bool = False,
) -> Builds:
    """Return the builds that use the back ends pinned in a lock's text."""
    kept = store.Store(Path(environment["XDG_CACHE_HOME"], "store"))
    index = Index(kept, environment)
    pinned = {} if options.job == "upgrade" else lockfile.build_pins(lock)
    return Builds(index, pinned, environment, scratch, box, locking, options.without_compiler)


def new_lock(
    options: argparse.Namespace,
    present: Path,
    environment: Mapping[str, str],
    scratch: Path,
    box: Sandbox,
) -> str:
    """Return a new lock's text, with the pins of the present lock unless the job is an upgrade."""
    text = lockfile.read(present) if present.is_file() else ""
    upgrade = options.job == "upgrade"
    with tempfile.TemporaryDirectory(dir=scratch) as own:
        builds = builds_for(text, options, environment, Path(own), box, locking=True)
        return make_lock.make(options.application, text, upgrade, builds)


def become_owner(folder: Path) -> None:
    """Switch from root to the owner of a folder, so that new files belong to that user."""
    if os.name != "posix" or os.geteuid() != 0:
        return
    owner = folder.stat()
    if owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def sandbox_of(options: argparse.Namespace, output: Output) -> Sandbox:
    """Return the sandbox; called as root, and before there is any thread."""
    if options.sandbox:
        listener = sandbox_client.Listener(options.sandbox, output.sandbox)
        return Sandbox(listener.connect, options.ca)
    # In the image, root can use other accounts, which can reach nothing. On a host there are none.
    in_image = sys.prefix == IMAGE_PREFIX and os.geteuid() == 0
    return Sandbox.beside(in_image, os.environ, options.ca)


@contextlib.contextmanager
def owner_of(folder: Path) -> Iterator[Path]:
    """Become the owner of a folder, and return a scratch folder of that account."""
    become_owner(folder)
    with scratch_folder() as scratch:
        yield scratch


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Return an empty folder, of the same name in every container: compilers record the name."""
    usual = Path(tempfile.gettempdir(), "wheels")
    try:
        usual.mkdir(mode=0o700)
    except FileExistsError:  # on a host, where other builds may be running
        with tempfile.TemporaryDirectory() as other:
            yield Path(other)
        return
    try:
        yield usual
    finally:
        shutil.rmtree(usual, ignore_errors=True)


def environment_for(scratch: Path, ca: Path, cache: Path) -> dict[str, str]:
    """Return the tools' environment: trusted certificates, and a cache and home of their own."""
    # pip refuses a cache that belongs to another user. The cache of earlier versions, without a
    # LAYOUT, was written to by code of packages.
    own_cache = cache / f"{LAYOUT}-{os.geteuid()}"
    with contextlib.suppress(FileNotFoundError):
        if own_cache.lstat().st_uid != os.geteuid():
            raise Failure(f"{own_cache} belongs to somebody else: remove it")
    return {
        **os.environ,
        "PIP_CACHE_DIR": str(own_cache / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # the same source gives the same wheel, byte for byte: all files in it have this time
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", str(EPOCH)),
        "XDG_CACHE_HOME": str(own_cache),
        "HOME": str(scratch),
        **network.trusting(ca, scratch),
    }


def arguments_of(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m slipway.builder", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "job",
        nargs="?",
        default="wheels",
        choices=("wheels", "fetch", "lock", "upgrade", "sandbox"),
    )
    parser.add_argument("--events", action="store_true", help="write JSON lines to standard output")
    parser.add_argument("--application", type=Path, default=Path("/application"))
    parser.add_argument("--wheelhouse", type=Path, default=Path("/wheelhouse"))
    parser.add_argument(
        "--without-compiler", action="store_true", help="fail if a compiler may be needed"
    )
    parser.add_argument("--locked", action="store_true", help="fail if there is no lock yet")
    parser.add_argument("--ca", type=Path, default=Path("/ca"), help="folder of extra *.crt files")
    parser.add_argument("--cache", type=Path, default=Path("/cache"))
    parser.add_argument("--sandbox", type=Path, help="folder in which a sandbox connects")
    return parser.parse_args(arguments)


def work(options: argparse.Namespace, output: Output) -> None:
    """Do the job; raise Failure, NeedsLock or NeedsCompiler if it cannot be done."""
    if not options.application.is_dir():
        raise Failure(f"mount the application at {options.application}")
    os.umask(0o022)  # modes are part of a wheel
    if options.job in ("lock", "upgrade"):
        with sandbox_of(options, output) as box, owner_of(options.application) as scratch:
            environment = environment_for(scratch, options.ca, options.cache)
            present = lockfile.lock_path(options.application)
            output.lock(new_lock(options, present, environment, scratch, box))
        return
    if not options.wheelhouse.is_dir():
        raise Failure(f"mount a folder for the wheels at {options.wheelhouse}")
    with (
        sandbox_of(options, output) as box,
        owner_of(options.wheelhouse) as scratch,
        wheelhouse.locked(options.wheelhouse),
    ):
        environment = environment_for(scratch, options.ca, options.cache)
        build(options, output, environment, scratch, box)


def main(arguments: list[str]) -> int:
    """Do one job, report its outcome, and return the exit status."""
    options = arguments_of(arguments)
    if not os.environ.get("VERBOSE"):
        warnings.simplefilter("ignore")  # these are advice of back ends to a package's authors
    if options.job == "sandbox":
        return sandbox.main(options.sandbox)
    output = Output(options.events)
    try:
        work(options, output)
    except NeedsLock as reason:
        say(str(reason))
        return output.result(events.NEEDS_LOCK)
    except NeedsCompiler:
        if not output.as_events:
            say("a package may have to be compiled: run this in the builder image with a compiler")
        return output.result(events.NEEDS_COMPILER)
    except (Failure, ValueError, OSError) as problem:
        failure = problem if isinstance(problem, Failure) else Failure(str(problem))
        sys.stderr.writelines(relevant_lines(failure.output))
        for line in str(problem).splitlines():
            say(line)
        return output.result(events.FAILED, failure.add, failure.find)
    return output.result(events.DONE)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
