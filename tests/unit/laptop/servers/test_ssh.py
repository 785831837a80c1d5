"""The ssh connection: its errors, and what is left of it."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.servers import remote_job, ssh
from tests.unit.conftest import Program, closed_port


def refusal(command: str, host: str) -> str:
    """Connect with the real ssh, which must fail; return the message."""
    with pytest.raises(ssh.ConnectionFailed) as refused, ssh.connected(command, host):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def listener() -> Iterator[Callable[[bytes | None], int]]:
    """Listen on a port; send each client some bytes and hang up, or stay silent for None."""
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


# Without the configuration of the user who runs the tests.
SSH = "ssh -F /dev/null"


def test_a_closed_port_asks_whether_sshd_runs() -> None:
    """The output of the real ssh is recognized."""
    said = refusal(f"{SSH} -p {closed_port()}", "me@127.0.0.1")
    assert said == (
        "cannot reach me@127.0.0.1: no ssh server listens there. Check that sshd is running, and on"
        " which port."
    )


def test_an_unknown_host_asks_for_another() -> None:
    """The setting to change is named."""
    said = refusal(SSH, "me@no-such-host.invalid")
    assert said.startswith(
        "cannot reach me@no-such-host.invalid: there is no such host. Set DEPLOY_HOST to"
    )


def test_a_server_that_hangs_up_points_to_its_log(listener: Callable[[bytes], int]) -> None:
    """As sshd does to an address that it has had enough of."""
    said = refusal(f"{SSH} -p {listener(b'')}", "127.0.0.1")
    assert said == (
        "cannot reach 127.0.0.1: it closed the connection at once. See the log of its sshd."
    )


def test_a_silent_server_asks_whether_it_is_up(listener: Callable[[None], int]) -> None:
    """A user's own ConnectTimeout counts."""
    said = refusal(f"{SSH} -o ConnectTimeout=1 -p {listener(None)}", "127.0.0.1")
    assert said == (
        "cannot reach 127.0.0.1: it does not answer. Check that it is up, and that its firewall"
        " allows ssh."
    )


def test_other_errors_are_shown_as_ssh_prints_them(tmp_path: Path) -> None:
    """For example a missing configuration."""
    said = refusal(f"ssh -F {tmp_path}/config", "server")
    assert said == (
        f"cannot reach server: Can't open user config file {tmp_path}/config:"
        " No such file or directory"
    )


def test_a_missing_ssh_says_what_to_install(tmp_path: Path) -> None:
    """A missing program causes no traceback."""
    said = refusal(f"{tmp_path}/ssh -v", "server")
    assert said == f"{tmp_path}/ssh is not installed. Install OpenSSH's client, or set SSH."


@pytest.mark.parametrize("host", ["-oProxyCommand=touch made", "x@-oProxyCommand=touch made"])
def test_a_host_is_never_an_option(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a host that passed all checks of settings is not given to ssh as an option."""
    monkeypatch.chdir(tmp_path)
    refusal(SSH, host)
    assert os.listdir(tmp_path) == []


def test_a_lost_tunnel_is_not_called_forbidden(program: Program) -> None:
    """Only while the connection lasts it is sshd that refuses."""
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
def test_a_login_script_that_reads_the_input_is_refused(program: Program, reads: str) -> None:
    """It would consume the beginning of a script, and the rest would do something else."""
    fake = program("ssh", f'{reads}\nfor last; do :; done\nexec sh -c "$last"')
    said = refusal(str(fake), "server")
    assert said.startswith("server: a login script of this account, such as ~/.bashrc, reads the")


@pytest.mark.parametrize(
    ("name", "url"), [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "[2001:db8::1]")]
)
def test_an_address_is_as_a_url_has_it(program: Program, name: str, url: str) -> None:
    """IPv6 addresses have brackets."""
    fake = program("ssh", f"echo user me; echo hostname {name}")
    connection = ssh.Connection(str(fake), "server")
    assert connection.address() == url
    connection.close()


def test_nothing_is_left_of_a_connection(listener: Callable[[bytes], int]) -> None:
    """Neither a socket nor a folder nor a process, whether it worked or not."""
    connection = ssh.Connection(f"{SSH} -p {listener(b'')}", "127.0.0.1")
    with pytest.raises(ssh.ConnectionFailed):
        connection.open()
    connection.close()
    assert not os.path.exists(connection.folder)
    assert connection.master and connection.master.returncode == 255


# The exact output of OpenSSH 9; the container tests have servers for it.
@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@\n"
            "Offending ED25519 key in /home/me/.ssh/known_hosts:3\n"
            "Host key verification failed.\n",
            "its host key has changed. If you expected that, run ssh-keygen -R me@server",
        ),
        (
            "No ED25519 host key is known for server and you have requested strict checking.\n"
            "Host key verification failed.\n",
            'unknown host key. Run "ssh me@server" once to check and accept it.',
        ),
        ("me@server: Permission denied (publickey).\n", "it refuses your key. Add the key to"),
        (
            "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures\n"
            "Disconnected from 192.0.2.1 port 22\n",
            "too many keys were offered to it. Set IdentitiesOnly yes",
        ),
        ("ssh: connect to host server port 22: No route to host\n", "no route to it"),
        ("ssh: connect to host server port 22: Network is unreachable\n", "no route to it"),
        ("ssh: connect to host server port 22: Connection timed out\n", "it does not answer"),
        ("ssh: connect to host server port 22: Operation timed out\n", "it does not answer"),
        ("Connection reset by 192.0.2.1 port 22\n", "it closed the connection at once"),
        ("a warning\n\nBad owner or permissions on config\n", "Bad owner or permissions on config"),
        ("", "ssh failed without a message"),
    ],
)
def test_the_output_of_ssh_becomes_one_line_of_advice(said: str, advice: str) -> None:
    """The line names the host, and a command or a place to look."""
    found = ssh.advice("me@server", said)
    assert found.startswith(f"cannot reach me@server: {advice}")
    assert "\n" not in found


def test_forwards_of_the_users_configuration_are_not_requested(program: Program) -> None:
    """A LocalForward for this host, which another connection may hold, fails no deploy."""
    fake = program("ssh", 'echo "$*" >>"$0.log"; echo 41000')
    connection = ssh.Connection(f"{fake} -F own", "server")
    assert connection.forward(5051) == 41000
    connection.ask("true")
    connection.end_forward(5051)
    connection.close()
    forward, session, end = fake.with_name("ssh.log").read_text().splitlines()
    assert " -F none " in forward.partition("-F own ")[2]
    # the same words, or else ssh does not know which tunnel is meant
    assert end == forward.replace(" -O forward ", " -O cancel ")
    assert " -o ClearAllForwardings=yes " in session


def test_a_script_travels_compressed_and_without_comments(here: Any) -> None:
    """It works whether the server has gzip or not."""
    text = "# a comment\necho 'one # two'\n  # another\necho three >&2; exit 4\n"
    assert here.script(text, "me: ").status == 4
    assert here.script(text, has_gzip=False).status == 4
    assert ssh.without_comments(text) == "echo 'one # two'\necho three >&2; exit 4\n"


def test_an_archive_is_hardly_larger_than_its_files(here: Any, tmp_path: Path) -> None:
    """A TarFile would fill it up to 10 kB, which is more than a changed line needs."""
    files = {"one/a.whl": b"a" * 1000, f"two/{'b' * 120}.whl": b"", "three/c.whl": bytes(512)}
    sent = [(name, len(content), io.BytesIO(content)) for name, content in files.items()]
    archive = tmp_path / "archive"
    command = f"cat >{archive} && tar -xf {archive} -C {tmp_path}"
    assert here.archive(command, sent)[0] == 0
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert archive.stat().st_size <= 10 * 512


def test_the_output_of_a_script_is_shown_line_by_line(
    here: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Output and error output stay apart."""
    here.script("echo one; echo two >&2; printf three", "me: ")
    assert capfd.readouterr() == ("me: one\nme: three", "me: two\n")


def test_variables_are_only_characters(here: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Any characters travel, and none of them becomes a command."""
    odd = 'it\'s $HOME; "x" `id` \\ é'
    here.script(remote_job.assignments({"ODD": odd}) + 'printf "%s" "$ODD"\n')
    assert capfd.readouterr().out == odd


def test_a_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    """The folder of a living process is not."""
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
