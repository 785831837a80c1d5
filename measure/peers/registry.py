"""The size of an image in a transfer: its manifest, configuration and compressed layers."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import testbed
from testbed.console import HarnessError
from testbed.engine import Engine

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
NAME = "bench-registry"


class Registry:
    """A registry on the loopback interface, in a container of the benchmark's engine."""

    def __init__(self, engine: Engine) -> None:
        """Start the registry, and wait until it answers."""
        self._engine = engine
        publish = "127.0.0.1::5000"
        engine.run(
            "docker", "run", "--detach", "--name", NAME, "--publish", publish, testbed.REGISTRY
        )
        self._address = engine.run("docker", "port", NAME, "5000").split()[0]
        deadline = time.monotonic() + 30
        while not self._answers():
            if time.monotonic() > deadline:
                raise HarnessError(
                    f"bench: the registry does not answer after 30 seconds: docker logs {NAME}"
                )
            time.sleep(0.05)

    def blobs(self, image: str) -> dict[str, int]:
        """Push an image; return the sizes of the blobs that an empty server loads, by digest."""
        name = f"{self._address}/{image}"
        self._engine.run("docker", "tag", image, name)
        self._engine.run("docker", "push", "--quiet", name)
        self._engine.run("docker", "image", "rm", name)
        repository, _, tag = image.partition(":")
        address = f"http://{self._address}/v2/{repository}/manifests/{tag or 'latest'}"
        request = urllib.request.Request(address, headers={"Accept": ", ".join(MANIFESTS)})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return blobs_of(answer.read())

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/v2/", timeout=5):
                return True
        except OSError:
            return False


def blobs_of(manifest: bytes) -> dict[str, int]:
    """Return the size of each blob of an image's manifest, and of the manifest, by digest.

    Raises ValueError if it is the manifest of several images.
    """
    read: Mapping[str, Any] = json.loads(manifest)
    if "layers" not in read:
        raise ValueError(f"not the manifest of one image: {read.get('mediaType')}")
    parts = [read["config"], *read["layers"]]
    blobs = {str(part["digest"]): int(part["size"]) for part in parts}
    return {f"sha256:{sha256(manifest).hexdigest()}": len(manifest), **blobs}
