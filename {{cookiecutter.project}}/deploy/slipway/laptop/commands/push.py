#!/usr/bin/env python3
"""Send the run image to the registry on loopback and record its digest, which is what deploys use.

A tag may move, a digest cannot. It is one process, since a changed line waits for every other.
"""

from __future__ import annotations

import os
import subprocess

from slipway.laptop.build import base_image_pin as pin
from slipway.laptop.build.record import State
from slipway.laptop.build.steps import Steps
from slipway.laptop.console import die
from slipway.laptop.docker import engine, registry
from slipway.laptop.paths import DEPLOY
from slipway.laptop.settings.load import load
from slipway.shared.native import catalogue as native


class NotPushed(Exception):
    """The image did not arrive; the message says what to do."""


def script(name: str, job: str) -> None:
    """Let a script beside this one do a job; it says itself what is wrong."""
    status = subprocess.call([str(DEPLOY / name), job], env={**os.environ, "QUIET": "1"})
    if status:
        raise SystemExit(status)


def built(settings: dict[str, str]) -> str:
    """Give the run image's ID, after it was built if anything has changed that goes into it."""
    steps = Steps(settings, State())
    if steps.next("image"):
        script("build.sh", "image")
        steps = Steps(settings, State())
    return steps.image_id("image")


def push(settings: dict[str, str]) -> str:
    """Push what is not there yet; gives a line that says what the registry has."""
    docker, port = settings["DOCKER"], int(settings["REGISTRY_PORT"])
    image, repository = built(settings), f"{settings['PROJECT']}-run"
    # an answer is the proof; the script asks compose
    if not registry.is_up(port):
        script("registry.sh", "up")
    # podman leaves out what kind of sum it is
    tag = settings["TAG"] or image.rpartition(":")[2][:12]
    name = f"{registry.ADDRESS}:{port}/{repository}:{tag}"
    state = State()
    before, found = state.steps.get("push", {}), registry.digest(port, repository, tag)
    if found and (before.get("digest"), before.get("image")) == (found, image):
        return f"nothing to do: the registry has {found}"

    engine.ask(docker, "tag", repository, name)
    # podman wants to be told that loopback needs no certificate
    insecure = ["--tls-verify=false"] if engine.is_podman(docker) else []
    pushing = engine.command(docker, "push", *insecure, "--quiet", name)
    if subprocess.call(pushing, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        raise NotPushed("the image could not be pushed; see above")
    digest = registry.digest(port, repository, tag)
    if not digest:
        raise NotPushed(
            f"the registry does not know {name}, which was just pushed: make registry-down, then"
            " push again"
        )
    old = before.get("name")
    if old and old != name:
        subprocess.run(engine.command(docker, "image", "rm", old), capture_output=True)
    state.record("push", digest=digest, image=image, name=name)
    return f"{repository}@{digest}"


def main() -> int:
    """Push the image of this project; gives the exit status."""
    try:
        print(f"push.py: {push(load())}", flush=True)
    except KeyboardInterrupt:
        die("interrupted; what has arrived is kept")
    except (
        *(NotPushed, engine.EngineError, native.UnknownName, pin.PinError),
        *(ValueError, OSError),
    ) as problem:
        die(str(problem))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
