"""Build the image again from nothing, in another folder, and compare the two: make verify.

The wheels' checksums, the layers and therefore the image's ID should be equal. Differences are
listed: wheels, Debian packages that have newer versions by now (`make upgrade` moves the base image
as well), files. Nothing here is replaced, and the second build is removed. The exit status is 1 if
anything differs.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slipway.laptop import console
from slipway.laptop.building import pipeline
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.laptop.settings.load import load
from slipway.shared import dpkg_status, lockfile

SHOWN = 20  # differing files
# The engine puts these into every container; they are not in the image.
ENGINES = (
    "dev",
    "proc",
    "sys",
    ".dockerenv",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
)
STATUS = "var/lib/dpkg/status"


def run(command: str, arguments: Sequence[str]) -> int:
    """Build the image, build it again, and compare the two; return the exit status."""
    settings = load()
    pipeline.make(settings, ["image"])
    image_name = f"{settings['IMAGES']}-run"
    # Images, cache and checksums of the second build have names of their own.
    again = f"{settings['PROJECT']}-verify-{secrets.token_hex(3)}"
    if settings["DRY_RUN"]:
        show(settings, again)
        return 0
    (image,) = engine.inspect_images(settings["DOCKER"], [image_name])
    if image is None:
        raise console.Failed(f"there is no image {image_name} yet: run make image")
    console.say("verify: building again from nothing")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve() / "again"
        copy_to(folder)
        try:
            build_again(folder, {**second_build(settings, again), **stamps(image)})
            here, there = (wheels(top / settings["WHEELHOUSE"]) for top in (ROOT, folder))
            problems = changes("wheel", here, there)
            problems += compare_images(settings["DOCKER"], image_name, f"{again}-run")
        finally:
            for words in removals(settings, again):
                subprocess.run(words, capture_output=True, check=False)
    for line in problems:
        console.warn(f"verify: {line}")
    if problems:
        return 1
    console.say(f"verify: {len(here)} wheels and {image['Id']} came out the same again")
    return 0


def second_build(settings: Mapping[str, str], again: str) -> dict[str, str]:
    """Return the variables of the second build, without those that come from the first image."""
    return {
        "DEPLOY_IMAGES": again,
        "DEPLOY_CACHE": again,
        "DEPLOY_NO_CACHE": "1",
        "SCM_VERSION": settings["SCM_VERSION"],
    }


def build_again(folder: Path, variables: Mapping[str, str]) -> None:
    """Build the image of a copy of the application."""
    words = [sys.executable, str(folder / DEPLOY.name / "slipway"), "image"]
    if subprocess.run(words, env={**os.environ, **variables}, check=False).returncode:
        raise console.Failed("the image could not be built again; see above")


def removals(settings: Mapping[str, str], again: str) -> list[list[str]]:
    """Return the command lines that remove the second build."""
    names = ["-run", "-builder", "-builder:tools", "-base"]
    names += [f"-run:{settings['TAG']}"] if settings["TAG"] else []
    return [
        engine.command(settings["DOCKER"], "image", "rm", *(again + each for each in names)),
        engine.command(settings["DOCKER"], "volume", "rm", again, f"{again}-sandbox"),
    ]


def show(settings: Mapping[str, str], again: str) -> None:
    """Print the command lines that build again and compare."""
    folder = Path(tempfile.gettempdir(), again)
    made_here = [str(folder / name) for name in (".git", ".deploy", "appenv", "wheelhouse")]
    console.show_command(["cp", "-R", str(ROOT), str(folder)], "a copy, as a new clone would be")
    console.show_command(["rm", "-rf", *made_here])
    given = second_build(settings, again).items()
    console.show_command(
        ["python3", str(folder / DEPLOY.name / "slipway"), "image"],
        "build again from nothing, with the first image's commit and time",
        [f"{name}={shlex.quote(value)}" for name, value in given],
    )
    images = (f"{settings['IMAGES']}-run", f"{again}-run")
    console.show_command(
        engine.command(settings["DOCKER"], "image", "inspect", *images),
        "compare the two images; if they differ, their files are compared",
    )
    for words in removals(settings, again):
        console.show_command(words)
    console.show_command(["rm", "-rf", str(folder)])


def copy_to(folder: Path) -> None:
    """Copy the application and deploy/ as a new clone would contain them."""
    for name, path in lockfile.files_of(ROOT):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(DEPLOY, folder / DEPLOY.name, symlinks=True, ignore=ignored, dirs_exist_ok=True)


def stamps(image: Mapping[str, Any]) -> dict[str, str]:
    """Return the variable that passes the first build's commit and time on to the second build."""
    labels = image["Config"]["Labels"]
    created = labels["org.opencontainers.image.created"]
    moment = datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
    return {
        "DEPLOY_COMMIT": " ".join(
            (
                labels["org.opencontainers.image.revision"] or "-",
                str(int(moment.timestamp())),
                created,
            )
        )
    }


def wheels(wheelhouse: Path) -> dict[str, str]:
    """Return the checksum of each wheel, by its part and requirement."""
    found = {}
    for part in ("deps", "app"):
        for line in (wheelhouse / part / "requirements.txt").read_text("utf-8").splitlines():
            if not line.startswith("#"):
                requirement, _, checksum = line.partition(" --hash=")
                found[f"{part}/{requirement}"] = checksum
    return found


def contents(docker: str, image: str) -> tuple[dict[str, str], str]:
    """Return a description of each file of an image, and the image's list of Debian packages."""
    container = engine.ask(docker, "create", image).strip()
    found, packages = {}, ""
    try:
        with (
            subprocess.Popen(
                engine.command(docker, "export", container), stdout=subprocess.PIPE
            ) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                data = file.read() if file else b""
                if member.name.split("/")[0] in ENGINES or member.name in ENGINES:
                    continue
                if member.name == STATUS:
                    packages = data.decode("utf-8", "replace")
                words = (oct(member.mode), member.uid, member.gid, int(member.mtime))
                checksum = hashlib.sha256(data).hexdigest()
                found[member.name] = f"{member.type!r} {words} {member.linkname} {checksum}"
    except tarfile.ReadError as problem:
        raise engine.EngineError(f"{image} cannot be exported: {problem}") from None
    finally:
        engine.ask(docker, "rm", "--volumes", container)
    return found, packages


def changes(title: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return one line about each entry that differs."""
    return [
        f"{title} {name}: {before.get(name, 'none')} here, {after.get(name, 'none')} again"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def compare_images(docker: str, name: str, again: str) -> list[str]:
    """Return the differences between two images, one line each."""
    one, other = engine.inspect_images(docker, [name, again])
    if one is None or other is None:
        missing = name if one is None else again
        raise engine.EngineError(f"{missing} was removed meanwhile: run make verify again")
    if one["Id"] == other["Id"]:
        return []
    if one["RootFS"] == other["RootFS"]:
        return ["all layers are equal, but the image's configuration differs"]
    (files, status), (files_again, status_again) = contents(docker, name), contents(docker, again)
    packages = changes("package", dpkg_status.versions(status), dpkg_status.versions(status_again))
    if packages:
        return [
            *packages,
            "Debian has newer packages by now: make upgrade moves the base image as well",
        ]
    differing = [
        path for path in {*files, *files_again} if files.get(path) != files_again.get(path)
    ]
    named = [f"file /{path}" for path in sorted(differing)]
    more = [f"and {len(named) - SHOWN} more files"] if len(named) > SHOWN else []
    return [*named[:SHOWN], *more] or ["all files are equal, but the layers differ"]
