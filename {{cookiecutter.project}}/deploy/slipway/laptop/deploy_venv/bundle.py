"""What make deploy-venv sends beside wheels: the package that installs and runs them on a server.

Whole folders of slipway/, and the two PyPA libraries that install wheels, from the image that has
them: a release on a server is installed by the same code as an image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway.laptop.docker import engine
from slipway.laptop.paths import SLIPWAY
from slipway.laptop.servers.ssh import without_comments

# Folders that are sent whole, and folders of which only the files directly inside are sent.
WHOLE = ("server/systemd", "image/base", "image/run")
FILES_ONLY = ("image", "server", "shared")

# PyPA's libraries, without their parts for Windows; and the Debian packages that were installed in
# the base image, which the application needs to run.
COLLECT = (
    "cd /opt/builder/lib/p*/site-packages && tar -c --exclude=*.exe --exclude=__pycache__"
    " installer packaging -C / var/lib/dpkg/asked"
)


@dataclass(frozen=True)
class Bundle:
    """An archive that is sent once, and the Debian packages that the application needs."""

    data: bytes
    packages: tuple[str, ...]
    name: str = "kit.tar.gz"  # on servers since before it was called a bundle

    @property
    def sha256(self) -> str:
        """Return the archive's SHA-256."""
        return hashlib.sha256(self.data).hexdigest()


def sources() -> Iterator[Path]:
    """Return the files of slipway/ that are part of a bundle."""
    yield SLIPWAY / "__init__.py"
    for folder in WHOLE:
        yield from (SLIPWAY / folder).rglob("*.*")
    for folder in FILES_ONLY:
        yield from (SLIPWAY / folder).glob("*.*")


def command(settings: Mapping[str, str]) -> list[str]:
    """Return the docker command that writes the libraries as an archive to its output."""
    image = f"{settings['IMAGES']}-builder:tools"
    words = ("run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", COLLECT)
    return engine.command(settings["DOCKER"], *words)


def collect(settings: Mapping[str, str]) -> Bundle:
    """Return the bundle; raise EngineError if the image of the builder's tools cannot be used."""
    done = subprocess.run(command(settings), stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        output = done.stderr.decode("utf-8", "replace")
        raise engine.EngineError(engine.explain(settings["DOCKER"], output))
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = {
            member.name: file.read()
            for member in archive
            if member.isfile() and (file := archive.extractfile(member))
        }
    packages = tuple(files.pop("var/lib/dpkg/asked").decode().split())
    for path in sources():
        if "__pycache__" in path.parts or not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix == ".sh":
            content = without_comments(content.decode()).encode()
        files[path.relative_to(SLIPWAY.parent).as_posix()] = content
    return Bundle(packed(files), packages)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return an archive that depends on nothing but its files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(target.getvalue(), 9, mtime=0)
