"""Images that the tests need, also on machines without access to a hub.

An image that the engine has is used. Otherwise a copy in the cache is loaded, so that an image
keeps its ID from one engine to the next. Otherwise the image is pulled, if the engine is the
machine's own, or built from the machine's Debian mirror.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed import debian, folders, parts
from testbed.certificates import copy_certificates
from testbed.console import HarnessError, run, say
from testbed.engine import Engine

HERE = Path(__file__).parent
BASE = "debian:trixie-slim"
REGISTRY = "registry:2.8.3"
POSTGRES = "postgres:17"
MARIADB = "mariadb:11.8"
# These folders build images with the names and the behaviour of a hub's, from Debian packages.
STAND_INS = {REGISTRY: "registry", POSTGRES: "postgres", MARIADB: "mariadb"}
USUAL = (BASE, REGISTRY)
LINE = "{{.Repository}}:{{.Tag}} {{.Size}}"
# Without this hook, bookworm installs the package that moves /bin to /usr/bin, and with it Perl.
UNMERGED = {"bookworm": ["--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr"]}
SLIM = re.compile(r"debian:(?P<release>[a-z]+)-slim$")
PULL_SECONDS = 180
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Newer files get this time, so that the layer depends on the packages and not on the time of the
# build.
MOMENT = "1735689600"


def provide(engine: Engine, image: str) -> None:
    """Ensure that the engine has an image.

    Raises HarnessError if the image can be neither pulled nor built.
    """
    if engine.has(image):
        return
    with _kept(f"{image}-{_fingerprint(image)}") as kept:
        if engine.has(image) or _load(engine, image, kept):
            return
        if not engine.ours:
            say("image", f"pulling {image}")
            if engine.succeeds("docker", "pull", "--quiet", image, timeout=PULL_SECONDS):
                return
        _make(engine, image)
        _keep(engine, image, kept)


def provide_built(engine: Engine, image: str, context: Path) -> None:
    """Ensure that the engine has an image that is built from a folder.

    The image's tag must change with the contents of the folder.
    Raises HarnessError, with the end of the build's log, if the build fails.
    """
    if engine.has(image):
        return
    with _kept(image) as kept:
        if engine.has(image) or _load(engine, image, kept):
            return
        say("image", f"building {image}")
        build(engine, image, context)
        _keep(engine, image, kept)


def chromium(engine: Engine) -> str:
    """Ensure that the engine has an image of a browser; return its name.

    Raises HarnessError, with the end of the build's log, if the build fails.
    """
    image = f"slipway-chromium:{fingerprint_of(HERE / 'chromium')}"
    provide(engine, BASE)
    provide_built(engine, image, HERE / "chromium")
    return image


def build(engine: Engine, image: str, context: Path, files: Iterable[Path] = ()) -> None:
    """Build an image from a folder of this package, with further files in its context.

    Raises HarnessError, with the end of the build's log, if the build fails.
    """
    [dockerfile] = context.glob("*.docker")
    with tempfile.TemporaryDirectory(prefix="slipway-image-") as folder:
        for each in (*context.iterdir(), *files):
            shutil.copy(each, folder)
        engine.run(
            "docker", "build", "--quiet", "--tag", image, "--file", dockerfile, folder, timeout=900
        )


def fingerprint_of(folder: Path) -> str:
    """Return a short checksum of the contents of a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o111}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _make(engine: Engine, image: str) -> None:
    if image in STAND_INS:
        provide(engine, BASE)
        say("image", f"building {image} from Debian's packages")
        files = [parts.unpack() / "usr/bin/docker-registry"] if image == REGISTRY else []
        build(engine, image, HERE / STAND_INS[image], files)
    elif slim := SLIM.match(image):
        _bootstrap(engine, image, slim["release"])
    else:
        raise HarnessError(f"image: the engine has no {image}. Run: docker pull {image}")


def _bootstrap(engine: Engine, image: str, release: str) -> None:
    """Build an image like the official slim one, with the smallest set of packages."""
    if not shutil.which("mmdebstrap"):
        debian.install("mmdebstrap")
    say("image", f"making {image} from the Debian mirror")
    with debian.private_apt(release) as apt:
        suites = apt.suites()
    archive = debian.mirror()
    sources = archive.sources(release, suites)
    slim = HERE / "debian-slim"
    with tempfile.TemporaryDirectory(prefix="slipway-image-") as folder:
        overlay, tar = Path(folder, "overlay"), Path(folder, "image.tar")
        shutil.copytree(slim, overlay)
        (overlay / "etc/apt/sources.list.d").mkdir()
        (overlay / "etc/apt/sources.list.d/debian.sources").write_text(sources)
        command: list[str | Path] = ["mmdebstrap", "--variant=minbase", "--quiet"]
        excluded = (slim / "etc/dpkg/dpkg.cfg.d/docker").read_text().splitlines()
        command += [f"--dpkgopt={line.replace(' ', '=', 1)}" for line in excluded]
        command += UNMERGED.get(release, [])
        command += _certificates(overlay) if archive.encrypted else []
        command += [
            # Remove the configuration of the bootstrap, and its caches.
            '--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*'
            ' "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/var/cache/apt/*.bin'
            ' "$1"/var/cache/debconf/*-old',
            f'--customize-hook=cp -R --preserve=mode {shlex.quote(str(overlay))}/. "$1"/',
        ]
        run(
            "image",
            [*command, release, tar, "-"],
            environment={**os.environ, "SOURCE_DATE_EPOCH": MOMENT},
            stdin=sources,
            timeout=900,
        )
        changes = [f"--change={each}" for each in ('CMD ["bash"]', f"ENV PATH={PATH}")]
        engine.run("docker", "import", *changes, tar, image)


def _certificates(overlay: Path) -> list[str | Path]:
    """Return the options that add this machine's certificates, which the mirror's TLS needs."""
    place = overlay / "usr/local/share/ca-certificates"
    place.mkdir(parents=True)
    copy_certificates(place)
    return [
        "--include=ca-certificates",
        '--essential-hook=mkdir -p "$1"/usr/local/share'
        f' && cp -R {shlex.quote(str(place))} "$1"/usr/local/share/',
    ]


@contextmanager
def _kept(name: str) -> Iterator[Path]:
    """Provide the file for an image in the cache, for one process at a time."""
    file = folders.cache() / "images" / re.sub(r"[^A-Za-z0-9.]+", "-", f"{name}.tar")
    with folders.locked(file.with_suffix(".lock")):
        yield file


def _load(engine: Engine, image: str, kept: Path) -> bool:
    if not kept.exists():
        return False
    say("image", f"loading {image}")
    engine.run("docker", "load", "--quiet", "--input", kept)
    return True


def _keep(engine: Engine, image: str, kept: Path) -> None:
    fresh = kept.with_suffix(".new")
    engine.run("docker", "save", "--output", fresh, image)
    fresh.rename(kept)


def _fingerprint(image: str) -> str:
    """Return a checksum of the files that an image is built from."""
    return fingerprint_of(HERE / STAND_INS.get(image, "debian-slim"))
