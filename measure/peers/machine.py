"""The benchmark's own engine, and a description of the machine.

A cold build requires that the engine is emptied. Therefore the benchmark never uses an engine of
somebody else: it starts its own in a folder of its own, and removes it at the end.
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
    """Provide an engine with the base image and the registry's for the duration of the block.

    Raises HarnessError if it cannot be started, or if another benchmark uses it.
    """
    os.environ["SLIPWAY_STATE"] = STATE
    # With its own socket in the environment, the testbed starts its own engine even if this machine
    # has another one.
    os.environ.update(Daemon(folders.state()).environment())
    users = Leases(folders.state() / "leases").held()
    if users:
        raise HarnessError(f"bench: the engine in {STATE} is in use by {', '.join(users)}")
    engines.down("nobody")  # remains of a benchmark that was killed
    with testbed.engine_session() as engine:
        for image in (testbed.BASE, testbed.REGISTRY):
            testbed.provide(engine, image)
        yield engine


def words_of(engine: Engine, *command: str) -> list[str]:
    """Return the words of a docker command's output."""
    return engine.run("docker", *command).split()


def forget(engine: Engine, keep: Iterable[str]) -> None:
    """Empty the engine: remove containers, caches, volumes and images.

    The images in keep stay, with their containers and volumes (the registry's).
    """
    if not engine.ours or engine.environment["DOCKER_HOST"] != f"unix://{STATE}/docker.sock":
        raise HarnessError("bench: this engine is not the benchmark's own, so it is not emptied")
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
    """Return what the figures depend on: processors, memory in bytes, kernel and engine."""
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
