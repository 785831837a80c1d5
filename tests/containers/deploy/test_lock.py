"""The lock of a server: only those who may deploy can hold it, remove it or forge it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

import testbed
from tests.containers.faulty_application import Faulty
from tests.unit.conftest import DEPLOY

PARTS = ("lock.sh", "systemd/lock_folder.sh")
FUNCTIONS = "".join((DEPLOY / "slipway/server" / part).read_text("utf-8") for part in PARTS)
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


def entry(faulty: Faulty, pid: str) -> str:
    """Return an entry of the lock that names a process of the server."""
    stat = faulty.server.run("cat", f"/proc/{pid}/stat").rpartition(")")[2].split()
    boot = faulty.server.run("cat", "/proc/sys/kernel/random/boot_id").strip()
    return f"{pid} {stat[19]} {boot} 0 \x1b[31mann now x"


@pytest.fixture
def sleeper(faulty: Faulty) -> Iterator[str]:
    """A process of root on the server that has nothing to do with deploys; its number."""
    pid = faulty.server.run("sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!").strip()
    yield pid
    with contextlib.suppress(testbed.HarnessError):
        faulty.server.run("kill", pid)


def lives(faulty: Faulty, pid: str) -> bool:
    """Return whether a process of the server runs."""
    return faulty.server.run("sh", "-c", f"kill -0 {pid} && echo yes || :").strip() == "yes"


def test_other_accounts_neither_block_a_deploy_nor_end_a_process(
    faulty: Faulty, sleeper: str
) -> None:
    """Whatever they put where the lock of earlier versions was."""
    old, text = f"/tmp/slipway-{faulty.name}.lock", entry(faulty, sleeper)
    for command in (
        f"ln -s '{text}' {old}",
        f"mkdir -m 777 {old}",
        f"ln -s '1 1 boot ann now x' {old}; ln -s '{text}' {old}.dead",
        f"touch {old}",
    ):
        faulty.server.run(*NOBODY, "sh", "-c", command)
        try:
            began = time.monotonic()
            assert "nothing to do" in faulty.succeeds(LOCK_WAIT="1")
            faulty.succeeds("rollback", RELEASE=faulty.status["running"]["release"])
            said = faulty.succeeds("unlock")
            assert time.monotonic() - began < 60
            assert "no deploy holds the lock" in said
            assert "\x1b" not in said
            assert lives(faulty, sleeper)
        finally:
            faulty.server.run("rm", "-rf", old, f"{old}.dead")


def test_only_docker_makes_an_entry(faulty: Faulty, sleeper: str) -> None:
    """Another account has no docker; an entry of somebody else's process holds nothing."""
    text = entry(faulty, sleeper)
    name = ".".join(text.split()[:3])
    create = (
        *("docker", "volume", "create", "--label", f"slipway.lock={faulty.name}"),
        *("--label", f"slipway.entry={text}", f"slipway-lock.{faulty.name}.{name}"),
    )
    with pytest.raises(testbed.HarnessError):
        faulty.server.run(*NOBODY, *create)
    faulty.server.run(*create)
    assert "a deploy was cut off" in faulty.status["problem"]
    assert "\x1b" not in faulty.succeeds("unlock", DRY_RUN="1")
    said = faulty.succeeds("unlock")
    assert "removed the lock of \\x1b[31mann, since now" in said
    assert lives(faulty, sleeper)
    assert faulty.leftovers() == []


def test_two_deploys_at_once_run_one_after_the_other(faulty: Faulty) -> None:
    """Both succeed, and the server has the release of one of them."""
    # Slow, so that one is still at work when the other one wants the lock.
    faulty.release(VERSION="both", MODE="late 10")
    with faulty.start() as first, faulty.start() as second:
        assert first.stdout
        assert second.stdout
        said = first.stdout.read(), second.stdout.read()
    assert (first.returncode, second.returncode) == (0, 0), said
    assert "waiting for another deploy to finish: " in "".join(said)
    assert faulty.answer == "both"
    assert faulty.leftovers() == []


def test_dead_holder_is_removed_by_the_next_deploy(faulty: Faulty) -> None:
    """All processes of a deploy are killed with SIGKILL, and it blocks nobody."""
    faulty.release(VERSION="dead", MODE="late 600")
    with faulty.start(HEALTH_TIMEOUT="600") as dead:
        faulty.until(lambda: f"{faulty.name}-try" in faulty.containers())
        dead.kill()
        deploys = "ps -eo pid,args | awk '/server-[0-9a-f]/ {print $1}'"
        faulty.server.run("sh", "-c", f"kill -9 $({deploys}) || :")
    assert "a deploy was cut off" in faulty.status["problem"]
    faulty.release(VERSION="alive")
    faulty.succeeds(LOCK_WAIT="0")
    assert faulty.answer == "alive"
    assert faulty.leftovers() == []


def test_process_that_cannot_be_seen_counts_as_alive(faulty: Faulty) -> None:
    """With hidepid an account does not see the processes of others."""
    text = entry(faulty, "1")
    name = ".".join(text.split()[:3])
    place = "/srv/hidden"
    faulty.server.run("sh", "-c", f"mkdir -p {place}/lock && chmod 777 {place}/lock")
    faulty.server.run("ln", "-s", text.replace("\x1b[31m", ""), f"{place}/lock/{name}")
    try:
        mount = "mount -t proc -o hidepid=2 proc /proc"
        variables = f"PROJECT=x HOME=/srv PLACE={place} BY=bob LOCK_WAIT=0"
        for job, says in (
            ("claim x", "another deploy is running: ann, since now"),
            ("unlock", "this account may not end the deploy of ann, since now"),
        ):
            script = f'{mount} && export {variables} && exec {" ".join(NOBODY)} sh -c "$1"'
            said = faulty.server.run(
                *("unshare", "--mount", "sh", "-c", f"({script}) 2>&1 || :", "sh"),
                f"{FUNCTIONS}{job}\n",
            )
            assert said.startswith(says)
    finally:
        faulty.server.run("rm", "-r", place)
