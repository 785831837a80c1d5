"""The parts of the testbed that need no engine: parsing, choosing, counting, locking."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from testbed import (
    HarnessError,
    extra_certificates,
    firewall,
    folders,
    network,
    processes,
    projects,
)
from testbed.console import run, succeeds
from testbed.debian import Mirror, mirror_among
from testbed.leases import Leases

OURS = IPv4Network("10.210.0.0/16")
OWN_RULES = """\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.210.0.0/24 ! -o slipway0 -j MASQUERADE
-A POSTROUTING -s 10.210.128.0/24 ! -o br-1 -j MASQUERADE
-A DOCKER -i slipway0 -j RETURN
-A DOCKER ! -i slipway0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.210.0.2:80
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o slipway0 -j DOCKER
-A FORWARD -i slipway0 ! -o slipway0 -j ACCEPT
-A FORWARD -s 192.168.1.0/24 -m comment --comment "not ours" -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""
OTHER_ENGINE = OWN_RULES.replace(
    "-A FORWARD -i slipway0", "-A FORWARD -o docker0 -j DOCKER\n-A FORWARD -i slipway0"
)


def uris(*indexes: str) -> str:
    """Return the output of `apt-get update --print-uris` for these indexes."""
    return "".join(f"'{each}/InRelease' some_file 0 \n" for each in indexes)


def test_the_mirror_is_debians_archive_and_not_a_third_partys() -> None:
    """A vendor's repository for the same release is ignored."""
    found = mirror_among(
        uris(
            "https://vendor.example/linux/dists/bookworm",
            "http://mirror.example/debian/dists/bookworm",
            "http://mirror.example/debian/dists/bookworm-updates",
            "http://mirror.example/debian-security/dists/bookworm-security",
        )
    )
    assert found == ("http://mirror.example/debian", "http://mirror.example/debian-security")


def test_a_mirror_may_have_no_security_archive() -> None:
    """The unstable release has none."""
    assert mirror_among(uris("http://mirror.example/debian/dists/sid")) == (
        "http://mirror.example/debian",
        None,
    )


def test_another_distribution_has_no_debian_mirror() -> None:
    """The engine's packages are Debian's."""
    assert mirror_among(uris("http://mirror.example/ubuntu/dists/noble")) is None


def test_sources_name_only_the_suites_that_the_mirror_has() -> None:
    """With a missing suite, every `apt-get update` in the image would fail."""
    mirror = Mirror("http://a.example/debian", "http://a.example/security", check_dates=False)
    text = mirror.sources("forky", ["forky", "forky-updates"])
    assert "Suites: forky forky-updates\n" in text
    assert "security" not in text
    assert "Check-Valid-Until: no\n" in text


def test_a_free_range_overlaps_no_taken_range() -> None:
    """Neither a wider nor a narrower one."""
    taken = [IPv4Network("10.210.3.0/24"), IPv4Network("10.211.0.0/16"), IPv4Network("10.0.0.0/9")]
    assert network.free_ranges(taken, 2) == [
        IPv4Network("10.212.0.0/16"),
        IPv4Network("10.213.0.0/16"),
    ]


def test_without_a_free_range_the_error_explains_it() -> None:
    """A machine may route every private range."""
    with pytest.raises(HarnessError, match=r"^network: "):
        network.free_ranges([IPv4Network("0.0.0.0/0")], 1)


def test_the_chains_are_removed_with_the_last_engine() -> None:
    """Every rule and chain of dockerd is removed, and none of others."""
    commands = [" ".join(words) for words in firewall.removals(OWN_RULES, {"slipway0"}, OURS)]
    assert "-t nat -D POSTROUTING -s 10.210.128.0/24 ! -o br-1 -j MASQUERADE" in commands
    assert "-t filter -X DOCKER-USER" in commands
    assert "-t nat -X DOCKER" in commands
    assert not any("192.168.1.0" in each for each in commands)


def test_the_chains_stay_while_another_engine_uses_them() -> None:
    """The chains have the same names for every engine."""
    commands = [" ".join(words) for words in firewall.removals(OTHER_ENGINE, {"slipway0"}, OURS)]
    assert "-t filter -D FORWARD -o slipway0 -j DOCKER" in commands
    assert not any("-X" in each or "docker0" in each or "LOCAL" in each for each in commands)


def test_a_lease_of_a_process_ends_with_it(tmp_path: Path) -> None:
    """A killed test run does not keep the engine, nor does a later process with its number."""
    leases = Leases(tmp_path)
    mine = leases.take()
    assert leases.held() == [mine] == [Leases.name_of(os.getpid())]
    (tmp_path / mine).write_text("0")
    assert leases.held() == []


def test_a_named_lease_lasts_until_it_is_dropped(tmp_path: Path) -> None:
    """The developer's engine outlives the terminal."""
    leases = Leases(tmp_path / "leases")
    leases.take("developer")
    assert leases.held() == ["developer"]
    leases.drop("developer")
    leases.drop("developer")
    assert leases.held() == []


def test_a_lock_is_taken_again_if_its_folder_was_removed(tmp_path: Path) -> None:
    """A waiting process must not hold a lock file that was removed."""
    lock = tmp_path / "state" / "lock"
    held = threading.Event()

    def second() -> None:
        with folders.locked(lock):
            held.set()
            assert lock.exists()

    with folders.locked(lock):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not held.wait(0.2)
        lock.unlink()
        lock.parent.rmdir()
    waiting.join(5)
    assert held.is_set()


@pytest.mark.parametrize("path", ["relative", "/" + "x" * 80])
def test_an_unsuitable_path_of_the_state_is_rejected(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of a Unix socket must be absolute and short."""
    monkeypatch.setenv("SLIPWAY_STATE", path)
    with pytest.raises(HarnessError, match="SLIPWAY_STATE"):
        folders.state()


def test_end_returns_the_processes_that_still_run() -> None:
    """A process may ignore a signal; then the caller uses a stronger one."""
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}; time.sleep(60)"], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert child.pid in processes.descendants([os.getpid()])
        assert processes.end([child.pid], signal.SIGTERM, 0.2) == {child.pid}
        assert processes.end([child.pid], signal.SIGKILL, 5) == set()


def test_a_failed_command_shows_its_last_lines() -> None:
    """The output of the command contains the reason."""
    with pytest.raises(HarnessError, match=r"^image: exit 3 from: sh -c (.*\n)+oh no$"):
        run("image", ["sh", "-c", "echo oh no >&2; exit 3"])


def test_a_missing_command_is_reported_by_its_name() -> None:
    """With one line that tells what to install."""
    with pytest.raises(HarnessError, match=r"^image: no-such-program is not on the PATH"):
        run("image", ["no-such-program"])
    assert not succeeds(["no-such-program"])


def test_extra_certificates_are_found_in_order(tmp_path: Path) -> None:
    """Also in folders, like update-ca-certificates does, but without other files."""
    (tmp_path / "company").mkdir()
    for name in ("b.crt", "company/a.crt", "readme"):
        (tmp_path / name).touch()
    assert [path.name for path in extra_certificates(tmp_path)] == ["b.crt", "a.crt"]


def test_a_free_port_accepts_a_listener() -> None:
    """On the loopback interface."""
    with socket.create_server(("127.0.0.1", network.free_port())):
        pass


def test_options_of_a_surrounding_make_are_not_passed_on() -> None:
    """A project's make would otherwise behave as a part of the first one."""
    environment = {"MAKEFLAGS": "k", "MAKELEVEL": "1", "PYTHON": "PyPy", "HOME": "/"}
    assert projects.without_make(environment) == {"HOME": "/"}


@pytest.mark.parametrize("command", ["testbed", "testbed.demo"])
def test_every_command_has_a_help_text(command: str) -> None:
    """Which python3 -m can print without a virtualenv."""
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-m", command, "--help"],
        cwd=projects.ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: " in done.stdout
