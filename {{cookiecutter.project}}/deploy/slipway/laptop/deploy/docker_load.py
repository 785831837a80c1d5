"""The way of an image to a rootless Docker: `docker load`.

A rootless Docker has a network of its own, so that it cannot use the tunnel. The image comes from
this machine's registry, without the first layers that the server already has. Docker accepts only
layers that match the image's configuration.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import IO, Any

from slipway.laptop.deploy.plan import Plan
from slipway.laptop.docker import registry
from slipway.laptop.servers.each_server import report
from slipway.laptop.servers.ssh import Connection, ConnectionFailed


def fetch(connection: Connection, plan: Plan, registry_port: int) -> str:
    """Load the image on the server, and return the name that it has there."""
    wanted = plan.wanted
    name = f"{wanted.project}-run:{wanted.release}"
    found = registry.manifest(registry_port, wanted.repository, wanted.digest)
    if found is None:
        raise ConnectionFailed(
            f"{plan.host}: the registry on this machine has lost the image. Run make push."
        )
    command = f"{plan.facts.docker} load --quiet >&2 && {plan.facts.docker} image inspect {name}"
    # An engine with another image store needs all layers.
    for first in dict.fromkeys((plan.layers_there, 0)):
        report(plan.host, f"loads {name}, {len(wanted.layers) - first} layers")
        files = pieces(plan, registry_port, found, first)
        status, problem = connection.archive(f"{command} >/dev/null", files)
        if status == 0:
            return name
    raise ConnectionFailed(
        f"{plan.host}: the image could not be loaded: {problem}. Nothing was changed. Run make"
        " deploy again."
    )


def pieces(
    plan: Plan, port: int, manifest: dict[str, Any], first: int
) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Return the files for `docker load`, with the layers from `first` on: name, size, content."""
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
