"""The lock on the server: one holder at a time, and a dead holder blocks nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.conftest import DEPLOY

Shell = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of a project's releases."""
    return tmp_path / "place" / "shop"


def entries(place: Path) -> list[str]:
    """Return the names of the entries of the lock."""
    return sorted(os.listdir(place / "lock")) if (place / "lock").exists() else []


def add(place: Path, text: str) -> None:
    """Add an entry to the lock, as another deploy would."""
    (place / "lock").mkdir(parents=True, exist_ok=True)
    words = [*text.split(), "", "", ""]
    (place / "lock" / ".".join(words[:3])).symlink_to(text)


@pytest.fixture
def shell(place: Path, tmp_path: Path) -> Iterator[Shell]:
    """Run a script with the functions of lock.sh, from the place of a server's script."""
    parts = ("lock.sh", "systemd/lock_folder.sh")
    functions = "".join((DEPLOY / "slipway/server" / part).read_text() for part in parts)
    folder = tmp_path / ".slipway/shop"
    folder.mkdir(parents=True)
    file = folder / "server-1.sh"
    file.write_text(f'{functions}eval "$1"\n')
    started = []

    def start(script: str, **variables: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PLACE": str(place),
            "PROJECT": "shop",
            "BY": "ann@here",
            "LOCK_WAIT": "0",
            **variables,
        }
        process = subprocess.Popen(
            ["sh", str(file), script],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """Return all output of a process, at its end."""
    return process.communicate(timeout=20)[0]


def holding(shell: Shell) -> subprocess.Popen[str]:
    """Start a process that holds the lock until its input ends."""
    process = shell("claim abc-1; echo held; read -r _; release")
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_deploy_names_the_holder(shell: Shell) -> None:
    """Its message has the account, since when, what for, and what to do."""
    holder = holding(shell)
    second = shell("claim abc-2; echo never")
    text = said(second)
    assert second.returncode == 1
    assert text.startswith("another deploy is running: ann@here, since 20")
    assert f"for abc-1 (process {holder.pid} on the server)" in text
    assert "make unlock" in text
    assert "never" not in text


def test_a_second_deploy_waits_and_then_takes_the_lock(shell: Shell) -> None:
    """It waits for LOCK_WAIT seconds at most."""
    holder = holding(shell)
    second = shell("claim abc-2; echo got it; release", LOCK_WAIT="20")
    assert second.stdout
    assert second.stdout.readline().startswith("waiting for another deploy to finish: ann@here")
    holder.communicate("\n")
    assert said(second) == "got it\n"


def test_a_killed_holder_blocks_nobody(shell: Shell, place: Path) -> None:
    """Neither does a holder of before a reboot, or another process with the same number."""
    holder = holding(shell)
    holder.kill()
    holder.wait()
    assert len(entries(place)) == 1
    assert said(shell("claim abc-2; echo got it; release")) == "got it\n"
    for dead in (f"{holder.pid} 1 boot 0", "1 1 boot 0 ann now x", "1", "x y z", "* * *", "-n 1"):
        add(place, dead)
        assert said(shell("claim abc-2; echo got it; release")) == "got it\n"
        assert entries(place) == []


def born(pid: int) -> str:
    """Return the beginning of an entry that names a living process."""
    start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{pid} {start} {boot}"


def test_a_living_process_that_is_no_deploy_holds_nothing(shell: Shell, place: Path) -> None:
    """Whatever an entry says of it, it neither blocks a deploy nor is ended by unlock."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        text = f"{born(other.pid)} 0 ann now x"
        add(place, text)
        assert said(shell("claim abc-2; echo got it; release")) == "got it\n"
        add(place, text)
        assert "removed the lock of ann" in said(shell("unlock"))
        assert other.poll() is None
        assert entries(place) == []
        other.communicate(b"\n")


def test_dead_holders_without_an_end_stop_no_deploy(shell: Shell, place: Path) -> None:
    """They appear faster than they are removed."""
    number = 0
    claiming = shell("claim abc-2; echo got it; release", LOCK_WAIT="2")
    while claiming.poll() is None and number < 2000:
        number += 1
        add(place, f"1 {number} boot 0 ann now x")
    assert said(claiming) == "got it\n"


@pytest.mark.parametrize("dead", [0, 1])
def test_only_one_process_takes_the_lock(shell: Shell, place: Path, dead: int) -> None:
    """Several try at the same time, also after a dead holder."""
    for _ in range(dead):
        add(place, "1 1 boot 0 ann now x")
    all_of_them = [shell("claim x; echo got it; read -r _") for _ in range(8)]
    texts = []
    for each in all_of_them:
        assert each.stdout
        texts.append(each.stdout.readline())
    assert texts.count("got it\n") == 1, texts
    others = [text for text in texts if text != "got it\n"]
    assert all(text.startswith("another deploy is running: ann@here") for text in others), texts


def test_processes_that_wait_get_the_lock_one_after_the_other(shell: Shell, tmp_path: Path) -> None:
    """Never two at a time."""
    alone = f"mkdir {tmp_path}/alone && sleep 0.1 && rmdir {tmp_path}/alone"
    all_of_them = [
        shell(f"claim x >&2; {alone}; release; echo done", LOCK_WAIT="60") for _ in range(5)
    ]
    for each in all_of_them:
        assert said(each).endswith("done\n")


def test_unlock_ends_the_holder(shell: Shell) -> None:
    """The holder gets a signal on which it can recover."""
    holder = shell(
        'trap "echo ends; release; exit" TERM; claim x; echo held; while :; do sleep 0.1; done'
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    assert said(shell("unlock")).startswith("removed the lock of ann@here")
    assert said(holder) == "ends\n"
    assert said(shell("unlock")) == "no deploy holds the lock\n"


def test_the_log_keeps_its_last_lines(shell: Shell, tmp_path: Path) -> None:
    """Nobody else may read it."""
    script = "n=0; while [ $n -lt 105 ]; do n=$((n + 1)); record line $n; done"
    said(shell(script))
    log = tmp_path / ".slipway/shop/log"
    lines = log.read_text().splitlines()
    assert len(lines) == 100
    assert lines[-1].endswith("Z line 105")
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_lock_that_cannot_be_created_fails(shell: Shell) -> None:
    """A disk may be full or read-only."""
    process = shell("claim abc-1", PLACE="/proc/nowhere")
    text = said(process)
    assert text.startswith("cannot create the lock: mkdir: ")
    assert text.count("\n") == 1
    assert process.returncode == 1


def test_a_log_that_cannot_be_written_fails_no_deploy(shell: Shell) -> None:
    """A good deploy stays good."""
    assert said(shell("record x; echo goes on", HOME="/proc")).endswith("goes on\n")
