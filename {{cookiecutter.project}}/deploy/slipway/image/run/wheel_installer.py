"""Install wheels into a virtualenv, by the PyPA's `installer` library, and compile their bytecode.

pip can do the same from the same folder (its requirements.txt is pip's own format):

    pip install --no-index --no-deps --require-hashes --find-links FOLDER -r FOLDER/requirements.txt

and takes four times as long for one small wheel, most of which it spends starting.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.records import RecordEntry
from installer.sources import WheelFile

from slipway.image.base import compile_bytecode as bytecode

if TYPE_CHECKING:
    from installer.utils import Scheme


# Folders whose modules nobody imports in production: their bytecode would be a tenth of an image.
TESTS = {"test", "tests"}


class Overwriting(SchemeDictionaryDestination):  # type: ignore[misc, unused-ignore]
    """A virtualenv in which a later wheel's file replaces an earlier one's, as pip has it."""

    def write_to_fs(
        self, scheme: Scheme, path: str, stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        """Write one file of a wheel."""
        folder = os.path.realpath(self.scheme_dict[scheme])
        place = os.path.abspath(os.path.join(folder, path))
        if place.startswith(os.path.join(folder, "")):  # else it is refused below
            Path(place).unlink(missing_ok=True)
        return super().write_to_fs(scheme, path, stream, is_executable)


def site_packages(virtualenv: Path) -> Path:
    """Give the one folder of a virtualenv that packages are in."""
    (found,) = virtualenv.glob("lib/p*/site-packages")
    return found


def into(virtualenv: Path, wheels: Sequence[Path], compiled: bool = True) -> list[Path]:
    """Install wheels, in the order given, and compile the bytecode of what they brought.

    Gives the files that they have.
    """
    packages = site_packages(virtualenv)
    version = packages.parent.name
    python = virtualenv / "bin" / "python"
    compiler = bytecode.Compiler(python) if compiled else None
    places = {packages, virtualenv / "app"}  # the second one's are FILES, see files.py
    files: list[Path] = []
    for wheel in wheels:
        with WheelFile.open(wheel) as source:
            schemes = {
                "purelib": str(packages),
                "platlib": str(packages),
                "headers": str(virtualenv / "include" / "site" / version / source.distribution),
                "scripts": str(virtualenv / "bin"),
                "data": str(virtualenv),
            }
            destination = Overwriting(
                schemes,
                interpreter=str(python),
                script_kind="posix",
            )
            install(source, destination, {"INSTALLER": b"installer\n"})
            paths = (place_of(str(path), schemes) for (path, *_), _, _ in source.get_contents())
            brought = [path for path in paths if path.is_file()]
            files += brought
        if compiler:  # which is at work while the next wheel is installed
            inside = (path for path in brought if places.intersection(path.parents))
            compiler.add(
                path for path in inside if TESTS.isdisjoint(path.relative_to(virtualenv).parts)
            )
    if compiler:
        compiler.finish()
    return files


def place_of(path: str, schemes: Mapping[str, str]) -> Path:
    """Give where a wheel's file comes to lie."""
    first, _, rest = path.partition("/")
    if not first.endswith(".data"):
        return Path(schemes["purelib"], path)
    scheme, _, inside = rest.partition("/")
    return Path(schemes[scheme], inside)
