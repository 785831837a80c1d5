#!/usr/bin/env python3
"""Account for the run image's size: its layers, Debian packages and wheels, the largest first.

A package or a wheel is counted as it lies in the image, unpacked; the bytecode that is compiled
beside it makes up the rest of its layer. Megabytes are 10^6 bytes, as docker counts.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from slipway.laptop.console import die
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.laptop.settings import load as settings_module

# What a layer is, by the instruction that made it; the first match counts.
LAYERS = (
    (r"COMMAND=", "the application and its start script"),
    (r"/opt/builder/install\.py", "the dependencies, with their bytecode"),
    (r"COPY / / ", "the interpreter, C libraries and what they need of Debian"),
)
SHOWN = 100_000  # bytes of a package that has a line of its own


def packages(docker: str, base: str) -> list[tuple[int, str]]:
    """List the Debian packages that the run image has of its base image as (bytes, name).

    The small ones share a line.
    EngineError when there is no such image.
    """
    program = (DEPLOY / "slim.py").read_text(encoding="utf-8")
    options = ("--rm", "--network=none", "--entrypoint=/appenv/bin/python")
    said = engine.ask(docker, "run", *options, base, "-c", program, "sizes")
    found = sorted(((size, name) for name, size in json.loads(said).items()), reverse=True)
    large = [row for row in found if row[0] >= SHOWN]
    small = found[len(large) :]
    return [*large, (sum(size for size, _ in small), f"{len(small)} smaller ones")]


def layers(docker: str, image: str) -> list[tuple[int, str]]:
    """List the image's layers as (bytes, what it is); EngineError when there is no such image."""
    history = engine.ask(
        docker, "history", "--no-trunc", "--format", "{{json .}}", "-H=false", image
    )
    found = []
    for line in history.splitlines():
        entry = json.loads(line)
        size, made_by = int(entry["Size"]), entry["CreatedBy"]
        if size:
            names = (name for pattern, name in LAYERS if re.search(pattern, made_by))
            found.append((size, next(names, made_by)))
    return sorted(found, reverse=True)


def wheels(folder: Path) -> list[tuple[int, str]]:
    """List a wheelhouse's wheels as (bytes unpacked, file name)."""
    found = []
    for wheel in folder.glob("*/*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            found.append((sum(item.file_size for item in archive.infolist()), wheel.name))
    return sorted(found, reverse=True)


def table(title: str, rows: Iterable[tuple[int, str]]) -> str:
    """Write rows below a title with their sum."""
    listed = list(rows)
    total = sum(size for size, _ in listed)
    lines = [f"{total / 1e6:8.1f} MB  {title}"]
    lines += [f"{size / 1e6:8.1f}     {name}" for size, name in listed]
    return "\n".join(lines)


def main() -> int:
    """Print both tables; gives the exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `make size | head` is no error
    settings = settings_module.load()
    docker, project = settings["DOCKER"], settings["PROJECT"]
    image, base = f"{project}-run", f"{project}-base"
    try:
        print(table(f"{image}, in layers", layers(docker, image)))
        print(table(f"{base}, in Debian packages that {image} has", packages(docker, base)))
    except engine.EngineError as problem:
        if "no such image" in str(problem).lower():
            die(f"there is no image {image} yet: run make image")
        die(str(problem))
    print(table(f"{settings['WHEELHOUSE']}, in wheels", wheels(ROOT / settings["WHEELHOUSE"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
