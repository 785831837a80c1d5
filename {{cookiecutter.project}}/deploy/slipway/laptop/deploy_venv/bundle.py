"""What make deploy-venv sends beside wheels: all that installs and runs them on a server.

The modules are those that install into the run image, and so are the two libraries that they use,
from the image that has them: a release on a server is installed by the same code as an image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shlex
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY
from slipway.laptop.servers.survey import script

SURVEY = ("server-lock.sh", "server-survey.sh", "service.sh")
SHELL = ("server-guard.sh", *SURVEY)
MODULES = (
    *("bytecode.py", "healthcheck.py", "install.py", "lockfile.py", "service.py", "store.py"),
    *("systemd.py", "tools.py", "unpack.py"),
)
# PyPA's libraries, without what is for Windows; and the Debian packages that the base image was
# asked for, which is what the application needs to run.
COLLECT = (
    "cd /opt/builder/lib/p*/site-packages && tar -c --exclude=*.exe --exclude=__pycache__"
    " installer packaging -C / var/lib/dpkg/asked"
)


@dataclass(frozen=True)
class Kit:
    """A file that is sent once, and the Debian packages that the application needs."""

    data: bytes
    packages: tuple[str, ...]
    name: str = "kit.tar.gz"

    @property
    def sum(self) -> str:
        """Give its SHA-256."""
        return hashlib.sha256(self.data).hexdigest()


def collect(settings: Mapping[str, str]) -> Kit:
    """Put it together from the builder's tools; EngineError when their image cannot be used."""
    image = f"{settings['IMAGES']}-builder:tools"
    words = ["run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", COLLECT]
    command = [*shlex.split(settings["DOCKER"]), *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace")
        raise engine.EngineError(engine.explain(settings["DOCKER"], said))
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = {
            member.name: file.read()
            for member in archive
            if member.isfile() and (file := archive.extractfile(member))
        }
    packages = tuple(files.pop("var/lib/dpkg/asked").decode().split())
    files.update({name: (DEPLOY / name).read_bytes() for name in MODULES})
    files["service.sh"] = script(*SHELL).encode()
    return Kit(packed(files), packages)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Make an archive that depends on nothing but its files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    return gzip.compress(target.getvalue(), 9, mtime=0)
