"""Send the run image to the registry on loopback, and record its digest, which deploys use.

A tag may move, a digest cannot.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from slipway.laptop import console
from slipway.laptop.building import pipeline
from slipway.laptop.building.record import Record
from slipway.laptop.docker import engine, registry, registry_password
from slipway.laptop.settings.load import load


class NotPushed(console.Failed):
    """The image did not arrive; the message says what to do."""


def built(settings: dict[str, str]) -> str:
    """Build the run image if it is out of date, and return its ID."""
    pipeline.make(settings, ["image"], quiet=True)
    return Record.load().get("image", "image")


def full_name(settings: dict[str, str], image: str) -> str:
    """Return the name under which the registry gets the image."""
    # podman leaves out the name of the checksum's algorithm
    tag = settings["TAG"] or image.rpartition(":")[2][:12]
    address = f"{registry.ADDRESS}:{settings['REGISTRY_PORT']}"
    return f"{address}/{settings['PROJECT']}-run:{tag}"


def commands(settings: dict[str, str], name: str, is_podman: bool) -> list[list[str]]:
    """Return the two docker commands that push the image under a name."""
    docker = settings["DOCKER"]
    folder = str(registry_password.folder(settings["REGISTRY_PORT"]))
    pushing = ["--config", folder, "push"]
    if is_podman:
        # It has to be told that loopback needs no certificate.
        pushing = ["push", "--authfile", f"{folder}/config.json", "--tls-verify=false"]
    return [
        engine.command(docker, "tag", f"{settings['PROJECT']}-run", name),
        engine.command(docker, *pushing, "--quiet", name),
    ]


def push(settings: dict[str, str]) -> str:
    """Push the image unless the registry has it; return a line about the result."""
    docker, port = settings["DOCKER"], int(settings["REGISTRY_PORT"])
    image, repository = built(settings), f"{settings['PROJECT']}-run"
    # An answer is the proof; to ask compose would take longer.
    if not registry.is_up(port):
        registry.up(settings)
    name = full_name(settings, image)
    tag = name.rpartition(":")[2]
    record = Record.load()
    before, found = record.steps.get("push", {}), registry.digest(port, repository, tag)
    if (
        found
        and (before.get("digest"), before.get("image")) == (found, image)
        and not registry.foreign(port, repository, found, image)
    ):
        return f"nothing to do: the registry has {found}"

    tagging, pushing = commands(settings, name, engine.is_podman(docker))
    engine.ask(docker, *tagging[len(engine.command(docker)) :])
    registry_password.use_docker_settings(port)
    if subprocess.call(pushing, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        raise NotPushed("the image could not be pushed; see above")
    digest = registry.digest(port, repository, tag)
    if not digest:
        raise NotPushed(
            f"the registry does not have {name}, which was just pushed."
            " Run make registry-down, then push again."
        )
    # Another program may have taken the port before the registry.
    problem = registry.foreign(port, repository, digest, image)
    if problem:
        raise NotPushed(problem)
    old = before.get("name")
    if old and old != name:
        subprocess.run(engine.command(docker, "image", "rm", old), capture_output=True)
    record.write("push", digest=digest, image=image, name=name)
    return f"{repository}@{digest}"


def show(settings: dict[str, str]) -> None:
    """Print the command lines of a push, and change nothing."""
    pipeline.make(settings, ["image"], quiet=True)
    if not registry.is_up(int(settings["REGISTRY_PORT"])):
        registry.up(settings)
    record = Record.load()
    name = full_name(settings, record.get("image", "image"))
    note = "the registry keeps what it has already; its digest is what a deploy uses"
    if name.endswith(":"):
        name, note = f"{name}NEW", "the tag is the beginning of the new image's ID"
    docker = settings["DOCKER"]
    for words in commands(settings, name, engine.is_podman(docker)):
        console.show_command(words, note)
        note = ""
    old = record.get("push", "name")
    if old and old != name:
        console.show_command(engine.command(docker, "image", "rm", old))


def run(command: str, arguments: Sequence[str]) -> int:
    """Push the image of this project; return the exit status."""
    settings = load()
    if settings["DRY_RUN"]:
        show(settings)
        return 0
    try:
        console.say(push(settings))
    except KeyboardInterrupt:
        console.warn("interrupted; layers that have arrived are kept")
        raise
    return 0
