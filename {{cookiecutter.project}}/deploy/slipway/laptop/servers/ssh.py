"""One ssh connection to a server, by OpenSSH itself with the user's own configuration and keys.

Everything that a deploy asks of a server goes through it, multiplexed: commands, scripts with their
input, the tunnel that lets the server see a port of this machine, and one that goes the other way.
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
from typing import IO, TextIO

CONNECT_TIMEOUT = 15  # seconds
BEAT = 10  # seconds between signs of life
SILENCE = 60  # seconds after which a server takes this side for dead
FOLDERS = "/tmp"  # a control socket's path has about 100 bytes at the most

# What OpenSSH says, and what to do about it; the first match counts.
SSH_ADVICE = (
    (
        "remote host identification has changed",
        "its host key is not the one you know: if you expected that, ssh-keygen -R {host}, then"
        " ssh {host} once; if not, somebody may be in between",
    ),
    (
        "host key verification failed",
        "its host key is not known here: connect once by hand to check and accept it: ssh {host}",
    ),
    (
        "permission denied",
        "it refuses your key: add the key to authorized_keys there, or name it in ~/.ssh/config",
    ),
    (
        "could not resolve",
        "there is no such host: set DEPLOY_HOST to user@server or a host of ~/.ssh/config",
    ),
    ("connection refused", "nothing listens for ssh there: is sshd running, and on which port?"),
    ("timed out", "it does not answer: is it up, and does its firewall let ssh in?"),
    ("no route to host", "it cannot be reached: is it up, and is your network?"),
    ("network is unreachable", "it cannot be reached: is your network up?"),
    ("too many authentication failures", "it was offered too many keys: set IdentitiesOnly yes"),
    ("connection closed", "it closed the connection at once: see its sshd's log"),
    ("connection reset", "it closed the connection at once: see its sshd's log"),
)


# What the connection itself runs: it ends when this side ends, and when this side is silent it ends
# sshd's process with all its tunnels, which would else wait for a vanished laptop for hours. (A
# login script may have printed something before, and not ended its line, or read what is sent.)
KEEP = (
    "exec sh -c 'read -r first; echo; echo ready $first;"
    " command -v timeout >/dev/null || exec cat >/dev/null;"
    f' while line=$(timeout {SILENCE} head -n 1); do [ -n "$line" ] || exit 0; done; kill $PPID\''
)


class ConnectionFailed(Exception):
    """A server that cannot be worked on; the message says what to do, and nothing was changed."""


def advice(host: str, said: str) -> str:
    """Turn what ssh said into one line that says what to do."""
    for sign, say in SSH_ADVICE:
        if sign in said.lower():
            return f"{host}: {say.format(host=host)}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{host}: {lines[-1] if lines else 'ssh failed without a word'}"


class Connection:
    """One multiplexed ssh connection to a server, closed with all its forwards at the end."""

    def __init__(self, ssh: str, host: str) -> None:
        self.host = host
        # a user's own RemoteCommand or RequestTTY for this host is for working by hand
        plain = ("-o", "RemoteCommand=none", "-o", "RequestTTY=no")
        self.ssh = [*shlex.split(ssh), *plain]
        remove_stale_folders()
        self.folder = tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-", dir=FOLDERS)
        self.control = f"{self.folder}/ssh"
        self.master: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()

    def open(self) -> None:
        """Connect; ConnectionFailed says in words why that does not work.

        The connection lasts for as long as this process holds its input and shows signs of life,
        so that nothing of it, the tunnel least of all, outlives this process, however it ends.
        """
        log = Path(self.folder, "log")
        # without a terminal there is nobody to ask for a passphrase
        batch = () if sys.stdin.isatty() else ("-o", "BatchMode=yes")
        options = ("-M", "-S", self.control, "-o", "ControlPersist=no")
        alive = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6")
        others = ("-o", f"ConnectTimeout={CONNECT_TIMEOUT}", "-o", "ClearAllForwardings=yes")
        try:
            with log.open("w", encoding="utf-8") as said:
                self.master = subprocess.Popen(
                    [*self.ssh, *options, *alive, *others, *batch, "--", self.host, KEEP],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                )
        except FileNotFoundError:
            raise ConnectionFailed(
                f"{self.ssh[0]} is not installed: install OpenSSH's client, or set SSH"
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
                f"{self.host}: a login script of this account, as ~/.bashrc, reads what is meant"
                " for what it starts: let it do so where there is a terminal only"
            )

    def _beat(self) -> None:
        assert self.master and self.master.stdin
        with contextlib.suppress(OSError, ValueError):  # it has ended
            self.master.stdin.write(b"first\nsecond\n")
            self.master.stdin.flush()
            while not self._closing.wait(BEAT):
                self.master.stdin.write(b"alive\n")
                self.master.stdin.flush()

    def close(self) -> None:
        """End the connection and the tunnel with it; never fails."""
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
        # without a configuration, whose own forwards would be asked for as well; the last -F counts
        return subprocess.run(
            [*self.ssh, "-F", "none", "-S", self.control, "-O", *arguments, "--", self.host],
            capture_output=True,
            text=True,
            check=False,
        )

    def forward(self, port: int) -> int:
        """Let the server see this machine's loopback port; gives the port that it chose."""
        done = self._control("forward", "-R", f"127.0.0.1:0:127.0.0.1:{port}")
        if done.returncode or not done.stdout.strip().isdigit():
            self._must_last()
            raise ConnectionFailed(
                f"{self.host}: sshd refuses the tunnel: set AllowTcpForwarding yes in its"
                " /etc/ssh/sshd_config"
            )
        return int(done.stdout)

    def _must_last(self) -> None:
        # one that was just cut off ends in a moment
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.master and self.master.wait(timeout=1) is not None:
                raise ConnectionFailed(
                    f"{self.host}: the connection was lost; nothing was changed: run it again"
                )

    def address(self) -> str:
        """Give the server's own name for a URL, as OpenSSH's configuration has it for this host."""
        done = subprocess.run(
            [*self.ssh, "-G", "--", self.host], capture_output=True, text=True, check=False
        )
        found = [line[9:] for line in done.stdout.splitlines() if line.startswith("hostname ")]
        address = found[0] if found else self.host.rpartition("@")[2]
        return f"[{address}]" if ":" in address else address

    def argv(self, remote: str, *options: str) -> list[str]:
        """Give the command line that runs one command on the server."""
        # the first of two values counts for OpenSSH
        program, rest = self.ssh[:1], self.ssh[1:]
        mine = ("-o", "ClearAllForwardings=yes", "-S", self.control)
        return [*program, *options, *rest, *mine, "--", self.host, remote]

    def ask(self, remote: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the server and catch what it says."""
        return self._ask(remote, b"")

    def ask_script(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the server, which prints something, and catch that."""
        script = without_comments(text).encode()
        done = self._ask("gzip -dc | sh -s", gzip.compress(script, 9, mtime=0))
        # a server may have no gzip
        return self._ask("sh -s", script) if "gzip" in done.stderr else done

    def _ask(self, remote: str, sent: bytes) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.argv(remote), capture_output=True, check=False, input=sent)
        out, err = (said.decode("utf-8", "replace") for said in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def through(self, port: int, request: bytes) -> bytes:
        """Send bytes to a loopback port of the server and give the answer."""
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

        Gives the command's status, and the last line of what it said.
        """
        with subprocess.Popen(
            self.argv(remote), stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin and process.stderr
            # one that ends before says why; one that is not sent all of it, too
            pipe = process.stdin
            with (
                contextlib.suppress(OSError),
                pipe,
                tarfile.open(fileobj=pipe, mode="w|") as archive,
            ):
                for name, size, content in files:
                    entry = tarfile.TarInfo(name)
                    entry.size = size
                    archive.addfile(entry, content)
            said = process.stderr.read().decode("utf-8", "replace").strip()
            return process.wait(), said.splitlines()[-1] if said else "the connection was lost"

    def script(self, text: str, prefix: str = "", *, has_gzip: bool = True) -> int:
        """Run a shell script on the server, and show what it says as it comes; gives its status.

        It travels over the connection's standard input: no process list shows it. Compressed, for
        it is most of what a changed line sends otherwise. 255 stands for a lost connection.
        """
        sent = without_comments(text).encode()
        with subprocess.Popen(
            self.argv("gzip -dc | sh -s" if has_gzip else "sh -s"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin and process.stdout and process.stderr
            pairs = ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
            threads = [threading.Thread(target=_show, args=(*pair, prefix)) for pair in pairs]
            for thread in threads:
                thread.start()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(gzip.compress(sent, 9, mtime=0) if has_gzip else sent)
                process.stdin.close()
            for thread in threads:
                thread.join()
            return process.wait()


def _show(source: IO[bytes], target: TextIO, prefix: str) -> None:
    for line in source:
        # in one piece: other servers may be spoken of at the same time
        target.write(prefix + line.decode("utf-8", "replace"))
        target.flush()


def without_comments(script: str) -> str:
    """Leave out a shell script's comment lines."""
    return re.sub(r"(?m)^ *#.*\n", "", script)


def assignments(variables: dict[str, str]) -> str:
    """Write variables as lines of a shell script; any characters are only characters."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())


def _prefix() -> str:
    return f"deploy-{os.getuid()}-"


def remove_stale_folders() -> None:
    """Remove what processes of this account left that were killed."""
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
    """Open a connection for the length of a block."""
    connection = Connection(ssh, host)
    try:
        connection.open()
        yield connection
    finally:
        connection.close()
