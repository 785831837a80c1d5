"""The parts of the harness that need no engine: parsing, choosing, counting, locking."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from testbed import HarnessError, extra_certificates, firewall, folders, network, processes
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
    """What `apt-get update --print-uris` says of these indexes."""
    return "".join(f"'{each}/InRelease' some_file 0 \n" for each in indexes)


def test_the_mirror_is_the_archive_and_not_a_third_party_that_publishes_for_debian() -> None:
    """A vendor's repository for the same release is passed over."""
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
    """The engine's packages cannot come from there."""
    assert mirror_among(uris("http://mirror.example/ubuntu/dists/noble")) is None


def test_sources_name_only_the_suites_that_the_mirror_has() -> None:
    """A suite that is not there would fail every `apt-get update` in the image."""
    mirror = Mirror("http://a.example/debian", "http://a.example/security", check_dates=False)
    text = mirror.sources("forky", ["forky", "forky-updates"])
    assert "Suites: forky forky-updates\n" in text
    assert "security" not in text
    assert "Check-Valid-Until: no\n" in text


def test_a_free_range_overlaps_nothing_that_is_taken() -> None:
    """Neither a wider nor a narrower range may be met."""
    taken = [IPv4Network("10.210.3.0/24"), IPv4Network("10.211.0.0/16"), IPv4Network("10.0.0.0/9")]
    assert network.free_ranges(taken, 2) == [
        IPv4Network("10.212.0.0/16"),
        IPv4Network("10.213.0.0/16"),
    ]


def test_no_free_range_is_an_error_in_words() -> None:
    """A machine may route every private range."""
    with pytest.raises(HarnessError, match=r"^network: "):
        network.free_ranges([IPv4Network("0.0.0.0/0")], 1)


def test_the_last_engine_takes_its_chains_along() -> None:
    """Every rule and chain that dockerd has made is named; nobody else's is."""
    commands = [" ".join(words) for words in firewall.removals(OWN_RULES, {"slipway0"}, OURS)]
    assert "-t nat -D POSTROUTING -s 10.210.128.0/24 ! -o br-1 -j MASQUERADE" in commands
    assert "-t filter -X DOCKER-USER" in commands
    assert "-t nat -X DOCKER" in commands
    assert not any("192.168.1.0" in each for each in commands)


def test_another_engine_keeps_the_chains() -> None:
    """They have the same names for every engine."""
    commands = [" ".join(words) for words in firewall.removals(OTHER_ENGINE, {"slipway0"}, OURS)]
    assert "-t filter -D FORWARD -o slipway0 -j DOCKER" in commands
    assert not any("-X" in each or "docker0" in each or "LOCAL" in each for each in commands)


def test_a_lease_of_a_process_ends_with_it(tmp_path: Path) -> None:
    """A killed test run holds no engine; a later process with its number does not either."""
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


def test_a_lock_whose_folder_is_removed_is_taken_anew(tmp_path: Path) -> None:
    """Who waits for the last user's lock must not hold a file that nobody else will open."""
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
def test_a_state_folder_that_sockets_do_not_fit_into_is_refused(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Unix socket's address is short."""
    monkeypatch.setenv("SLIPWAY_STATE", path)
    with pytest.raises(HarnessError, match="SLIPWAY_STATE"):
        folders.state()


def test_ending_processes_returns_those_that_stay() -> None:
    """A process may ignore the signal; the caller then uses a stronger one."""
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
    """The reason is in what the command said."""
    with pytest.raises(HarnessError, match=r"^image: exit 3 from: sh -c (.*\n)+oh no$"):
        run("image", ["sh", "-c", "echo oh no >&2; exit 3"])


def test_a_missing_command_is_named() -> None:
    """One line that says what to install."""
    with pytest.raises(HarnessError, match=r"^image: no-such-program is not on the PATH"):
        run("image", ["no-such-program"])
    assert not succeeds(["no-such-program"])


def test_extra_certificates_are_found_in_order(tmp_path: Path) -> None:
    """Those in folders as well, as update-ca-certificates does; other files are not meant."""
    (tmp_path / "company").mkdir()
    for name in ("b.crt", "company/a.crt", "readme"):
        (tmp_path / name).touch()
    assert [path.name for path in extra_certificates(tmp_path)] == ["b.crt", "a.crt"]
