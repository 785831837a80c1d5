"""One ssh connection to a server: OpenSSH with the user's own configuration and keys.

All of a deploy goes through the one connection: commands, scripts with their input, the tunnel
through which the server reaches a port of this machine, and one in the other direction.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import os
import re
import selectors
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Callable, NamedTuple, NoReturn, TextIO

from slipway.laptop.console import Failed, visible

CONNECT_TIMEOUT = 15  # seconds
BEAT = 10  # seconds between two signs of life
CUT_OFF = 60  # seconds without a sign of life after which a server closes the connection
# Limits for what a server answers, which may be broken or hostile.
LARGEST = 3_000_000  # bytes of an answer
LONGEST = 8192  # bytes of a line that is shown; the rest of it is left out
SILENCE = 120  # seconds without a byte, in either direction
TYPING = 600  # seconds for a person to type a passphrase
ENDLESS = float("inf")
TRANSFER = 1800  # seconds of silence in which a server unpacks what it has received
FOLDERS = "/tmp"  # a control socket's path has about 100 bytes at the most

# What OpenSSH prints, and what to do about it; the first match counts.
SSH_ADVICE = (
    (
        "remote host identification has changed",
        "its host key has changed. If you expected that, run ssh-keygen -R {host}, then ssh {host}"
        " once. If not, somebody may be intercepting the connection.",
    ),
    (
        "host key verification failed",
        'unknown host key. Run "ssh {host}" once to check and accept it.',
    ),
    (
        "permission denied",
        "it refuses your key. Add the key to authorized_keys there, or name it in ~/.ssh/config.",
    ),
    (
        "could not resolve",
        "there is no such host. Set DEPLOY_HOST to user@server or to a host of ~/.ssh/config.",
    ),
    (
        "connection refused",
        "no ssh server listens there. Check that sshd is running, and on which port.",
    ),
    ("timed out", "it does not answer. Check that it is up, and that its firewall allows ssh."),
    ("no route to host", "no route to it. Check that the server and your network are up."),
    ("network is unreachable", "no route to it. Check that your network is up."),
    (
        "too many authentication failures",
        "too many keys were offered to it. Set IdentitiesOnly yes in ~/.ssh/config.",
    ),
    ("connection closed", "it closed the connection at once. See the log of its sshd."),
    ("connection reset", "it closed the connection at once. See the log of its sshd."),
)


# What the connection itself runs on the server. It ends when this process ends. When this process
# is silent, it ends sshd's process with all tunnels, which would otherwise wait for a vanished
# laptop for hours. (A login script may have printed a line without an end, or have read the input.)
KEEP = (
    "exec sh -c 'read -r first; echo; echo ready $first;"
    " command -v timeout >/dev/null || exec cat >/dev/null;"
    f' while line=$(timeout {CUT_OFF} head -n 1); do [ -n "$line" ] || exit 0; done; kill $PPID\''
)

# How a script reports its outcome; a login script may have printed something on the same line.
SIGN = b"slipway outcome="
OUTCOME = re.compile(rb"[a-z-]{1,40}")

# What to do about a server that is silent or prints without an end.
ASKED = "Check whether docker or a login script of the account hangs there. Nothing was changed."
AT_WORK = "The server finishes by itself. Run make status or make status-venv to see what runs."


class ConnectionFailed(Failed):
    """A server on which nothing can be done; the message says what to do."""


class Finished(NamedTuple):
    """How a script on a server ended."""

    status: int
    outcome: str  # the first that it reported; empty if it reported none


def advice(host: str, output: str) -> str:
    """Return one line that says what to do about ssh's output."""
    for sign, problem in SSH_ADVICE:
        if sign in output.lower():
            return f"cannot reach {host}: {problem.format(host=host)}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"cannot reach {host}: {lines[-1] if lines else 'ssh failed without a message'}"


def words(ssh: str) -> list[str]:
    """Return the ssh command, without a RemoteCommand or RequestTTY of the user's configuration.

    Those are meant for working by hand.
    """
    return [*shlex.split(ssh), "-o", "RemoteCommand=none", "-o", "RequestTTY=no"]


class Connection:
    """One multiplexed ssh connection to a server, closed with all its forwards at the end."""

    silence: float = SILENCE

    def __init__(self, ssh: str, host: str) -> None:
        self.host = host
        self.ssh = words(ssh)
        remove_stale_folders()
        self.folder = tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-", dir=FOLDERS)
        self.control = f"{self.folder}/ssh"
        self.master: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._begun = threading.Event()  # the server has answered, or the connection has ended
        self._answer: bytes | None = None
        self._problem: ConnectionFailed | None = None
        self._errors = b""  # the beginning of what ssh itself printed

    def open(self) -> None:
        """Connect; raise ConnectionFailed with advice if that does not work.

        The connection lasts as long as this process holds its input and shows signs of life, so
        that neither the connection nor its tunnel outlives this process.
        """
        # Without a terminal nobody can be asked for a passphrase.
        batch = () if sys.stdin.isatty() else ("-o", "BatchMode=yes")
        options = ("-M", "-S", self.control, "-o", "ControlPersist=no")
        alive = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6")
        others = ("-o", f"ConnectTimeout={CONNECT_TIMEOUT}", "-o", "ClearAllForwardings=yes")
        try:
            self.master = subprocess.Popen(
                [*self.ssh, *options, *alive, *others, *batch, "--", self.host, KEEP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            raise ConnectionFailed(
                f"{self.ssh[0]} is not installed. Install OpenSSH's client, or set SSH."
            ) from None
        threading.Thread(target=self._beat, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()
        limit = self.silence if batch else TYPING
        if not self._begun.wait(limit):
            self.master.kill()
            raise ConnectionFailed(
                f"cannot reach {self.host}: it has not answered for {limit} s. {ASKED}"
            )
        if self._problem:
            raise self._problem
        if self._answer is None:
            self.master.wait()
            output = self._errors.decode("utf-8", "replace")
            raise ConnectionFailed(advice(self.host, output))
        if self._answer != b"ready first":
            raise ConnectionFailed(
                f"{self.host}: a login script of this account, such as ~/.bashrc, reads the input"
                " of commands. Change the script so that it does this only in a terminal."
            )

    def _listen(self) -> None:
        """Read all that the connection itself prints, and keep the little that is needed."""
        assert self.master

        def read(line: bytes) -> None:
            if self._answer is None and line.startswith(b"ready "):
                self._answer = line.strip()
                self._begun.set()

        def keep(data: bytes) -> None:
            self._errors += data[: LONGEST - len(self._errors)]

        lines = _Lines(read)
        try:
            self._exchange(self.master, (), lines.add, keep, silence=ENDLESS)
        except ConnectionFailed as problem:
            self._problem = problem
        self._begun.set()

    def _beat(self) -> None:
        assert self.master and self.master.stdin
        with contextlib.suppress(OSError, ValueError):  # the connection has ended
            self.master.stdin.write(b"first\nsecond\n")
            self.master.stdin.flush()
            while not self._closing.wait(BEAT):
                self.master.stdin.write(b"alive\n")
                self.master.stdin.flush()

    def close(self) -> None:
        """Close the connection and its tunnel; never fails."""
        self._closing.set()
        if self.master and self.master.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.master.stdin.close()
            try:
                self.master.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.master.kill()
                self.master.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Without the user's configuration, whose forwards would be requested as well. The last -F
        # counts.
        return subprocess.run(
            [*self.ssh, "-F", "none", "-S", self.control, "-O", *arguments, "--", self.host],
            capture_output=True,
            text=True,
            check=False,
            timeout=self.silence,
        )

    def forward(self, port: int) -> int:
        """Open a tunnel to this machine's loopback port; return the port that the server chose."""
        try:
            chosen = self._control("forward", "-R", _tunnel(port)).stdout.strip()
        except subprocess.TimeoutExpired:
            raise ConnectionFailed(
                f"{self.host}: sshd has not answered for {self.silence:g} s. Nothing was changed."
            ) from None
        if not re.fullmatch("[0-9]{1,5}", chosen) or not 0 < int(chosen) < 65536:
            self._check_alive()
            raise ConnectionFailed(
                f"{self.host}: sshd refuses the tunnel. Set AllowTcpForwarding yes in"
                " /etc/ssh/sshd_config there."
            )
        return int(chosen)

    def end_forward(self, port: int) -> None:
        """Close the tunnel to this machine's loopback port; never fails."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._control("cancel", "-R", _tunnel(port))

    def _check_alive(self) -> None:
        # A connection that was just lost ends in a moment.
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.master and self.master.wait(timeout=1) is not None:
                raise ConnectionFailed(
                    f"{self.host}: the connection was lost. Nothing was changed. Run it again."
                )

    def address(self) -> str:
        """Return the server's name for a URL, according to OpenSSH's configuration."""
        command = [*self.ssh, "-G", "--", self.host]
        output = ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.silence)
            output = done.stdout
        found = [line[9:] for line in output.splitlines() if line.startswith("hostname ")]
        address = found[0] if found else self.host.rpartition("@")[2]
        return f"[{address}]" if ":" in address else address

    def argv(self, remote: str, *options: str) -> list[str]:
        """Return the command line that runs one command on the server."""
        # OpenSSH uses the first of two values.
        program, rest = self.ssh[:1], self.ssh[1:]
        mine = ("-o", "ClearAllForwardings=yes", "-S", self.control)
        return [*program, *options, *rest, *mine, "--", self.host, remote]

    def _exchange(
        self,
        process: subprocess.Popen[bytes],
        sent: Iterable[bytes],
        out: Callable[[bytes], object],
        err: Callable[[bytes], object],
        *,
        silence: float = 0,
        largest: float = LARGEST,
        advice: str = ASKED,
        sign: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Send to a process, and pass on what it prints, until it prints no more.

        Raise ConnectionFailed and end the process if it is silent for too long (SILENCE seconds by
        default) or prints too much. sign returns the moment of another sign of life.
        """
        assert process.stdout and process.stderr
        silence = silence or self.silence
        pieces, last, count = filter(None, sent), time.monotonic(), 0
        rest: bytes | None = b""
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ, out)
            waiting.register(process.stderr, selectors.EVENT_READ, err)
            open_ones = 2
            if process.stdin and sent != ():
                os.set_blocking(process.stdin.fileno(), False)
                waiting.register(process.stdin, selectors.EVENT_WRITE)
            while open_ones:
                left = max(last + silence - time.monotonic(), 0)
                ready = waiting.select(None if left == ENDLESS else left)
                if not ready:
                    last = max(last, sign())
                    if time.monotonic() >= last + silence:
                        self._end(process, f"it has not answered for {silence:g} s. {advice}")
                    continue
                last = time.monotonic()
                for key, _ in ready:
                    if key.fileobj is process.stdin:
                        piece = rest or next(pieces, b"")
                        rest = _written(key.fd, piece) if piece else None
                        if rest is None:
                            waiting.unregister(process.stdin)
                            process.stdin.close()
                        continue
                    data = os.read(key.fd, 65536)
                    if not data:
                        waiting.unregister(key.fileobj)
                        open_ones -= 1
                        continue
                    count += len(data)
                    if count > largest:
                        size = f"{largest / 1e6:g} MB"
                        self._end(process, f"it has printed more than {size}. {advice}")
                    key.data(data)

    def _end(self, process: subprocess.Popen[bytes], problem: str) -> NoReturn:
        process.kill()
        raise ConnectionFailed(f"{self.host}: {problem}")

    def ask(
        self,
        remote: str,
        *,
        sent: bytes = b"",
        silence: float = 0,
        largest: int = LARGEST,
        sign: Callable[[], float] = lambda: 0.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the server and return its output; see _exchange for the limits.

        sent is the command's input.
        """
        return self._ask(self.argv(remote), sent, silence=silence, largest=largest, sign=sign)

    def ask_script(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the server and return its output."""
        script = without_comments(text).encode()
        done = self._ask(self.argv("gzip -dc | sh -s"), gzip.compress(script, 9, mtime=0))
        # The server may not have gzip.
        return self._ask(self.argv("sh -s"), script) if "gzip" in done.stderr else done

    def _ask(
        self, command: list[str], sent: bytes, **limits: Any
    ) -> subprocess.CompletedProcess[str]:
        out, err = bytearray(), bytearray()
        with _started(command) as process:
            self._exchange(process, (sent,), out.extend, err.extend, **limits)
            status = process.wait()
        text, errors = (each.decode("utf-8", "replace") for each in (out, err))
        return subprocess.CompletedProcess(command, status, text, errors)

    def through(self, port: int, request: bytes) -> bytes:
        """Send bytes to a loopback port of the server and return the answer."""
        command = [*self.ssh, "-S", self.control, "-W", f"127.0.0.1:{port}", "--", self.host]
        answer = bytearray()
        with _started(command) as process:
            # Its input stays open, because its end would end the connection before the answer.
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(request)
                process.stdin.flush()
            self._exchange(process, (), answer.extend, bytes)
        return bytes(answer)

    def archive(self, remote: str, files: Iterable[tuple[str, int, IO[bytes]]]) -> tuple[int, str]:
        """Send files, each with its size, as a tar archive to a command on the server.

        Return the command's status, and the last line of its error output.
        """
        errors = bytearray()
        with _started(self.argv(remote)) as process:
            # A command that ends early says why on its error output.
            sent = _tar_archive(files)
            self._exchange(process, sent, bytes, errors.extend, silence=TRANSFER)
            lines = errors.decode("utf-8", "replace").strip().splitlines()
            return process.wait(), lines[-1][:500] if lines else "the connection was lost"

    def script(
        self, text: str, prefix: str = "", *, has_gzip: bool = True, silence: float = 0
    ) -> Finished:
        """Run a shell script on the server, and show its output as it comes.

        The script travels over the connection's standard input, so that no process list shows it.
        It is compressed, because it is most of what a changed line sends. Status 255 stands for a
        lost connection.
        """
        sent = without_comments(text).encode()
        outcome = ""

        def show(line: bytes, target: TextIO) -> None:
            nonlocal outcome
            before, sign, word = line.rpartition(SIGN)
            if target is sys.stdout and sign and OUTCOME.fullmatch(word.strip()):
                outcome = outcome or word.strip().decode()
                line = before and before + b"\n"
            if line:
                # In one piece, because other servers' output may come at the same time.
                target.write(visible(prefix + line.decode("utf-8", "replace")))
                target.flush()

        out = _Lines(lambda line: show(line, sys.stdout))
        err = _Lines(lambda line: show(line, sys.stderr))
        with _started(self.argv("gzip -dc | sh -s" if has_gzip else "sh -s")) as process:
            packed = gzip.compress(sent, 9, mtime=0) if has_gzip else sent
            self._exchange(process, (packed,), out.add, err.add, silence=silence, advice=AT_WORK)
            out.end()
            err.end()
            return Finished(process.wait(), outcome)

    def show(
        self,
        remote: str,
        *,
        silence: float = ENDLESS,
        sign: Callable[[], float] = lambda: 0.0,
        begin: bytes = b"",
        sent: bytes = b"",
        has_input: bool = False,
    ) -> int:
        """Run a command on the server and show its output; return its exit status.

        A terminal gets no control character of it; a file or pipe gets every byte as it comes.
        Nothing is shown before the line `begin`. The command's input is `sent`, or that of this
        process with has_input.
        """
        stdin = None if has_input else subprocess.PIPE
        out, err = Copy(sys.stdout, begin), Copy(sys.stderr)
        with _started(self.argv(remote), stdin) as process:
            self._exchange(
                process,
                () if has_input else (sent,),
                out.add,
                err.add,
                silence=silence,
                largest=ENDLESS,
                sign=sign,
            )
            return process.wait()


def _started(command: list[str], stdin: int | None = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class _Lines:
    """Joins pieces of output to lines, and passes on the beginning of each."""

    def __init__(self, use: Callable[[bytes], object]) -> None:
        self._use = use
        self._line = b""

    def add(self, data: bytes) -> None:
        """Read the next piece."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._keep(line)
            self._use(self._line + b"\n")
            self._line = b""
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        self._line += piece[: LONGEST - len(self._line)]

    def end(self) -> None:
        """Pass on a last line that has no end."""
        if self._line:
            self._use(self._line)


class Copy:
    """Writes output to a stream of this process as it comes."""

    def __init__(self, target: TextIO, begin: bytes = b"") -> None:
        self._target = target
        self._begin = begin
        self._before = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, data: bytes) -> None:
        """Write the next piece."""
        if self._begin:
            data = self._before + data
            before, found, data = data.partition(b"\n" + self._begin + b"\n")
            if not found:
                self._before = before[-LONGEST:]
                return
            self._begin = b""
        if self._target.isatty():
            self._target.write(visible(self._decoder.decode(data)))
        else:
            self._target.buffer.write(data)
        self._target.flush()


def _written(descriptor: int, data: bytes) -> bytes | None:
    """Write as much as there is room for; return the rest, or None if nobody reads it."""
    try:
        return data[os.write(descriptor, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:  # the process has ended, and its output says why
        return None


def _tar_archive(files: Iterable[tuple[str, int, IO[bytes]]]) -> Iterator[bytes]:
    # A TarFile fills an archive up to 10 kB, which is more than a changed line needs.
    with contextlib.suppress(OSError):  # a file that cannot be read: the archive ends too early
        for name, size, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = size
            yield entry.tobuf()
            while piece := content.read(65536):
                yield piece
            yield bytes(-size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)


def _tunnel(port: int) -> str:
    # The server chooses the port at its end.
    return f"127.0.0.1:0:127.0.0.1:{port}"


def without_comments(script: str) -> str:
    """Return a shell script without its comment lines."""
    return re.sub(r"(?m)^ *#.*\n", "", script)


def _prefix() -> str:
    return f"deploy-{os.getuid()}-"


def remove_stale_folders() -> None:
    """Remove the folders of killed processes of this account."""
    for folder in Path(FOLDERS).glob(f"{_prefix()}*-*"):
        pid = folder.name[len(_prefix()) :].partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def connected(ssh: str, host: str) -> Iterator[Connection]:
    """Open a connection, and close it at the end of the block."""
    connection = Connection(ssh, host)
    try:
        connection.open()
        yield connection
    finally:
        connection.close()
