"""The ssh connection: what is said when there is none, and what is left of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.servers import ssh
from tests.unit.conftest import Program, closed_port


def refusal(command: str, host: str) -> str:
    """Connect with the real ssh, which must fail; gives what is said of it."""
    with pytest.raises(ssh.ConnectionFailed) as refused, ssh.connected(command, host):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def listener() -> Iterator[Callable[[bytes | None], int]]:
    """Listen on a port; say a word to whoever connects and hang up, or stay silent for None."""
    servers: list[socket.socket] = []
    connections: list[socket.socket] = []

    def start(word: bytes | None) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer() -> None:
            while True:
                try:
                    connections.append(server.accept()[0])
                except OSError:
                    return
                if word is not None:
                    connections[-1].sendall(word)
                    connections[-1].shutdown(socket.SHUT_RDWR)

        threading.Thread(target=answer, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for each in (*servers, *connections):
        each.close()


# No configuration but this: a user's own would count otherwise.
SSH = "ssh -F /dev/null"


def test_a_closed_port_asks_whether_sshd_runs() -> None:
    """What the real ssh says is understood."""
    said = refusal(f"{SSH} -p {closed_port()}", "me@127.0.0.1")
    assert said == "me@127.0.0.1: " + (
        "nothing listens for ssh there: is sshd running, and on which port?"
    )


def test_an_unknown_host_asks_for_another() -> None:
    """The setting to change is named."""
    said = refusal(SSH, "me@no-such-host.invalid")
    assert said.startswith("me@no-such-host.invalid: there is no such host: set DEPLOY_HOST to")


def test_a_server_that_hangs_up_points_to_its_log(listener: Callable[[bytes], int]) -> None:
    """As sshd does to an address that it has had enough of."""
    said = refusal(f"{SSH} -p {listener(b'')}", "127.0.0.1")
    assert said == "127.0.0.1: it closed the connection at once: see its sshd's log"


def test_a_silent_server_asks_whether_it_is_up(listener: Callable[[None], int]) -> None:
    """A user's own ConnectTimeout counts."""
    said = refusal(f"{SSH} -o ConnectTimeout=1 -p {listener(None)}", "127.0.0.1")
    assert said == "127.0.0.1: it does not answer: is it up, and does its firewall let ssh in?"


def test_a_missing_configuration_is_said_as_ssh_says_it(tmp_path: Path) -> None:
    """What is not foreseen is shown in ssh's own words."""
    said = refusal(f"ssh -F {tmp_path}/config", "server")
    assert (
        said == f"server: Can't open user config file {tmp_path}/config: No such file or directory"
    )


def test_a_missing_ssh_says_what_to_install(tmp_path: Path) -> None:
    """Nobody is shown a traceback for a program that is not there."""
    said = refusal(f"{tmp_path}/ssh -v", "server")
    assert said == f"{tmp_path}/ssh is not installed: install OpenSSH's client, or set SSH"


@pytest.mark.parametrize("host", ["-oProxyCommand=touch made", "x@-oProxyCommand=touch made"])
def test_a_host_is_never_an_option(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even past all checks of settings, ssh is not handed an option."""
    monkeypatch.chdir(tmp_path)
    refusal(SSH, host)
    assert os.listdir(tmp_path) == []


def test_a_tunnel_that_is_cut_off_is_not_called_forbidden(program: Program) -> None:
    """When the connection is there it is sshd that refuses."""
    fake = program(
        "ssh",
        'for last; do :; done\n[ "$last" = server ] && exit 255\n'
        'echo ready first; [ "$CUT" ] || sleep 5',
    )
    for cut, says in (("yes", "the connection was lost"), ("", "sshd refuses the tunnel")):
        with (
            ssh.connected(f"env CUT={cut} {fake}", "server") as connection,
            pytest.raises(ssh.ConnectionFailed, match=says),
        ):
            connection.forward(5051)


@pytest.mark.parametrize("reads", ["read -r line", "head -c 2 >/dev/null"])
def test_a_login_script_that_reads_what_is_sent_is_said(program: Program, reads: str) -> None:
    """It would take the beginning of a script, and the rest of that would do something else."""
    fake = program("ssh", f'{reads}\nfor last; do :; done\nexec sh -c "$last"')
    said = refusal(str(fake), "server")
    assert said.startswith("server: a login script of this account, as ~/.bashrc, reads what")


@pytest.mark.parametrize(
    ("name", "url"), [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "[2001:db8::1]")]
)
def test_an_address_is_as_a_url_has_it(program: Program, name: str, url: str) -> None:
    """IPv6 in brackets."""
    fake = program("ssh", f"echo user me; echo hostname {name}")
    connection = ssh.Connection(str(fake), "server")
    assert connection.address() == url
    connection.close()


def test_nothing_of_a_connection_is_left(listener: Callable[[bytes], int]) -> None:
    """No socket, no folder, no process, whether it worked or not."""
    connection = ssh.Connection(f"{SSH} -p {listener(b'')}", "127.0.0.1")
    with pytest.raises(ssh.ConnectionFailed):
        connection.open()
    connection.close()
    assert not os.path.exists(connection.folder)
    assert connection.master.returncode == 255


# Word for word what OpenSSH 9 says; the servers for these are the container tests' part.
@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@\n"
            "Offending ED25519 key in /home/me/.ssh/known_hosts:3\n"
            "Host key verification failed.\n",
            "its host key is not the one you know: if you expected that, ssh-keygen -R me@server",
        ),
        (
            "No ED25519 host key is known for server and you have requested strict checking.\n"
            "Host key verification failed.\n",
            "its host key is not known here: connect once by hand to check and accept it:"
            " ssh me@server",
        ),
        ("me@server: Permission denied (publickey).\n", "it refuses your key: add the key to"),
        (
            "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures\n"
            "Disconnected from 192.0.2.1 port 22\n",
            "it was offered too many keys: set IdentitiesOnly yes",
        ),
        ("ssh: connect to host server port 22: No route to host\n", "it cannot be reached"),
        ("ssh: connect to host server port 22: Network is unreachable\n", "it cannot be reached"),
        ("ssh: connect to host server port 22: Connection timed out\n", "it does not answer"),
        ("ssh: connect to host server port 22: Operation timed out\n", "it does not answer"),
        ("Connection reset by 192.0.2.1 port 22\n", "it closed the connection at once"),
        ("a warning\n\nBad owner or permissions on config\n", "Bad owner or permissions on config"),
        ("", "ssh failed without a word"),
    ],
)
def test_what_ssh_says_becomes_one_line_that_says_what_to_do(said: str, advice: str) -> None:
    """The host is named, and a command or a place to look."""
    found = ssh.advice("me@server", said)
    assert found.startswith(f"me@server: {advice}")
    assert "\n" not in found


def test_forwards_of_the_users_own_are_not_asked_for(program: Program) -> None:
    """A LocalForward for this host, which another connection may hold, fails no deploy."""
    fake = program("ssh", 'echo "$*" >>"$0.log"; echo 41000')
    connection = ssh.Connection(f"{fake} -F own", "server")
    assert connection.forward(5051) == 41000
    connection.ask("true")
    connection.close()
    forward, session = fake.with_name("ssh.log").read_text().splitlines()
    assert " -F none " in forward.partition("-F own ")[2]
    assert " -o ClearAllForwardings=yes " in session


def test_a_script_travels_compressed_and_its_comments_stay_here(here: Any) -> None:
    """Whether the server has gzip or not; what it says comes as it says it, each line named."""
    text = "# a comment\necho 'one # two'\n  # another\necho three >&2; exit 4\n"
    assert here.script(text, "me: ") == 4
    assert here.script(text, has_gzip=False) == 4
    assert ssh.without_comments(text) == "echo 'one # two'\necho three >&2; exit 4\n"


def test_what_a_script_says_is_told_line_by_line(
    here: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """On the output that it was said on."""
    here.script("echo one; echo two >&2; printf three", "me: ")
    assert capfd.readouterr() == ("me: one\nme: three", "me: two\n")


def test_variables_are_only_characters(here: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Any characters travel, and none is a command."""
    odd = 'it\'s $HOME; "x" `id` \\ é'
    here.script(ssh.assignments({"ODD": odd}) + 'printf "%s" "$ODD"\n')
    assert capfd.readouterr().out == odd


def test_a_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    """One of a process that lives is not."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    user = os.getuid()
    dead = Path(f"/tmp/deploy-{user}-{ended.pid}-x")
    living = Path(f"/tmp/deploy-{user}-{os.getpid()}-x")
    for folder in (dead, living):
        folder.mkdir()
    ssh.remove_stale_folders()
    assert (dead.exists(), living.exists()) == (False, True)
    living.rmdir()
