"""The builder's side of the sandbox (sandbox.py): it sends jobs, and takes what comes of them.

What is passed on is an archive that was compared with the lock, or the application's own files.
What comes back is text, and a wheel, which is copied from the open file that the sandbox sends.
Nothing of it is believed: a wheel must be one of the expected name and version before it is kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slipway.builder import messages, sandbox, wheelhouse
from slipway.builder.errors import Failure
from slipway.builder.source_tree import Tree, pack

WAIT = 120.0  # seconds until the sandbox's container has started
WHEEL_LIMIT = 4 << 30  # bytes
BROKEN = "the sandbox, in which code of packages runs, {}; run this again"


class Sandbox:
    """The sandbox of one builder. Its methods may be called by several threads at once."""

    def __init__(
        self, connect: Callable[[], socket.socket], ca: Path, wait: Callable[[], None] | None = None
    ) -> None:
        """Connect when the first job is there; `ca` is a folder of certificates over there.

        `wait` is called when the connection has been closed.
        """
        self._connect = connect
        self._wait = wait
        self._ca = ca
        self._control: socket.socket | None = None
        self._lock = threading.Lock()
        self._virtualenvs: set[str] = set()
        # What builds were seen to use of virtualenvs without bytecode, by the virtualenvs' names.
        self.modules: dict[str, set[str]] = {}

    @classmethod
    def beside(cls, has_accounts: bool, environment: Mapping[str, str], ca: Path) -> Sandbox:
        """Return a sandbox that is a process beside this one."""
        control, wait = sandbox.start_beside(has_accounts, environment)
        found = cls(lambda: control, ca, wait)
        found._control = control
        return found

    def __enter__(self) -> Sandbox:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server, which ends with its connection."""
        if self._control is not None:
            self._control.close()
        if self._wait is not None:
            self._wait()

    def has_virtualenv(self, name: str) -> bool:
        """Return whether the sandbox has made a virtualenv."""
        return name in self._virtualenvs

    def make_virtualenv(
        self, name: str, wheels: Sequence[Path], bytecode: Path | None = None
    ) -> None:
        """Make a virtualenv of some wheels; Failure if a wheel cannot be installed.

        Without an archive of bytecode, builds report the modules that they use (`modules`).
        """
        with self._job() as job, contextlib.ExitStack() as stack:
            request = {"job": "virtualenv", "name": name, "wheels": [each.name for each in wheels]}
            packed = stack.enter_context(bytecode.open("rb")).fileno() if bytecode else None
            messages.send(job, request, packed)
            for wheel in wheels:
                with wheel.open("rb") as file:
                    messages.send(job, {}, file.fileno())
            answered(job)
        if bytecode is None:
            self.modules[name] = set()
        self._virtualenvs.add(name)

    def requirements(self, tree: Tree, virtualenv: str, reads: Path | None = None) -> list[str]:
        """Return the requirements that the back end of a tree adds to the stated ones.

        Names of the files that it reads are added to `reads`, as record_file_access.py does.
        """
        found, file = self._hook("requires", tree, virtualenv, reads)
        close(file)
        return texts(found.get("requires"))

    def wheel(self, tree: Tree, virtualenv: str, folder: Path, reads: Path | None = None) -> Path:
        """Build the wheel of a tree into a folder; Failure if the back end fails."""
        found, file = self._hook("wheel", tree, virtualenv, reads)
        if virtualenv in self.modules:
            self.modules[virtualenv].update(texts(found.get("modules", [])))
        name = found.get("wheel")
        if file is None or not isinstance(name, str) or not wheelhouse.NAME.fullmatch(name):
            close(file)
            raise broken()
        place = folder / name
        with open(file, "rb") as source, place.open("xb") as target:
            if os.fstat(file).st_size > WHEEL_LIMIT:
                raise Failure(f"{name} is larger than {WHEEL_LIMIT >> 30} GB")
            shutil.copyfileobj(source, target, 1 << 20)
        return place

    def lock(
        self,
        source: Path,
        wanted: Sequence[str],
        text: str = "",
        variables: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        limits: str = "",
    ) -> str:
        """Return the lock of some requirement files in a folder, beginning with a lock's text.

        Failure has pip's output. `limits` are constraints for the back ends that it runs.
        """
        request = {
            "job": "lock",
            "place": source.name,
            "wanted": list(wanted),
            "text": text,
            "variables": dict(variables or {}),
            "options": list(options),
            "limits": limits,
        }
        found, file = self._send(request, pack(source))
        close(file)
        if not isinstance(found.get("text"), str):
            raise broken()
        return str(found["text"])

    def _hook(
        self, name: str, tree: Tree, virtualenv: str, reads: Path | None
    ) -> tuple[dict[str, Any], int | None]:
        request = {
            "job": "hook",
            "hook": name,
            "place": tree.name,
            "virtualenv": virtualenv,
            "variables": dict(tree.variables),
            "records": reads is not None,
            "learns": virtualenv in self.modules,
        }
        return self._send(request, tree.archive, reads)

    def _send(
        self, request: dict[str, Any], archive: Path, reads: Path | None = None
    ) -> tuple[dict[str, Any], int | None]:
        with self._job() as job:
            with archive.open("rb") as file:
                whole = {**request, "archive": archive.name, "ca": str(self._ca)}
                messages.send(job, whole, file.fileno())
            return answered(job, reads)

    @contextlib.contextmanager
    def _job(self) -> Iterator[socket.socket]:
        """Return the socket of a new job; Failure if the sandbox ends or answers nonsense."""
        try:
            with self._lock:
                if self._control is None:
                    self._control = self._connect()
                ours, its = socket.socketpair()
                with its:
                    messages.send(self._control, {}, its.fileno())
            with ours:
                yield ours
        except (EOFError, ConnectionError):
            raise Failure(BROKEN.format("has ended")) from None
        except (ValueError, KeyError, TypeError):
            raise broken() from None


def answered(job: socket.socket, reads: Path | None = None) -> tuple[dict[str, Any], int | None]:
    """Return a job's answer and file; Failure, with the output, if the job failed."""
    found, file = messages.receive(job)
    try:
        if reads is not None and "reads" in found:
            with reads.open("ab") as recorded:
                names = texts(found["reads"])
                recorded.writelines(os.fsencode(name) + b"\0" for name in names if name)
        if "failure" in found:
            raise Failure(str(found["failure"]), texts(found.get("output", [])))
    except BaseException:
        close(file)
        raise
    return found, file


def texts(value: object) -> list[str]:
    """Return a list of strings; ValueError for anything else."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("not a list of strings")
    return value


def close(file: int | None) -> None:
    """Close a file that came without being expected."""
    if file is not None:
        os.close(file)


def broken() -> Failure:
    """Return the failure of a sandbox that answers nonsense."""
    return Failure(BROKEN.format("gave an answer that makes no sense"))


class Listener:
    """The socket at which a sandbox in a container of its own connects."""

    def __init__(self, folder: Path, start: Callable[[], None]) -> None:
        """Listen in a new folder, which only this account and root may enter.

        `start` asks for the sandbox to be started; it is called when there is a job for it.
        """
        for old in folder.parent.iterdir():  # of builds that needed no sandbox, or were killed
            if old == folder or time.time() - old.stat().st_mtime > 24 * 3600:
                shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(mode=0o700)
        self._start = start
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / "socket"))
        self._socket.listen(1)

    def connect(self) -> socket.socket:
        """Return the connection of the sandbox; Failure if it does not start."""
        self._start()
        self._socket.settimeout(WAIT)
        try:
            connection, _ = self._socket.accept()
        except OSError:
            raise Failure(BROKEN.format(f"did not start within {WAIT:.0f} s")) from None
        self._socket.close()
        connection.settimeout(None)
        return connection
