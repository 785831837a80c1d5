"""The wheel of files that no build back end installs: those that the setting FILES names.

The files become a wheel, so that they are checked, sent and rolled back like any other. Its data is
installed into /appenv/app, where the application then starts.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway.builder.errors import Failure
from slipway.shared import lockfile
from slipway.shared.files import EPOCH

# The folder of the virtualenv that the files are installed into.
FOLDER = "app"
VERSION = "0"

METADATA = """\
Metadata-Version: 2.1
Name: {name}
Version: {version}
"""
WHEEL = """\
Wheel-Version: 1.0
Generator: files.py
Root-Is-Purelib: true
Tag: py3-none-any
"""


def files_named(paths: Mapping[str, Path], names: Sequence[str]) -> dict[str, Path]:
    """Return the named files and the files in named folders; Failure if a name does not exist.

    The keys of `paths` are the files' names, relative to the application's folder, with slashes.
    """
    wanted = [os.path.normpath(name) for name in names]
    found, met = {}, set()
    for name, path in paths.items():
        by = [each for each in wanted if each in (".", name) or name.startswith(f"{each}/")]
        met.update(by)
        if by and path.is_file():
            # a link could lead to what the builder has of other projects
            top = os.path.realpath(str(path)[: -len(name)])
            if os.path.commonpath([top, os.path.realpath(path)]) != top:
                raise Failure(f"FILES has {name}, a link to a file outside of the application")
            found[name] = path
    missing = [name for name, each in zip(names, wanted) if each not in met]
    if missing:
        raise Failure(
            f"FILES in deploy/settings.mk names {', '.join(missing)}, which does not exist"
        )
    return found


def wheel_of(paths: Mapping[str, Path], project: str, version: str, place: Path) -> Path:
    """Write the wheel of some of an application's files into a folder, and return its path.

    The same files give the same bytes. A symbolic link becomes a copy of its target.
    """
    from wheel.wheelfile import WheelFile  # installed with pip-tools in the builder

    os.environ["SOURCE_DATE_EPOCH"] = str(EPOCH)  # the time of the wheel's RECORD
    name = lockfile.normalize(f"{project}-files").replace("-", "_")
    path = place / f"{name}-{version}-py3-none-any.whl"
    with WheelFile(path, "w") as archive:

        def add(to: str, data: bytes, mode: int = 0o644) -> None:
            entry = zipfile.ZipInfo(to, time.gmtime(EPOCH)[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, data)

        for file, source in sorted(paths.items()):
            mode = 0o755 if os.access(source, os.X_OK) else 0o644
            add(f"{name}-{version}.data/data/{FOLDER}/{file}", source.read_bytes(), mode)
        info = f"{name}-{version}.dist-info"
        add(f"{info}/METADATA", METADATA.format(name=name, version=version).encode())
        add(f"{info}/WHEEL", WHEEL.encode())
    return path
