#!/usr/bin/env python3
"""Make an application's lock and wheelhouse; the builder image's entry point.

    wheels.py [wheels]   build the wheels that the lock and the application name
    wheels.py lock       print a lock that keeps the present pins
    wheels.py upgrade    print a lock with the newest versions allowed

In the builder the application is the volume /application, which is only read, and the wheelhouse
is the volume /wheelhouse:

    /wheelhouse/deps/*.whl, requirements.txt    what the lock names, with the wheels' own sums
    /wheelhouse/app/*.whl, requirements.txt     the application itself, when there is one

Without a lock for this interpreter `wheels` makes one in the wheelhouse, or with --locked says so
by status 3. `make venv` runs the same file on the host with other folders. A new folder takes the
old one's place only when it is whole.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

import backend
import lockfile
import network
from tools import Failure, run, say

NEEDS_LOCK = 3
ZIP_EPOCH = 315532800  # 1980-01-01, the earliest time that a zip archive can state


def sha256(path: Path) -> str:
    """Give a file's SHA-256 as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def wheel_name(wheel: Path) -> tuple[str, str]:
    """Give the normalized name and the version that a wheel's file name states."""
    name, version = wheel.name.split("-")[:2]
    return lockfile.normalize(name), version.replace("_", "-")


def sums(wheels: list[Path]) -> str:
    """Name each wheel and its hash in pip's requirements format, sorted by name."""
    entries = sorted((*wheel_name(wheel), sha256(wheel)) for wheel in wheels)
    return "".join(
        f"{name}=={version} --hash=sha256:{digest}\n" for name, version, digest in entries
    )


def system() -> str:
    """Name what compiled wheels depend on: interpreter, ABI, architecture and distribution."""
    release = ""
    if os.path.exists("/etc/os-release"):
        text = Path("/etc/os-release").read_text(encoding="utf-8")
        found = dict(re.findall(r'^(ID|VERSION_CODENAME|VERSION_ID)="?([^"\n]*)', text, re.M))
        release = " " + "-".join(found[key] for key in ("ID", "VERSION_CODENAME") if key in found)
    abi = sysconfig.get_config_var("SOABI") or ""
    return f"{lockfile.interpreter()} {abi} {sysconfig.get_platform()}{release}".replace("  ", " ")


def whole(folder: Path, header: str) -> bool:
    """Say whether a wheelhouse folder is what its own requirements.txt says, made for header."""
    listing = folder / "requirements.txt"
    if not listing.is_file():
        return False
    text = listing.read_text(encoding="utf-8")
    return text.startswith(header) and text == header + sums(sorted(folder.glob("*.whl")))


def put(new: Path, place: Path) -> None:
    """Let a finished folder take the place of the old one."""
    old = place.with_name(f".old-{place.name}")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """Give an empty folder that takes place's place when the block ends well, or else vanishes."""
    new = place.with_name(f".new-{place.name}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        put(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def build_dependencies(lock: str, place: Path, environment: dict[str, str]) -> None:
    """Make place hold exactly the wheels that the lock names for this interpreter."""
    pins = lockfile.pins(lock)
    identity = hashlib.sha256("\n".join(lockfile.logical_lines(lock)).encode()).hexdigest()
    header = f"# lock sha256:{identity}\n# {system()}\n"
    if whole(place, header):
        say(f"{len(list(place.glob('*.whl')))} dependencies are built already")
        return
    with replacing(place) as new:
        if pins:
            say(f"building {len(pins)} dependencies for {lockfile.interpreter()}")
            with tempfile.TemporaryDirectory() as scratch:
                listed = Path(scratch, "requirements.txt")
                listed.write_text(lock, encoding="utf-8")
                options = ("--require-hashes", "--no-deps", "--progress-bar", "off")
                places = ("--requirement", str(listed), "--wheel-dir", str(new))
                run("pip", "wheel", *options, *places, environment=environment)
        wheels = sorted(new.glob("*.whl"))
        locked = {pin.name for pin in pins}
        foreign = [wheel.name for wheel in wheels if wheel_name(wheel)[0] not in locked]
        if foreign:
            raise Failure(f"the lock does not name {', '.join(foreign)}: run make lock")
        (new / "requirements.txt").write_text(header + sums(wheels), encoding="utf-8")


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


def build_application(
    application: Path, lock: str, place: Path, environment: dict[str, str]
) -> None:
    """Make place hold the application's own wheel, or nothing when there is no application."""
    with replacing(place) as new:
        if lockfile.is_distribution(application):
            with tempfile.TemporaryDirectory() as scratch:
                source = copy_source(application, Path(scratch))
                backend.build_wheel(source, new, environment)
            (wheel,) = new.glob("*.whl")
            unlocked = missing_from_lock(requirements_of(wheel), lock)
            if unlocked:
                raise Failure(
                    f"the lock does not have {', '.join(unlocked)}, which the application asks for:"
                    " run make lock"
                )
            say(f"built {wheel.name}")
        listing = f"# {system()}\n" + sums(sorted(new.glob("*.whl")))
        (new / "requirements.txt").write_text(listing, encoding="utf-8")


def requirements_of(wheel: Path) -> list[str]:
    """Read what a wheel asks for (its Requires-Dist fields)."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (
            name
            for name in archive.namelist()
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        )
        message = HeaderParser().parsestr(archive.read(metadata).decode("utf-8"))
    return list(message.get_all("Requires-Dist") or [])


def missing_from_lock(requirements: list[str], lock: str) -> list[str]:
    """List the requirements that hold here and that no pin of the lock satisfies."""
    from packaging.requirements import Requirement  # with pip-tools in the builder

    versions = {pin.name: pin.version for pin in lockfile.pins(lock)}
    missing = []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = versions.get(lockfile.normalize(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            missing.append(str(requirement))
    return missing


def why_not(path: Path) -> str:
    """Say why the application's lock cannot be used here; empty when it can."""
    if not path.is_file():
        return f"there is no lock ({path.name}) yet"
    made_for = lockfile.locked_for(lockfile.read(path))
    if made_for and made_for != lockfile.interpreter():
        return f"{path.name} is locked for {made_for} and this is {lockfile.interpreter()}"
    return ""


def build(
    application: Path, wheelhouse: Path, only_locked: bool, environment: dict[str, str]
) -> int:
    """Build the wheelhouse; gives the exit status.

    Without a lock for this interpreter one is made, with the pins that there are, and kept in the
    wheelhouse: the application is only read.
    """
    path = lockfile.lock_path(application)
    if not path.is_file() and not lockfile.sources(application):
        raise Failure(
            "there is nothing to build: write a pyproject.toml for the application,"
            " or a requirements.in that names one"
        )
    reason = why_not(path)
    if reason:
        say(reason)
        if only_locked:
            return NEEDS_LOCK
        own = wheelhouse / "requirements.txt"
        text = compile_lock(application, path if path.is_file() else own, False, environment)
        path = own
        path.write_text(text, encoding="utf-8")
    lock = lockfile.read(path)
    try:
        build_dependencies(lock, wheelhouse / "deps", environment)
    except ValueError as line:
        raise Failure(
            f"{path.name} has a line without == or --hash: {line}: run make lock"
        ) from None
    build_application(application, lock, wheelhouse / "app", environment)
    return 0


def compile_lock(
    application: Path, present: Path, upgrade: bool, environment: dict[str, str]
) -> str:
    """Give a new lock's text: pip-compile's, with hashes, for this interpreter.

    The present lock keeps what it pins where that is still allowed, unless upgrade.
    """
    wanted = lockfile.sources(application)
    if not wanted:
        raise Failure(
            "there is nothing to lock: write a pyproject.toml for the application,"
            " or a requirements.in that names one"
        )
    say(f"locking {', '.join(wanted)} for {lockfile.interpreter()}")
    with tempfile.TemporaryDirectory() as scratch:
        source = copy_source(application, Path(scratch))
        output = Path(scratch, "lock.txt")
        if present.is_file() and not upgrade:
            shutil.copy(present, output)
        command = [
            *("piptools", "compile", "--verbose", "--generate-hashes"),
            *("--strip-extras", "--allow-unsafe", "--no-header", "--no-emit-index-url"),
            *("--no-emit-trusted-host", "--no-emit-find-links", "--no-emit-options"),
            *("--resolver", "backtracking", "--output-file", str(output)),
            *(("--upgrade",) if upgrade else ()),
            *wanted,
        ]
        run(*command, environment=environment, cwd=source)
        # pip-compile leaves no file when nothing is asked for
        text = output.read_text(encoding="utf-8") if output.exists() else ""
    return lockfile.HEADER.format(interpreter=lockfile.interpreter()) + "\n" + text


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
def alone_in(folder: Path) -> Iterator[None]:
    """Let no other build write here for the length of a block; it ends with the process at last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is at work here; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def environment_for(scratch: Path, ca: Path, cache: Path) -> dict[str, str]:
    """Give the tools' environment: the certificates to trust, a cache and a home of their own."""
    own_cache = cache / str(os.geteuid())  # pip uses no cache that is somebody else's
    return {
        **os.environ,
        "PIP_CACHE_DIR": str(own_cache / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # the same source gives the same wheel, byte for byte: every file in it is of this time
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", str(ZIP_EPOCH)),
        "XDG_CACHE_HOME": str(own_cache),
        "HOME": str(scratch),
        **network.trusting(ca, scratch),
    }


def arguments_of(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="wheels", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "job", nargs="?", default="wheels", choices=("wheels", "lock", "upgrade", "interpreter")
    )
    parser.add_argument("--application", type=Path, default=Path("/application"))
    parser.add_argument("--wheelhouse", type=Path, default=Path("/wheelhouse"))
    parser.add_argument("--locked", action="store_true", help="make no lock, end with status 3")
    parser.add_argument("--ca", type=Path, default=Path("/ca"), help="folder of extra *.crt files")
    parser.add_argument("--cache", type=Path, default=Path("/cache"))
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Do one job; gives the exit status: 0, 1 for a failure that was said, 3 for no lock."""
    options = arguments_of(arguments)
    if options.job == "interpreter":
        print(lockfile.interpreter())
        return 0
    try:
        if not options.application.is_dir():
            raise Failure(f"mount the application at {options.application}")
        if options.job == "wheels":
            if not options.wheelhouse.is_dir():
                raise Failure(f"mount a folder for the wheels at {options.wheelhouse}")
            become_owner(options.wheelhouse)
        with tempfile.TemporaryDirectory() as scratch:
            environment = environment_for(Path(scratch), options.ca, options.cache)
            if options.job == "wheels":
                with alone_in(options.wheelhouse):
                    return build(
                        options.application, options.wheelhouse, options.locked, environment
                    )
            upgrade = options.job == "upgrade"
            present = lockfile.lock_path(options.application)
            sys.stdout.write(compile_lock(options.application, present, upgrade, environment))
    except (Failure, ValueError, OSError) as problem:
        say(str(problem))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
