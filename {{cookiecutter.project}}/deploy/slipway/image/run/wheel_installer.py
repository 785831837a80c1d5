"""Install wheels into a virtualenv with the PyPA's `installer` library, and compile bytecode.

pip can install the same folder, whose requirements.txt has pip's own format:

    pip install --no-index --no-deps --require-hashes --find-links FOLDER -r FOLDER/requirements.txt

It takes four times as long for one small wheel, mostly to start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.records import RecordEntry
from installer.sources import WheelFile

from slipway.image.base import compile_bytecode

if TYPE_CHECKING:
    from installer.utils import Scheme


# Nobody imports modules from these folders in production; their bytecode would be a tenth of an
# image.
TESTS = {"test", "tests"}


# Files of the virtualenv itself. A wheel that replaced one would run its code as root while the
# image is built, and instead of the interpreter in production.
INTERPRETER = re.compile(r"bin/((python|pypy)[0-9.]*|activate(\..*)?)|pyvenv\.cfg", re.I)


class Overwriting(SchemeDictionaryDestination):  # type: ignore[misc, unused-ignore]
    """A virtualenv in which a wheel's file replaces that of an earlier wheel, as with pip."""

    def write_to_fs(
        self, scheme: Scheme, path: str, stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        """Write one file of a wheel."""
        folder = os.path.realpath(self.scheme_dict[scheme])
        place = os.path.abspath(os.path.join(folder, path))
        inside = os.path.relpath(place, os.path.realpath(self.scheme_dict["data"]))
        if INTERPRETER.fullmatch(inside):
            raise ValueError(f"it brings {inside}, which belongs to the virtualenv")
        if place.startswith(os.path.join(folder, "")):  # installer rejects any other path
            Path(place).unlink(missing_ok=True)
        return super().write_to_fs(scheme, path, stream, is_executable)


def site_packages(virtualenv: Path) -> Path:
    """Return the folder of a virtualenv that contains its packages."""
    (found,) = virtualenv.glob("lib/p*/site-packages")
    return found


def into(virtualenv: Path, wheels: Sequence[Path], compiled: bool = True) -> list[Path]:
    """Install wheels in this order and compile their modules; return the files of the wheels.

    Raises ValueError for a wheel that is broken or may not be installed.
    """
    packages = site_packages(virtualenv)
    # The base's own interpreter: that of the virtualenv is among the files that wheels are put in.
    base = Path(os.path.realpath(virtualenv / "bin" / "python"))
    compiler = compile_bytecode.Compiler(base) if compiled else None
    places = {packages, virtualenv / "app"}  # app: the FILES setting
    files: list[Path] = []
    for wheel in wheels:
        try:
            provided = unpack(wheel, virtualenv, packages)
        except OSError:
            raise
        except Exception as problem:  # a wheel may break the library in any way
            said = " ".join(str(problem).split())
            reason = said or "a file of its .dist-info, such as entry_points.txt, is broken"
            raise ValueError(
                f"{wheel.name} cannot be installed: {reason}: require another release of it"
            ) from problem
        files += provided
        if compiler:  # it works while the next wheel is installed
            inside = (path for path in provided if places.intersection(path.parents))
            compiler.add(
                path for path in inside if TESTS.isdisjoint(path.relative_to(virtualenv).parts)
            )
    if compiler:
        compiler.finish()
    return files


def unpack(wheel: Path, virtualenv: Path, packages: Path) -> list[Path]:
    """Install one wheel without compiling it; return its files."""
    with WheelFile.open(wheel) as source:
        headers = Path("include", "site", packages.parent.name, source.distribution)
        schemes = {
            "purelib": str(packages),
            "platlib": str(packages),
            "headers": str(virtualenv / headers),
            "scripts": str(virtualenv / "bin"),
            "data": str(virtualenv),
        }
        destination = Overwriting(
            schemes,
            interpreter=str(virtualenv / "bin" / "python"),
            script_kind="posix",
        )
        install(source, destination, {"INSTALLER": b"installer\n"})
        paths = (place_of(str(path), schemes) for (path, *_), _, _ in source.get_contents())
        return [path for path in paths if path.is_file()]


def place_of(path: str, schemes: Mapping[str, str]) -> Path:
    """Return the path at which a wheel's file is installed."""
    first, _, rest = path.partition("/")
    if not first.endswith(".data"):
        return Path(schemes["purelib"], path)
    scheme, _, inside = rest.partition("/")
    return Path(schemes[scheme], inside)
