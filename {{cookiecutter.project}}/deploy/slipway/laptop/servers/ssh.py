"""One ssh connection to a server: OpenSSH with the user's own configuration and keys.

All of a deploy goes through the one connection: commands, scripts with their input, the tunnel
through which the server reaches a port of this machine, and one in the other direction.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Callable, NamedTuple, TextIO

from slipway.laptop.console import Failed

CONNECT_TIMEOUT = 15  # seconds
BEAT = 10  # seconds between two signs of life
SILENCE = 60  # seconds without a sign of life after which a server closes the connection
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
    f' while line=$(timeout {SILENCE} head -n 1); do [ -n "$line" ] || exit 0; done; kill $PPID\''
)

# How a script reports its outcome; a login script may have printed something on the same line.
OUTCOME = re.compile(rb"(.*)slipway outcome=([a-z-]+)\s*", re.S)


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

    def __init__(self, ssh: str, host: str) -> None:
        self.host = host
        self.ssh = words(ssh)
        remove_stale_folders()
        self.folder = tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-", dir=FOLDERS)
        self.control = f"{self.folder}/ssh"
        self.master: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()

    def open(self) -> None:
        """Connect; raise ConnectionFailed with advice if that does not work.

        The connection lasts as long as this process holds its input and shows signs of life, so
        that neither the connection nor its tunnel outlives this process.
        """
        log = Path(self.folder, "log")
        # Without a terminal nobody can be asked for a passphrase.
        batch = () if sys.stdin.isatty() else ("-o", "BatchMode=yes")
        options = ("-M", "-S", self.control, "-o", "ControlPersist=no")
        alive = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6")
        others = ("-o", f"ConnectTimeout={CONNECT_TIMEOUT}", "-o", "ClearAllForwardings=yes")
        try:
            with log.open("w", encoding="utf-8") as output:
                self.master = subprocess.Popen(
                    [*self.ssh, *options, *alive, *others, *batch, "--", self.host, KEEP],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                )
        except FileNotFoundError:
            raise ConnectionFailed(
                f"{self.ssh[0]} is not installed. Install OpenSSH's client, or set SSH."
            ) from None
        threading.Thread(target=self._beat, daemon=True).start()
        assert self.master.stdout
        lines = iter(self.master.stdout.readline, b"")
        answer = next((line.strip() for line in lines if line.startswith(b"ready ")), None)
        if answer is None:
            self.master.wait()
            raise ConnectionFailed(
                advice(self.host, log.read_text(encoding="utf-8", errors="replace"))
            )
        if answer != b"ready first":
            raise ConnectionFailed(
                f"{self.host}: a login script of this account, such as ~/.bashrc, reads the input"
                " of commands. Change the script so that it does this only in a terminal."
            )

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
        )

    def forward(self, port: int) -> int:
        """Open a tunnel to this machine's loopback port; return the port that the server chose."""
        done = self._control("forward", "-R", _tunnel(port))
        if done.returncode or not done.stdout.strip().isdigit():
            self._check_alive()
            raise ConnectionFailed(
                f"{self.host}: sshd refuses the tunnel. Set AllowTcpForwarding yes in"
                " /etc/ssh/sshd_config there."
            )
        return int(done.stdout)

    def end_forward(self, port: int) -> None:
        """Close the tunnel to this machine's loopback port; never fails."""
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
        done = subprocess.run(
            [*self.ssh, "-G", "--", self.host], capture_output=True, text=True, check=False
        )
        found = [line[9:] for line in done.stdout.splitlines() if line.startswith("hostname ")]
        address = found[0] if found else self.host.rpartition("@")[2]
        return f"[{address}]" if ":" in address else address

    def argv(self, remote: str, *options: str) -> list[str]:
        """Return the command line that runs one command on the server."""
        # OpenSSH uses the first of two values.
        program, rest = self.ssh[:1], self.ssh[1:]
        mine = ("-o", "ClearAllForwardings=yes", "-S", self.control)
        return [*program, *options, *rest, *mine, "--", self.host, remote]

    def ask(self, remote: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the server and return its output."""
        return self._ask(remote, b"")

    def ask_script(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the server and return its output."""
        script = without_comments(text).encode()
        done = self._ask("gzip -dc | sh -s", gzip.compress(script, 9, mtime=0))
        # The server may not have gzip.
        return self._ask("sh -s", script) if "gzip" in done.stderr else done

    def _ask(self, remote: str, sent: bytes) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.argv(remote), capture_output=True, check=False, input=sent)
        out, err = (output.decode("utf-8", "replace") for output in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def through(self, port: int, request: bytes) -> bytes:
        """Send bytes to a loopback port of the server and return the answer."""
        command = [*self.ssh, "-S", self.control, "-W", f"127.0.0.1:{port}", "--", self.host]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin and process.stdout
            try:
                process.stdin.write(request)
                process.stdin.flush()
                return process.stdout.read()
            except BrokenPipeError:
                return b""

    def archive(self, remote: str, files: Iterable[tuple[str, int, IO[bytes]]]) -> tuple[int, str]:
        """Send files, each with its size, as a tar archive to a command on the server.

        Return the command's status, and the last line of its error output.
        """
        with subprocess.Popen(
            self.argv(remote), stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin and process.stderr
            # A command that ends early says why on its error output.
            with contextlib.suppress(OSError), process.stdin as pipe:
                for name, size, content in files:
                    _add_to_archive(pipe, name, size, content)
                pipe.write(bytes(2 * tarfile.BLOCKSIZE))
            output = process.stderr.read().decode("utf-8", "replace").strip()
            return process.wait(), output.splitlines()[-1] if output else "the connection was lost"

    def script(self, text: str, prefix: str = "", *, has_gzip: bool = True) -> Finished:
        """Run a shell script on the server, and show its output as it comes.

        The script travels over the connection's standard input, so that no process list shows it.
        It is compressed, because it is most of what a changed line sends. Status 255 stands for a
        lost connection.
        """
        sent = without_comments(text).encode()
        outcomes: list[str] = []

        def shown(line: bytes) -> bytes:
            found = OUTCOME.fullmatch(line)
            if not found:
                return line
            outcomes.append(found[2].decode())
            return found[1] and found[1] + b"\n"

        with subprocess.Popen(
            self.argv("gzip -dc | sh -s" if has_gzip else "sh -s"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin and process.stdout and process.stderr
            threads = [
                threading.Thread(target=_show, args=(process.stdout, sys.stdout, prefix, shown)),
                threading.Thread(target=_show, args=(process.stderr, sys.stderr, prefix, bytes)),
            ]
            for thread in threads:
                thread.start()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(gzip.compress(sent, 9, mtime=0) if has_gzip else sent)
                process.stdin.close()
            for thread in threads:
                thread.join()
            return Finished(process.wait(), outcomes[0] if outcomes else "")


def _add_to_archive(target: IO[bytes], name: str, size: int, content: IO[bytes]) -> None:
    # A TarFile fills an archive up to 10 kB, which is more than a changed line needs.
    entry = tarfile.TarInfo(name)
    entry.size = size
    target.write(entry.tobuf())
    shutil.copyfileobj(content, target)
    target.write(bytes(-size % tarfile.BLOCKSIZE))


def _tunnel(port: int) -> str:
    # The server chooses the port at its end.
    return f"127.0.0.1:0:127.0.0.1:{port}"


def _show(source: IO[bytes], target: TextIO, prefix: str, shown: Callable[[bytes], bytes]) -> None:
    for line in map(shown, source):
        if line:
            # In one piece, because other servers' output may come at the same time.
            target.write(prefix + line.decode("utf-8", "replace"))
            target.flush()


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
