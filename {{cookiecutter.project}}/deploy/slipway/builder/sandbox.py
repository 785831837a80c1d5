"""The sandbox: it runs the code of back ends and of source distributions, and nothing else does.

It is a container of its own, without the store, the project, the wheelhouse and the network. Only
the sandbox that a lock is made in has a network, and BUILD_NETWORK=yes asks for one. The builder
connects to it (sandbox_client.py) and sends jobs, each through a socket of its own:

    virtualenv    make a virtualenv of the wheels that follow, an open file each
    hook          unpack a source, call its back end, and return its answer or its wheel
    lock          run pip-compile on a source, and return the lock

The server is root of the container. A job's code has an account that no other job has, no
capabilities and no folder that another account can write to. When the job has ended, its processes
are ended and its files removed. The virtualenvs belong to root, so that one job cannot change what
the next one runs.

Without a container of its own (the builder image used by hand, and `make venv`) the same server is
a process beside the builder. By hand it uses other accounts as well; `make venv` has none.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import operator
import os
import re
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from slipway.builder import bytecode, messages, source_tree, wheelhouse
from slipway.builder.errors import Failure
from slipway.builder.run_tool import compile_lock
from slipway.image.run import wheel_installer
from slipway.shared import network
from slipway.shared.files import EPOCH

# systemd gives these numbers to services for a moment; people and their files never have them, and
# rootless engines provide them.
FIRST_ACCOUNT, ACCOUNTS = 61200, 3900
# Folders in which every account may leave files.
SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/cache")
ANSWER_LIMIT = 16 << 20  # bytes
RECORD_LIMIT = 1 << 20  # bytes of names of files
CONNECT = 120.0  # seconds
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
# What programs print that look for a host without a network, and what to do then.
UNCONNECTED = re.compile(
    "(?i)name resolution|name or service not known|could not resolve|network is unreachable"
    "|ENOTFOUND|EAI_AGAIN|dns error|no such host"
)
NO_NETWORK = (
    "builder: builds have no network: if this package needs one while it is built, write"
    " BUILD_NETWORK := yes into deploy/settings.mk\n"
)
LISTENER = Path(__file__).with_name("record_file_access.py")


class Server:
    """The sandbox's server, which forks a process for each job."""

    def __init__(self, root: Path, has_accounts: bool, environment: Mapping[str, str]) -> None:
        """Make the folder of virtualenvs and sources; only root's own accounts may be used."""
        self.root = root
        self.has_accounts = has_accounts
        self.environment = dict(environment)
        for name in ("", "virtualenvs", "sources", "jobs"):
            (root / name).mkdir(exist_ok=not name)
            (root / name).chmod(0o711)

    def serve(self, control: socket.socket) -> None:
        """Do jobs until the builder is gone, and end what is left of them then."""
        jobs: list[tuple[int, int | None]] = []
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended processes need no waiting for
        number = 0
        while True:
            try:
                _, file = messages.receive(control)
            except (EOFError, OSError, ValueError):
                break
            if file is None:
                break
            account = FIRST_ACCOUNT + number % ACCOUNTS if self.has_accounts else None
            number += 1
            process = os.fork()
            if not process:
                self._begin(number, account, control, socket.socket(fileno=file))
            os.close(file)
            jobs.append((process, account))
            if number == 1:  # while the first job, a virtualenv as a rule, is at work
                preload()
        for process, account in jobs:
            with contextlib.suppress(OSError):
                os.killpg(process, signal.SIGKILL)
            if account is not None:
                end_all(account)

    def _begin(
        self, number: int, account: int | None, control: socket.socket, own: socket.socket
    ) -> NoReturn:
        """Do one job in this process, and end it."""
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setsid()
            control.close()
            Job(self, number, account, own).work()
            status = 0
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the builder is gone
        except BaseException as problem:
            print(f"builder: the sandbox failed: {problem!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)


class Job:
    """One job, in a process of its own."""

    def __init__(
        self, server: Server, number: int, account: int | None, own: socket.socket
    ) -> None:
        self.server = server
        self.account = account
        self.own = own
        self.folder = server.root / "jobs" / str(number)

    def work(self) -> None:
        """Read the job, do it, and answer."""
        request, archive = messages.receive(self.own)
        if request["job"] == "virtualenv":
            self._virtualenv(request["name"], request["wheels"], archive)
            return
        with self._folders(request["place"]):
            answer, wheel = self._untrusted(request, archive)
        messages.send(self.own, answer, wheel)
        if "modules" in answer:  # the next jobs of this sandbox need not compile them
            compile_modules(
                self.server.root / "virtualenvs" / request["virtualenv"], answer["modules"]
            )

    def _virtualenv(self, name: str, wheels: Sequence[str], bytecode: int | None) -> None:
        place = self.server.root / "virtualenvs" / name
        answer: dict[str, Any] = {}
        with tempfile.TemporaryDirectory(dir=self.server.root / "jobs") as scratch:
            paths = []
            for wheel in wheels:
                _, file = messages.receive(self.own)
                paths.append(Path(scratch, wheel))
                copy(file, paths[-1])
            try:
                make_virtualenv(place, paths, bytecode)
            except Exception as problem:  # whatever a wheel may be that is none
                answer["failure"] = f"{type(problem).__name__}: {problem}"
        messages.send(self.own, answer)

    def _untrusted(
        self, request: Mapping[str, Any], archive: int | None
    ) -> tuple[dict[str, Any], int | None]:
        """Do a job with code of others; return the answer, and the wheel as an open file."""
        source = self.server.root / request["place"]
        packed = self.folder / request["archive"]
        copy(archive, packed)
        try:
            # by root: the folder of the certificates may be readable for its owner alone
            trust = network.trusting(Path(request["ca"]), self.folder)
        except (OSError, ValueError) as problem:
            return {"failure": str(problem)}, None
        environment = {**environment_of(self.server, self.folder), **trust}
        do = hook if request["job"] == "hook" else lock
        try:
            answer = self._as_account(lambda: do(request, source, packed, self.folder, environment))
        finally:
            if self.account is not None:
                end_all(self.account)
        for kind in ("reads", "modules"):
            with contextlib.suppress(OSError):
                with open(open_regular(self.folder / "out" / kind), "rb") as recorded:
                    text = recorded.read(RECORD_LIMIT)
                more = "" if len(text) < RECORD_LIMIT else "\0*"
                answer[kind] = (os.fsdecode(text) + more).split("\0")
        name = answer.get("wheel")
        if not isinstance(name, str):
            return answer, None
        try:
            if not wheelhouse.NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a wheel")
            return answer, open_regular(self.folder / "out" / name)
        except (OSError, ValueError) as problem:
            return {**answer, "failure": f"it left no wheel: {problem}"}, None

    @contextlib.contextmanager
    def _folders(self, place: str) -> Iterator[None]:
        """Make the folders that only this job may enter, and remove all that it leaves."""
        source = self.server.root / place
        self.folder.mkdir(mode=0o711)
        try:
            for folder in (source, *(self.folder / name for name in ("home", "tmp", "out"))):
                self._make(folder)
            yield
        finally:
            shutil.rmtree(source, ignore_errors=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            if self.account is not None:
                remove_left(self.account)

    def _make(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        if self.account is not None:
            os.chown(folder, self.account, self.account)

    def _as_account(self, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the answer of a function that runs in a process of the job's account."""
        reader, writer = os.pipe()
        process = os.fork()
        if not process:
            try:
                os.close(reader)
                self.own.close()
                become(self.account)
                tempfile.tempdir = str(self.folder / "tmp")
                try:
                    answer = do()
                except Failure as problem:
                    answer = {"failure": str(problem), "output": problem.output}
                except (OSError, ValueError) as problem:
                    answer = {"failure": str(problem)}
                with open(writer, "w", encoding="utf-8") as pipe:
                    json.dump(answer, pipe)
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as pipe:
            text = self._read(pipe.fileno())
        _, status = os.waitpid(process, 0)
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(text)
            if isinstance(answer, dict):
                return answer
        return {"failure": f"its process ended with status {status}, without an answer"}

    def _read(self, pipe: int) -> bytes:
        """Return the answer; the job ends when the builder is gone, or sends something more."""
        found = bytearray()
        while True:
            ready, _, _ = select.select([pipe, self.own], [], [])
            if self.own in ready:
                raise EOFError
            block = os.read(pipe, 1 << 20)
            found += block
            if not block or len(found) > ANSWER_LIMIT:
                return bytes(found)


def become(account: int | None) -> None:
    """Switch from root to an account without a name and without groups."""
    os.umask(0o022)  # modes are part of a wheel
    if account is not None:
        os.setgroups([])
        os.setgid(account)
        os.setuid(account)


def end_all(account: int) -> None:
    """End all processes of an account."""
    process = os.fork()
    if not process:
        with contextlib.suppress(OSError):
            become(account)
            for _ in range(500):
                os.kill(-1, signal.SIGKILL)
                if not has_processes(account):
                    break
                time.sleep(0.002)
        os._exit(0)
    wait_for(process)


def has_processes(account: int) -> bool:
    """Return whether an account has processes beside this one."""
    for name in {*os.listdir("/proc")} - {str(os.getpid())}:
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == account:
                return True
    return False


def remove_left(account: int) -> None:
    """Remove the files of an account that are where every account may write."""
    for folder in SHARED:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in list(entries):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_uid != account:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        os.unlink(entry.path)


def copy(file: int | None, place: Path) -> None:
    """Write the content of an open file to a new one."""
    if file is None:
        raise ValueError(f"{place.name} is missing")
    with open(file, "rb") as source, place.open("xb") as target:
        source.seek(0)
        shutil.copyfileobj(source, target, 1 << 20)


def open_regular(path: Path) -> int:
    """Return a file, open for reading; OSError if it is not a regular file."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not os.path.isfile(f"/dev/fd/{file}"):
        os.close(file)
        raise OSError(f"{path.name} is not a regular file")
    return file


def make_virtualenv(place: Path, wheels: Sequence[Path], bytecode: int | None) -> None:
    """Make the virtualenv of a back end, from its wheels, and a zip archive of their bytecode."""
    venv.EnvBuilder(symlinks=True).create(place)
    wheel_installer.into(place, wheels, compiled=False)
    packages = wheel_installer.site_packages(place)
    shutil.copyfile(LISTENER, packages / "_reads.py")
    (packages / "_reads.pth").write_text("import _reads\n", encoding="utf-8")
    if bytecode is not None:
        with open(bytecode, "rb") as file, zipfile.ZipFile(file) as archive:
            archive.extractall(packages)


def compile_modules(virtualenv: Path, names: Sequence[str]) -> None:
    """Write the bytecode of modules of a virtualenv; code of others has named them.

    Nothing outside of the virtualenv is read or written. All in it belongs to root.
    """
    top = os.path.realpath(virtualenv)
    for name in names:
        path = os.path.realpath(os.path.join(top, name))
        if not path.endswith(".py") or os.path.commonpath([top, path]) != top:
            continue
        compiled = importlib.util.cache_from_source(path)
        if not os.path.exists(compiled):
            with contextlib.suppress(OSError):
                bytecode.compile_module(path, compiled, path)


def environment_of(server: Server, folder: Path) -> dict[str, str]:
    """Return the environment of a job: a home, a cache and a name of its own."""
    return {
        **server.environment,
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "home" / ".cache"),
        "TMPDIR": str(folder / "tmp"),
        "USER": "build",
        "LOGNAME": "build",
        # the same source gives the same wheel, byte for byte: all files in it have this time
        "SOURCE_DATE_EPOCH": server.environment.get("SOURCE_DATE_EPOCH", str(EPOCH)),
    }


def hook(
    request: Mapping[str, Any],
    source: Path,
    packed: Path,
    folder: Path,
    environment: dict[str, str],
) -> dict[str, Any]:
    """Unpack a source and call its back end, as the job's account."""
    place = folder.parents[1] / "virtualenvs" / request["virtualenv"]
    for name in network.PIP_SETTINGS:  # the package index's address may have a password
        environment.pop(name, None)
    environment.update(
        PATH=f"{place / 'bin'}:{environment.get('PATH', os.defpath)}",
        VIRTUAL_ENV=str(place),
        **source_tree.compiler_flags(source),
    )
    if request["records"]:
        environment.update(READS_OF=str(source), READS_TO=str(folder / "out" / "reads"))
    if request["learns"]:
        environment.update(MODULES_TO=str(folder / "out" / "modules"))
    environment.update(request["variables"])
    source_tree.unpack(packed, source)
    python = str(place / "bin" / "python")
    try:
        if request["hook"] == "requires":
            ask = operator.methodcaller("get_requires_for_build", "wheel")
            return {"requires": sorted(source_tree.call(ask, source, python, environment))}
        built = source_tree.call(
            lambda tree: tree.build("wheel", folder / "out"), source, python, environment
        )
    except Failure as problem:
        if any(map(UNCONNECTED.search, problem.output)) and not has_network():
            problem.output.append(NO_NETWORK)
        raise
    return {"wheel": os.path.basename(built)}


def has_network() -> bool:
    """Return whether there is a network beside the loopback interface."""
    try:
        return os.listdir("/sys/class/net") != ["lo"]
    except OSError:  # macOS
        return True


def lock(
    request: Mapping[str, Any],
    source: Path,
    packed: Path,
    folder: Path,
    environment: dict[str, str],
) -> dict[str, Any]:
    """Unpack a source and run pip-compile on it, as the job's account."""
    source_tree.unpack(packed, source)
    environment.update(
        PIP_CACHE_DIR=str(folder / "home" / "pip"),
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        **request["variables"],
    )
    if request["limits"]:
        limits = folder / "out" / "build-constraints.txt"
        limits.write_text(request["limits"], encoding="utf-8")
        environment["PIP_BUILD_CONSTRAINT"] = str(limits)
    output = folder / "out" / "lock.txt"
    if request["text"]:
        output.write_text(request["text"], encoding="utf-8")
    compile_lock(source, request["wanted"], output, environment, *request["options"])
    # pip-compile writes no file if there are no requirements
    return {"text": output.read_text(encoding="utf-8") if output.exists() else ""}


def preload() -> None:
    """Import what jobs need, so that not every one of them does."""
    import build  # noqa: F401 (with pip-tools)
    import pip._internal.utils.unpacking  # noqa: F401


def set_up() -> None:
    """Keep what this process starts from becoming root, and from being left to anybody else."""
    os.umask(0o022)
    with contextlib.suppress(OSError, AttributeError):  # macOS
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start_beside(
    has_accounts: bool, environment: Mapping[str, str]
) -> tuple[socket.socket, Callable[[], None]]:
    """Start a server beside this process; return the socket for its jobs, and how to wait for it.

    The server ends when the socket is closed. To be called before there is any thread.
    """
    ours, its = socket.socketpair()
    keep = its.fileno()
    process = os.fork()
    if process:
        its.close()
        return ours, lambda: wait_for(process)
    try:
        ours.close()
        os.closerange(3, keep)
        os.closerange(keep + 1, 65536)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the builder
        set_up()
        with folder_for(has_accounts) as place:
            Server(place, has_accounts, environment).serve(its)
    except BaseException as problem:
        print(f"builder: the sandbox failed: {problem!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(0)


def wait_for(process: int) -> None:
    """Wait for a process to end."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process, 0)


@contextlib.contextmanager
def folder_for(has_accounts: bool) -> Iterator[Path]:
    """Return the new folder of a server: in the image the usual one; compilers record its name."""
    place = Path("/tmp/sandbox")
    try:
        if not has_accounts:
            raise FileExistsError
        place.mkdir()
    except FileExistsError:
        place = Path(tempfile.mkdtemp(prefix="sandbox-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main(folder: Path) -> int:
    """Serve the builder whose socket is in a folder; return the exit status."""

    def end(*_: object) -> NoReturn:
        os._exit(0)

    # The first process of a container would not be ended by it otherwise.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    set_up()
    control = connected(folder / "socket")
    if control is None:
        print("builder: the sandbox found no builder: run this again", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    with folder_for(True) as place:
        Server(place, True, os.environ).serve(control)
    return 0


def connected(path: Path) -> socket.socket | None:
    """Return the connection to a builder that may not listen yet; None if none ever does."""
    until = time.monotonic() + CONNECT
    while time.monotonic() < until:
        control = socket.socket(socket.AF_UNIX)
        try:
            control.connect(str(path))
        except OSError:
            control.close()
            time.sleep(0.02)
        else:
            return control
    return None
