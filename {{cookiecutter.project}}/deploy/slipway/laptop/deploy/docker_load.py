"""The image's way to a Docker that does not see the server's 127.0.0.1: `docker load`.

A rootless Docker has a network of its own, in which the tunnel's end is not. What is sent is what
the registry here has, without the first layers that are there already; Docker there takes no layer
that is not the one which the image's configuration names.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import IO, Any

from slipway.laptop.deploy.plan import Plan
from slipway.laptop.docker import registry
from slipway.laptop.servers.ssh import Connection, ConnectionFailed


def fetch(connection: Connection, plan: Plan, registry_port: int) -> str:
    """Let the server load the image; gives the name that it has there."""
    wanted = plan.wanted
    name = f"{wanted.project}-run:{wanted.release}"
    found = registry.manifest(registry_port, wanted.repository, wanted.digest)
    if found is None:
        raise ConnectionFailed(f"{plan.host}: the registry here has lost the image: make push")
    command = f"{plan.facts.docker} load --quiet >&2 && {plan.facts.docker} image inspect {name}"
    # an engine that keeps images in another way wants all of them
    for first in dict.fromkeys((plan.layers_there, 0)):
        print(f"deploy: {plan.host}: loads {name}, {len(wanted.layers) - first} layers", flush=True)
        files = pieces(plan, registry_port, found, first)
        status, why = connection.archive(f"{command} >/dev/null", files)
        if status == 0:
            return name
    raise ConnectionFailed(
        f"{plan.host}: the image could not be loaded: {why}; nothing was changed: run make deploy"
        " again"
    )


def pieces(
    plan: Plan, port: int, manifest: dict[str, Any], first: int
) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Give what `docker load` reads, with the layers from a number on: name, size and content."""
    repository = plan.wanted.repository
    config = manifest["config"]["digest"]
    layers = [each["digest"] for each in manifest["layers"]]
    listed = {
        "Config": f"{config}.json",
        "RepoTags": [f"{plan.wanted.project}-run:{plan.wanted.release}"],
        "Layers": layers,
    }
    text = json.dumps([listed]).encode()
    yield "manifest.json", len(text), io.BytesIO(text)
    entries = [(f"{config}.json", manifest["config"])]
    entries += [(each["digest"], each) for each in manifest["layers"][first:]]
    for name, entry in entries:
        with registry.blob(port, repository, entry["digest"]) as content:
            yield name, entry["size"], content
