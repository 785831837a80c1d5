"""The registry on this machine's loopback: questions over HTTP; compose starts and stops it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from slipway.laptop import console
from slipway.laptop.docker import engine, registry_password
from slipway.laptop.docker.registry_password import authorization
from slipway.laptop.paths import DEPLOY

ADDRESS = registry_password.ADDRESS
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The registry accepts no larger manifest. What answers on its port may be something else.
LONGEST = 4 * 1024 * 1024


class Answer(NamedTuple):
    """A registry's answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def request(port: int, method: str, path: str, *, as_nobody: bool = False) -> Answer | None:
    """Send one request and return the answer; None if no registry answers."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=5)
    own = {} if as_nobody else authorization(port)
    try:
        connection.request(method, path, headers={"Accept": ACCEPT, **own})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read(LONGEST))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    # https://distribution.github.io/distribution/spec/api/#api-version-check
    if answer.headers.get("Docker-Distribution-Api-Version") != "registry/2.0":
        return None
    return answer


def is_up(port: int) -> bool:
    """Return whether a registry answers on the port, to this account and to nobody else."""
    refused = request(port, "GET", "/v2/", as_nobody=True)
    if refused is None or refused.status != 401:
        return False
    response = request(port, "GET", "/v2/")
    return response is not None and response.status == 200


def digest(port: int, name: str, reference: str) -> str:
    """Return the digest of an image by its tag or digest; empty if the registry has none."""
    response = request(port, "HEAD", f"/v2/{name}/manifests/{reference}")
    if response is None or response.status != 200:
        return ""
    found = response.headers.get("Docker-Content-Digest") or ""
    return found if DIGEST.fullmatch(found) else ""


def manifest_text(port: int, name: str, digest: str) -> Answer | None:
    """Return the answer that has an image's manifest; None if the registry does not have it."""
    response = request(port, "GET", f"/v2/{name}/manifests/{digest}")
    if response is None or response.status != 200:
        return None
    # Another program may have taken the port.
    return response if _sum(response.body) == digest else None


def _sum(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def parsed(text: bytes) -> dict[str, Any] | None:
    """Return a manifest as data; None for a text that is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def manifest(port: int, name: str, digest: str) -> dict[str, Any] | None:
    """Return an image's manifest by its digest; None if the registry does not have it."""
    found = manifest_text(port, name, digest)
    return None if found is None else parsed(found.body)


def named(manifest: dict[str, Any], *keys: str) -> list[str]:
    """Return the digests that a manifest names under some keys."""
    entries: list[Any] = []
    for key in keys:
        value = manifest.get(key)
        entries += value if isinstance(value, list) else [value]
    digests = [each.get("digest") for each in entries if isinstance(each, dict)]
    return [each for each in digests if isinstance(each, str) and DIGEST.fullmatch(each)]


def foreign(port: int, name: str, digest: str, image: str) -> str:
    """Return why a digest of the registry is not the image that was built; empty if it is.

    image is the ID that the engine here gave to it: the digest of its configuration, or that of its
    manifest if the engine has the containerd image store.
    """
    # podman leaves out the name of the checksum's algorithm
    identity = f"sha256:{image.rpartition(':')[2]}"
    found = manifest(port, name, digest)
    if found is not None and (digest == identity or named(found, "config") == [identity]):
        return ""
    return (
        f"{name}@{digest[:19]} on {ADDRESS}:{port} is not the image that was built"
        f" ({identity[:19]}). Check that the program on that port is your registry, or set"
        " REGISTRY_PORT, and run make push."
    )


def small_blob(port: int, name: str, digest: str) -> bytes:
    """Return a configuration, compared with its digest; raise OSError if that is not there."""
    with blob(port, name, digest) as content:
        found = content.read(LONGEST)
    if _sum(found) != digest:
        raise OSError(f"the registry on {ADDRESS}:{port} has other content for {digest}")
    return found


@contextlib.contextmanager
def blob(port: int, name: str, digest: str) -> Iterator[IO[bytes]]:
    """Open a layer or a configuration by its digest; raise OSError if the registry has none."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=60)
    try:
        connection.request("GET", f"/v2/{name}/blobs/{digest}", headers=authorization(port))
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"the registry on {ADDRESS}:{port} does not have {digest} of {name}")
        yield response
    finally:
        connection.close()


def _removable(port: int, name: str, kept: str) -> set[str] | None:
    response = request(port, "GET", f"/v2/{name}/tags/list")
    if response is None or response.status not in (200, 404):
        return None
    tags = json.loads(response.body).get("tags") or [] if response.status == 200 else []
    return {digest(port, name, tag) for tag in tags} - {"", kept}


def prune(port: int, name: str, kept: str) -> int:
    """Remove all tagged images of a name except one digest; return how many, or -1 on failure."""
    found = _removable(port, name, kept)
    if found is None:
        return -1
    for each in found:
        done = request(port, "DELETE", f"/v2/{name}/manifests/{each}")
        if done is None or done.status != 202:
            return -1
    return len(found)


def wait(port: int, seconds: float = 30) -> bool:
    """Wait until a registry answers on the port; return whether it does."""
    deadline = time.monotonic() + seconds
    while not is_up(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def compose(settings: dict[str, str], *words: str) -> list[str]:
    """Return the command line of a compose command; compose.yaml reads two variables."""
    file = ["--file", str(DEPLOY / "compose.yaml"), "--progress", "quiet"]
    docker = engine.command(settings["DOCKER"], "compose", *file, *words)
    port = settings["REGISTRY_PORT"]
    password = f"REGISTRY_PASSWORD={registry_password.htpasswd(port)}"
    return ["env", f"REGISTRY_PORT={port}", password, *docker]


def _run(settings: dict[str, str], *words: str) -> None:
    command = compose(settings, *words)
    if settings["DRY_RUN"]:
        console.show_command(command)
        return
    if subprocess.call(command, stdin=subprocess.DEVNULL):
        _check_compose(settings)
        raise engine.EngineError(f"docker compose {words[0]} failed; see above. {_why(settings)}")


def _why(settings: dict[str, str]) -> str:
    port = int(settings["REGISTRY_PORT"])
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port), 5):
        return f"Something listens on {ADDRESS}:{port} already: set REGISTRY_PORT."
    found = re.search(r"image: (\S+)", (DEPLOY / "compose.yaml").read_text("utf-8"))
    image = found[1] if found else "registry"
    if engine.inspect_images(settings["DOCKER"], [image]) == [None]:
        return (
            f"The engine could not pull {image}: run docker pull {image} to see why, and check the"
            " engine's own proxy and network."
        )
    return f"If port {port} is taken, set REGISTRY_PORT."


def _check_compose(settings: dict[str, str]) -> None:
    asked = engine.command(settings["DOCKER"], "compose", "version")
    try:
        if subprocess.run(asked, capture_output=True).returncode == 0:
            return
    except FileNotFoundError:
        engine.ask(settings["DOCKER"], "version")
    raise engine.EngineError(
        f"{settings['DOCKER']} has no compose. Install it (Debian: docker-compose, elsewhere"
        " docker-compose-plugin)."
    )


def up(settings: dict[str, str]) -> None:
    """Start the registry with a new password unless it is up, and wait until it answers."""
    port = settings["REGISTRY_PORT"]
    start = ("up", "--detach", "--force-recreate")
    if settings["DRY_RUN"]:
        print(f"# write a new password for the registry to {registry_password.folder(port)}")
        _run(settings, *start)
        return
    with registry_password.locked(port):
        if is_up(int(port)):
            return
        registry_password.renew(settings)
        _run(settings, *start)
        if not wait(int(port)):
            raise engine.EngineError(
                f"what listens on {ADDRESS}:{port} is not a registry. Set REGISTRY_PORT."
            )
    console.say(f"the registry listens on {ADDRESS}:{port}")


def down(settings: dict[str, str]) -> None:
    """Stop the registry; its images stay in a volume."""
    _run(settings, "down")
    if not settings["DRY_RUN"]:
        registry_password.forget(settings["REGISTRY_PORT"])
        console.say("the registry is stopped; its images are kept in a volume")


def collect_garbage(settings: dict[str, str], name: str, kept: str) -> int:
    """Remove all images of a name except one digest, and layers without images; return how many."""
    port = int(settings["REGISTRY_PORT"])
    configuration = "/etc/docker/registry/config.yml"
    collect = ("run", "--rm", "--no-TTY", "registry", "garbage-collect", configuration)
    removed = 0
    if settings["DRY_RUN"]:
        for each in sorted(_removable(port, name, kept) or []):
            url = f"http://{ADDRESS}:{port}/v2/{name}/manifests/{each}"
            console.show_command(["curl", "--fail", "--request", "DELETE", url])
    else:
        if not is_up(port):
            up(settings)
        removed = prune(port, name, kept)
        if removed < 0:
            raise engine.EngineError(
                "the registry does not remove images. Run make registry-down registry-up, then try"
                " again."
            )
    # A push during the collection would lose layers.
    _run(settings, "stop", "registry")
    if settings["DRY_RUN"]:
        _run(settings, *collect)
        _run(settings, "up", "--detach")
        return 0
    done = subprocess.run(
        compose(settings, *collect),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    _run(settings, "up", "--detach")
    if done.returncode:
        lines = done.stdout.strip().splitlines() or ["no message"]
        raise engine.EngineError(f"the registry could not remove layers: {lines[-1]}")
    return removed
