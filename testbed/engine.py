"""The Docker engine: this machine's own, or one that the testbed starts."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from testbed import folders, parts
from testbed.console import run, say, succeeds
from testbed.daemon import Daemon
from testbed.leases import Leases

NEEDED = (("docker", "version"), ("docker", "buildx", "version"), ("docker", "compose", "version"))

# Some networks silently drop an idle connection. pip must not wait for it as long as this machine
# may allow for a slow package index.
PATIENCE = {"PIP_DEFAULT_TIMEOUT": "20"}


@dataclass(frozen=True)
class Engine:
    """A Docker engine, used by commands with this environment.

    Attributes:
        environment: variables of such a command.
        ours: whether the testbed started the engine.
    """

    environment: Mapping[str, str]
    ours: bool

    def run(
        self,
        *command: str | Path,
        folder: Path | None = None,
        stdin: str = "",
        timeout: float = 600,
    ) -> str:
        """Run a command that uses this engine; return its standard output.

        Raises HarnessError, with the command's last lines, if it fails.
        """
        return run(
            "engine",
            command,
            environment=self.environment,
            folder=folder,
            stdin=stdin,
            timeout=timeout,
        )

    def succeeds(self, *command: str | Path, timeout: float = 60) -> bool:
        """Return whether a command that uses this engine exits with status 0."""
        return succeeds(command, environment=self.environment, timeout=timeout)

    def has(self, image: str) -> bool:
        """Return whether this engine has an image."""
        return self.succeeds("docker", "image", "inspect", image)


def present() -> Engine | None:
    """Return this machine's own engine, if it answers and has buildx and compose."""
    ours = Daemon(folders.state()).environment()["DOCKER_HOST"]
    if os.environ.get("DOCKER_HOST") == ours:
        return None
    if not all(succeeds(command) for command in NEEDED):
        return None
    return Engine({**os.environ, **PATIENCE}, ours=False)


def own() -> Engine:
    """Return the testbed's engine, whether it runs or not."""
    path = os.environ["PATH"]
    unpacked = parts.path_of(parts.place())
    if not path.startswith(f"{unpacked}:"):
        path = f"{unpacked}:{path}"
    ours = {**Daemon(folders.state()).environment(), **PATIENCE, "PATH": path}
    return Engine({**os.environ, **ours}, ours=True)


def running() -> Engine | None:
    """Return the engine that runs now, this machine's or the testbed's; start nothing."""
    found = present()
    if found is None and Daemon(folders.state()).is_running():
        return own()
    return found


def up(lease: str | None = None) -> Engine:
    """Return an engine, which is started if necessary.

    It runs until `down` drops the lease; without a lease, as long as this process lives.
    Raises HarnessError if none runs and none can be started.
    """
    found = present()
    if found is not None:
        return found
    parts.require_root()
    state = folders.state()
    with folders.locked(state / "lock"):
        leases, daemon = Leases(state / "leases"), Daemon(state)
        name = leases.take(lease)
        try:
            if not daemon.is_running():
                daemon.start()
        except BaseException:
            leases.drop(name)
            raise
    return own()


def down(lease: str) -> None:
    """Drop a lease; after the last one, stop the testbed's engine and remove its files.

    Raises HarnessError if a process or a mount remains.
    """
    state = folders.state()
    if not state.is_dir():
        return
    parts.require_root()
    with folders.locked(state / "lock"):
        leases = Leases(state / "leases")
        leases.drop(lease)
        if users := leases.held():
            say("engine", f"keeps running for {', '.join(users)}")
            return
        Daemon(state).stop()
        shutil.rmtree(state)
        say("engine", "stopped and removed")


@contextmanager
def engine_session() -> Iterator[Engine]:
    """Provide an engine for the duration of the block.

    Raises HarnessError if none runs and none can be started.
    """
    with _ended_by_signals():
        engine = up()
        try:
            yield engine
        finally:
            if engine.ours:
                down(Leases.name_of(os.getpid()))


def exports(engine: Engine) -> str:
    """Return shell commands that make a terminal use the engine."""
    if not engine.ours:
        return "# this machine's own Docker engine is used"
    return "\n".join(
        f"export {name}={shlex.quote(engine.environment[name])}"
        for name in ("PATH", "DOCKER_HOST", "DOCKER_CONFIG")
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that the cleanup runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        each: signal.signal(each, signal.default_int_handler)
        for each in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            with suppress(TypeError):
                signal.signal(each, handler)
