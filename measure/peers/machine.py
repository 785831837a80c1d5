"""The engine of the benchmark's own, and what the figures were taken on.

Cold means that everything is removed in between, so it is never an engine that people use: always
one of our own, in a folder of its own, that is gone afterwards.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import testbed
from testbed import engine as engines
from testbed import folders
from testbed.console import HarnessError
from testbed.daemon import Daemon
from testbed.engine import Engine
from testbed.leases import Leases

STATE = "/var/lib/slipway-bench"
UNUSED = ("--filter", "dangling=true")


@contextmanager
def own_engine() -> Iterator[Engine]:
    """An engine of our own with the base image and the registry's, for as long as the block lasts.

    Raises HarnessError when none can be started, or when another benchmark has it.
    """
    os.environ["SLIPWAY_STATE"] = STATE
    # Whoever names the harness's own socket is given its own engine, whatever else answers here.
    os.environ.update(Daemon(folders.state()).environment())
    users = Leases(folders.state() / "leases").held()
    if users:
        raise HarnessError(f"bench: the engine in {STATE} is in use by {', '.join(users)}")
    engines.down("nobody")  # what one that was killed has left
    with testbed.engine_session() as engine:
        for image in (testbed.BASE, testbed.REGISTRY):
            testbed.provide(engine, image)
        yield engine


def words_of(engine: Engine, *command: str) -> list[str]:
    """The words that a docker command prints."""
    return engine.run("docker", *command).split()


def forget(engine: Engine, keep: Iterable[str]) -> None:
    """Make the engine cold: no container, cache, volume or image is left, but for some images.

    The containers and volumes of images in `keep` (the registry) stay.
    """
    if not engine.ours or engine.environment["DOCKER_HOST"] != f"unix://{STATE}/docker.sock":
        raise HarnessError("bench: only an engine of our own is ever emptied")
    kept = set(keep)
    for line in engine.run("docker", "ps", "--all", "--format", "{{.ID}} {{.Image}}").splitlines():
        container, image = line.split(" ", 1)
        if image not in kept:
            engine.run("docker", "rm", "--force", "--volumes", container)
    engine.run("docker", "builder", "prune", "--all", "--force")
    images = engine.run("docker", "images", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}")
    for line in images.splitlines():
        identity, name = line.split(" ", 1)
        if name not in kept:
            engine.run("docker", "image", "rm", "--force", identity if "<" in name else name)
    for volume in words_of(engine, "volume", "ls", "--quiet", *UNUSED):
        engine.run("docker", "volume", "rm", volume)


def description(engine: Engine) -> dict[str, str | int]:
    """What the figures depend on: processors, memory in bytes, kernel and engine."""
    return {
        "cores": os.cpu_count() or 0,
        "processor": _processor(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "engine": words_of(engine, "version", "--format", "{{.Server.Version}}")[0],
        "storage": words_of(engine, "info", "--format", "{{.Driver}}")[0],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
