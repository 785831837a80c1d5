"""The engine that everything runs on: the one that is here, or else one of our own."""

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

# Some networks drop a connection that was idle for a while, and say nothing: pip is not to wait for
# it as long as this machine may allow for a slow index.
PATIENCE = {"PIP_DEFAULT_TIMEOUT": "20"}


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers to commands which have `environment`."""

    environment: Mapping[str, str]
    ours: bool

    def run(
        self,
        *command: str | Path,
        folder: Path | None = None,
        stdin: str = "",
        timeout: float = 600,
    ) -> str:
        """Run a command against this engine and return its standard output.

        Raises HarnessError, with the command's last lines, when it fails.
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
        """Whether a command against this engine ends with zero."""
        return succeeds(command, environment=self.environment, timeout=timeout)

    def has(self, image: str) -> bool:
        """Whether an image is in this engine."""
        return self.succeeds("docker", "image", "inspect", image)


def present() -> Engine | None:
    """The engine that this machine has without us, with buildx and compose, if it answers."""
    ours = Daemon(folders.state()).environment()["DOCKER_HOST"]
    if os.environ.get("DOCKER_HOST") == ours:
        return None
    if not all(succeeds(command) for command in NEEDED):
        return None
    return Engine({**os.environ, **PATIENCE}, ours=False)


def own() -> Engine:
    """The engine of our own, whether it runs or not."""
    path = os.environ["PATH"]
    unpacked = parts.path_of(parts.place())
    if not path.startswith(f"{unpacked}:"):
        path = f"{unpacked}:{path}"
    ours = {**Daemon(folders.state()).environment(), **PATIENCE, "PATH": path}
    return Engine({**os.environ, **ours}, ours=True)


def running() -> Engine | None:
    """The engine that answers now, this machine's or our own; nothing is started."""
    found = present()
    if found is None and Daemon(folders.state()).is_running():
        return own()
    return found


def up(lease: str | None = None) -> Engine:
    """An engine that lasts until `down` drops the lease, or for as long as this process lives.

    Raises HarnessError when there is none and none can be started.
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
    """Drop a lease; with the last one, end our engine and remove all that it has made.

    Raises HarnessError when something of it will not go.
    """
    state = folders.state()
    if not state.is_dir():
        return
    parts.require_root()
    with folders.locked(state / "lock"):
        leases = Leases(state / "leases")
        leases.drop(lease)
        if users := leases.held():
            say("engine", f"stays up for {', '.join(users)}")
            return
        Daemon(state).stop()
        shutil.rmtree(state)
        say("engine", "stopped and removed")


@contextmanager
def engine_session() -> Iterator[Engine]:
    """An engine for as long as the block lasts.

    Raises HarnessError when there is none and none can be started.
    """
    with _ended_by_signals():
        engine = up()
        try:
            yield engine
        finally:
            if engine.ours:
                down(Leases.name_of(os.getpid()))


def exports(engine: Engine) -> str:
    """Shell commands that make a terminal use the engine."""
    if not engine.ours:
        return "# the Docker engine of this machine is used as it is"
    return "\n".join(
        f"export {name}={shlex.quote(engine.environment[name])}"
        for name in ("PATH", "DOCKER_HOST", "DOCKER_CONFIG")
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a polite signal unwind the stack: by default it ends Python with no clean-up at all."""
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
