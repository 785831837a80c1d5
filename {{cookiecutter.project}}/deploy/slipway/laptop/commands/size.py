"""Show what the run image's size consists of: layers, Debian packages and wheels, largest first.

A package or a wheel is counted by its unpacked size in the image. The bytecode that is compiled
next to it is the rest of its layer. A megabyte is 10^6 bytes, as docker counts.
"""

from __future__ import annotations

import json
import re
import signal
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from slipway.laptop import console
from slipway.laptop.docker import engine
from slipway.laptop.paths import ROOT, SLIPWAY
from slipway.laptop.settings.load import load

# The content of a layer, by a pattern for the instruction that made it; the first match counts.
LAYERS = (
    (r"COMMAND=", "the application and its start script"),
    # the second name is in the images that older versions built
    (
        r"slipway\.image\.run\.install_wheelhouse|/opt/builder/install\.py",
        "the dependencies, with their bytecode",
    ),
    (r"COPY / / ", "the interpreter, C libraries and what they need of Debian"),
)
SHOWN = 100_000  # bytes; smaller packages share one line


def run(command: str, arguments: Sequence[str]) -> int:
    """Print the tables; return the exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `make size | head` is no error
    settings = load()
    docker, project = settings["DOCKER"], settings["PROJECT"]
    image, base = f"{project}-run", f"{project}-base"
    try:
        print(table(f"{image}, in layers", layers(docker, image)))
        print(table(f"{base}, in Debian packages that {image} has", packages(docker, base)))
    except engine.EngineError as problem:
        if "no such image" in str(problem).lower():
            raise console.Failed(f"there is no image {image} yet: run make image") from None
        raise
    print(table(f"{settings['WHEELHOUSE']}, in wheels", wheels(ROOT / settings["WHEELHOUSE"])))
    return 0


def packages(docker: str, base: str) -> list[tuple[int, str]]:
    """Return (bytes, name) of the base image's Debian packages that are in the run image.

    The last entry is the sum of the small ones. EngineError if there is no such image.
    """
    # slim.py decides what stays: its own count is the one to show. Where SELinux is enabled, a
    # container cannot read a bind mount without label=disable.
    options = ("--rm", "--network=none", "--security-opt=label=disable", "--workdir=/mnt")
    mount = ("--mount", f"{engine.bind(SLIPWAY, '/mnt/slipway')},readonly")
    program = ("-B", "-m", "slipway.image.run.slim", "sizes")
    words = ("run", *options, *mount, "--entrypoint=/appenv/bin/python", base, *program)
    sizes = json.loads(engine.ask(docker, *words))
    found = sorted(((size, name) for name, size in sizes.items()), reverse=True)
    large = [row for row in found if row[0] >= SHOWN]
    small = found[len(large) :]
    return [*large, (sum(size for size, _ in small), f"{len(small)} smaller ones")]


def layers(docker: str, image: str) -> list[tuple[int, str]]:
    """Return (bytes, content) of an image's layers; EngineError if there is no such image."""
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
    """Return (unpacked bytes, file name) of the wheels in a wheelhouse."""
    found = []
    for wheel in folder.glob("*/*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            found.append((sum(item.file_size for item in archive.infolist()), wheel.name))
    return sorted(found, reverse=True)


def table(title: str, rows: Iterable[tuple[int, str]]) -> str:
    """Return rows as text, below a title and their sum."""
    listed = list(rows)
    total = sum(size for size, _ in listed)
    lines = [f"{total / 1e6:8.1f} MB  {title}"]
    lines += [f"{size / 1e6:8.1f}     {name}" for size, name in listed]
    return "\n".join(lines)
