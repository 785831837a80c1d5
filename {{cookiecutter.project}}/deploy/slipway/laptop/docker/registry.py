#!/usr/bin/env python3
"""Ask the registry on loopback, over plain HTTP, as `make push` and `make deploy` need it.

Each job is one of these:

    registry.py up PORT                status 0 when it answers
    registry.py wait PORT              until it answers, at most 30 seconds
    registry.py prune PORT NAME KEPT   remove all images of a name but that digest; print how many
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import sys
import time
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

ADDRESS = "127.0.0.1"  # never `localhost`, which may be ::1
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)


class Answer(NamedTuple):
    """What a registry answers."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def request(port: int, method: str, path: str) -> Answer | None:
    """Send one request; None when nothing answers as a registry does."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=5)
    try:
        connection.request(method, path, headers={"Accept": ACCEPT})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    # https://distribution.github.io/distribution/spec/api/#api-version-check
    if answer.headers.get("Docker-Distribution-Api-Version") != "registry/2.0":
        return None
    return answer


def is_up(port: int) -> bool:
    """Say whether a registry answers on the port."""
    response = request(port, "GET", "/v2/")
    return response is not None and response.status == 200


def digest(port: int, name: str, reference: str) -> str:
    """Give the digest of an image by its tag or digest; empty when the registry has none."""
    response = request(port, "HEAD", f"/v2/{name}/manifests/{reference}")
    if response is None or response.status != 200:
        return ""
    return response.headers.get("Docker-Content-Digest") or ""


def manifest(port: int, name: str, digest: str) -> dict[str, Any] | None:
    """Give an image's manifest by its digest; None when the registry does not have it."""
    response = request(port, "GET", f"/v2/{name}/manifests/{digest}")
    if response is None or response.status != 200:
        return None
    # the registry is anybody's on this machine
    if f"sha256:{hashlib.sha256(response.body).hexdigest()}" != digest:
        return None
    found: dict[str, Any] = json.loads(response.body)
    return found


@contextlib.contextmanager
def blob(port: int, name: str, digest: str) -> Iterator[IO[bytes]]:
    """Open a layer or a configuration by its digest; OSError when the registry does not give it."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=60)
    try:
        connection.request("GET", f"/v2/{name}/blobs/{digest}")
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"the registry on {ADDRESS}:{port} has no {digest} of {name}")
        yield response
    finally:
        connection.close()


def prune(port: int, name: str, kept: str) -> int:
    """Remove all tagged images of a name but one digest; gives how many, or -1 when it failed."""
    response = request(port, "GET", f"/v2/{name}/tags/list")
    if response is None or response.status not in (200, 404):
        return -1
    tags = json.loads(response.body).get("tags") or [] if response.status == 200 else []
    found = {digest(port, name, tag) for tag in tags} - {"", kept}
    for each in found:
        done = request(port, "DELETE", f"/v2/{name}/manifests/{each}")
        if done is None or done.status != 202:
            return -1
    return len(found)


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; gives the exit status."""
    job, port, *rest = arguments
    if job == "prune":
        count = prune(int(port), *rest)
        print(count)
        return 0 if count >= 0 else 1
    deadline = time.monotonic() + (30 if job == "wait" else 0)
    while not is_up(int(port)):
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
