"""A folder of wheels that is always complete: its requirements.txt lists each wheel's SHA-256.

A new folder replaces the old one only when it is finished, in one step if the system can do that.
A build that fails or is killed leaves the old folder or the new one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from slipway.builder.run_tool import say
from slipway.shared import lockfile
from slipway.shared.files import sha256

AT_FDCWD = -100  # Linux: paths are relative to the current folder
RENAME_EXCHANGE = 2
# The name of a wheel: distribution, version, a build number perhaps, and three tags.
NAME = re.compile(r"[A-Za-z0-9][\w.!+]*(?:-[\w.!+]+){4,5}\.whl", re.A)
METADATA_LIMIT = 16 << 20  # bytes


def name_of(wheel: Path) -> tuple[str, str]:
    """Return the normalized name and the version from a wheel's file name."""
    name, version = wheel.name.split("-")[:2]
    return lockfile.normalize(name), version.replace("_", "-")


def listing(wheels: list[Path]) -> str:
    """Return the pins of wheels with their SHA-256, in pip's requirements format, by name."""
    entries = sorted((*name_of(wheel), sha256(wheel)) for wheel in wheels)
    return "".join(
        f"{name}=={version} --hash=sha256:{digest}\n" for name, version, digest in entries
    )


def is_whole(folder: Path, *headers: str) -> bool:
    """Return whether a folder matches its own requirements.txt, which has one of some headers."""
    listed = folder / "requirements.txt"
    if not listed.is_file():
        return False
    text = listed.read_text(encoding="utf-8")
    if not text.startswith(headers):
        return False
    found = listing(sorted(folder.glob("*.whl")))
    return any(text == header + found for header in headers)


def list_in(folder: Path, header: str) -> None:
    """Write the requirements.txt of a folder of wheels, with a header of comments."""
    text = header + listing(sorted(folder.glob("*.whl")))
    (folder / "requirements.txt").write_text(text, encoding="utf-8")


def metadata_of(wheel: Path) -> Message:
    """Return a wheel's metadata; ValueError if it is no wheel, or one of another distribution.

    The wheel may have been built by code of anybody.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            (found,) = (
                each
                for each in archive.infolist()
                if each.filename.endswith(".dist-info/METADATA") and each.filename.count("/") == 1
            )
            if found.file_size > METADATA_LIMIT:
                raise ValueError("its METADATA is too large")
            with archive.open(found) as file:
                message = HeaderParser().parsestr(file.read(METADATA_LIMIT).decode("utf-8"))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as problem:
        raise ValueError(f"{wheel.name} is no wheel: {problem}") from None
    except ValueError as problem:
        raise ValueError(f"{wheel.name} has no METADATA that can be read: {problem}") from None
    stated = lockfile.normalize(str(message["Name"])), str(message["Version"])
    if not is_same(name_of(wheel), stated):
        raise ValueError(f"{wheel.name} states that it is {' '.join(stated)}")
    return message


def is_same(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two names and versions are those of one distribution."""
    from packaging.version import InvalidVersion, Version  # installed with pip-tools in the builder

    try:
        return one[0] == other[0] and Version(one[1]) == Version(other[1])
    except InvalidVersion:
        return one == other


def requirements_of(wheel: Path) -> list[str]:
    """Return the requirements of a wheel (its Requires-Dist fields)."""
    return list(metadata_of(wheel).get_all("Requires-Dist") or [])


def put(new: Path, place: Path) -> None:
    """Replace an old folder by a finished new one; there is a complete folder at all times."""
    if place.exists() and exchange(new, place):
        shutil.rmtree(new)
        return
    old = place.with_name(f".old-{place.name}")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step (renameat2); return False if the system cannot do that."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        done = libc.renameat2(
            AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE
        )
    except (OSError, AttributeError):  # macOS, musl
        return False
    return bool(done == 0)


def recover(place: Path) -> None:
    """Recover from a `put` that was killed between its two renames."""
    old = place.with_name(f".old-{place.name}")
    if old.exists() and not place.exists():
        old.rename(place)


@contextlib.contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """Return an empty folder that replaces `place` at the end of the block, unless that fails."""
    recover(place)
    new = place.with_name(f".new-{place.name}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        put(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a wheelhouse during a block, and at most as long as the process runs."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build in this wheelhouse to finish")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
