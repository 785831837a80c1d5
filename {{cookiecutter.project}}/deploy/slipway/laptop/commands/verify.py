#!/usr/bin/env python3
"""Build everything again from nothing, in another folder, and compare it with what is here.

Equal are the wheels' sums, the layers and, with them, the image's ID. What is not equal is named:
wheels, Debian packages that moved since (`make upgrade` moves the base with them), files. Nothing
here is replaced; what was built to compare is removed. Status 1 when anything differs.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway.laptop.console import die
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.laptop.settings import load as settings_module
from slipway.shared import lockfile

SHOWN = 20  # differing files
# what the engine puts into a container and is in no image
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


def copy_to(folder: Path) -> None:
    """Copy the application and deploy/, as a new clone would have them."""
    for name, path in lockfile.files_of(ROOT):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(DEPLOY, folder / DEPLOY.name, symlinks=True, ignore=ignored, dirs_exist_ok=True)


def stamps(image: Mapping[str, Any]) -> dict[str, str]:
    """Give what the first build took from its commit, for the second one to take as well."""
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
    """Give the sum of each wheel by its part and requirement."""
    found = {}
    for part in ("deps", "app"):
        for line in (wheelhouse / part / "requirements.txt").read_text("utf-8").splitlines():
            if not line.startswith("#"):
                requirement, _, sum_ = line.partition(" --hash=")
                found[f"{part}/{requirement}"] = sum_
    return found


def contents(docker: str, image: str) -> tuple[dict[str, str], str]:
    """Give a description of each file of an image, and its list of Debian packages."""
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
                sum_ = hashlib.sha256(data).hexdigest()
                found[member.name] = f"{member.type!r} {words} {member.linkname} {sum_}"
    except tarfile.ReadError as problem:
        raise engine.EngineError(f"{image} cannot be exported: {problem}") from None
    finally:
        engine.ask(docker, "rm", "--volumes", container)
    return found, packages


def versions(status: str) -> dict[str, str]:
    """Read the versions in dpkg's status file."""
    found = {}
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version): (\S+)$", stanza, re.M))
        if len(fields) == 2:
            found[fields["Package"]] = fields["Version"]
    return found


def changes(title: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Say which entries differ, one line each."""
    return [
        f"{title} {name}: {before.get(name, 'none')} here, {after.get(name, 'none')} again"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def compare_images(docker: str, name: str, again: str) -> list[str]:
    """Say in what two images differ; empty when they are the same."""
    one, other = engine.inspect_images(docker, [name, again])
    if one is None or other is None:
        raise engine.EngineError(f"{name if one is None else again} is gone: run this again")
    if one["Id"] == other["Id"]:
        return []
    if one["RootFS"] == other["RootFS"]:
        return ["all layers are the same, the image's configuration is not"]
    (files, status), (files_again, status_again) = contents(docker, name), contents(docker, again)
    packages = changes("package", versions(status), versions(status_again))
    if packages:
        return [*packages, "Debian's packages moved since: make upgrade takes the base along"]
    differing = [
        path for path in {*files, *files_again} if files.get(path) != files_again.get(path)
    ]
    named = [f"file /{path}" for path in sorted(differing)]
    more = [f"and {len(named) - SHOWN} more files"] if len(named) > SHOWN else []
    return [*named[:SHOWN], *more] or ["the same files are in layers with other traces"]


def main() -> int:
    """Do what the module's docstring says; gives the exit status."""
    settings = settings_module.load()
    docker, run = settings["DOCKER"], f"{settings['IMAGES']}-run"
    try:
        if subprocess.run([str(DEPLOY / "build.sh"), "image"], check=False).returncode:
            return 1
        (image,) = engine.inspect_images(docker, [run])
        if image is None:
            die(f"there is no image {run} yet: run make image")
        again = f"{settings['PROJECT']}-verify-{secrets.token_hex(3)}"
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch).resolve() / "again"
            copy_to(folder)
            environment = {
                **os.environ,
                "DEPLOY_IMAGES": again,
                "DEPLOY_CACHE": again,
                "DEPLOY_NO_CACHE": "1",
                "SCM_VERSION": settings["SCM_VERSION"],
            }
            environment.update(stamps(image))
            print("verify: building again from nothing", flush=True)
            try:
                done = subprocess.run(
                    [str(folder / DEPLOY.name / "build.sh"), "image"], env=environment, check=False
                )
                if done.returncode:
                    die("it could not be built again; see above")
                here, there = (wheels(top / settings["WHEELHOUSE"]) for top in (ROOT, folder))
                problems = changes("wheel", here, there)
                problems += compare_images(docker, run, f"{again}-run")
            finally:
                names = ["-run", "-builder", "-builder:tools", "-base"]
                names += [f"-run:{settings['TAG']}"] if settings["TAG"] else []
                for words in (
                    ["image", "rm", *(again + each for each in names)],
                    ["volume", "rm", again],
                ):
                    subprocess.run(engine.command(docker, *words), capture_output=True, check=False)
    except engine.EngineError as problem:
        die(str(problem))
    for line in problems:
        print(f"verify: {line}", file=sys.stderr)
    if problems:
        return 1
    print(f"verify: {len(here)} wheels and {image['Id']} came out the same again")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
