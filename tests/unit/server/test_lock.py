"""The lock on the server: one holder at a time, and a dead holder blocks nobody."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.conftest import DEPLOY

Shell = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def project() -> Iterator[str]:
    """A project whose lock nobody else uses."""
    name = f"locked-{secrets.token_hex(4)}"
    yield name
    Path(f"/tmp/slipway-{name}.lock").unlink(missing_ok=True)


@pytest.fixture
def shell(project: str, tmp_path: Path) -> Iterator[Shell]:
    """Run a script with the functions of lock.sh."""
    started = []

    def start(script: str, **variables: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PROJECT": project,
            "BY": "ann@here",
            "LOCK_WAIT": "0",
            **variables,
        }
        process = subprocess.Popen(
            ["sh", "-c", f'. "$0"; {script}', str(DEPLOY / "slipway/server/lock.sh")],
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


def test_a_killed_holder_blocks_nobody(shell: Shell, project: str) -> None:
    """Neither does a holder of before a reboot, or another process with the same number."""
    holder = holding(shell)
    holder.kill()
    holder.wait()
    assert said(shell("claim abc-2; echo got it; release")) == "got it\n"
    lock = Path(f"/tmp/slipway-{project}.lock")
    for dead in (f"{holder.pid} 1 boot", "1 1 boot ann now x", "1", "x y z"):
        lock.symlink_to(dead)
        assert said(shell("claim abc-2; echo got it; release")) == "got it\n"
        assert not lock.is_symlink()


def test_only_one_process_takes_over_a_dead_holders_lock(shell: Shell, project: str) -> None:
    """Several see at the same time that the holder is dead."""
    Path(f"/tmp/slipway-{project}.lock").symlink_to("1 1 boot ann now x")
    all_of_them = [shell("claim x; echo got it; read -r _") for _ in range(8)]
    for each in all_of_them:
        assert each.stdout
    texts = []
    for each in all_of_them:
        assert each.stdout
        texts.append(each.stdout.readline())
    assert texts.count("got it\n") == 1, texts


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


def test_the_log_keeps_its_last_lines(shell: Shell, tmp_path: Path, project: str) -> None:
    """Nobody else may read it."""
    script = "n=0; while [ $n -lt 105 ]; do n=$((n + 1)); record line $n; done"
    said(shell(script))
    log = tmp_path / ".slipway" / project / "log"
    lines = log.read_text().splitlines()
    assert len(lines) == 100
    assert lines[-1].endswith("Z line 105")
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_lock_that_cannot_be_created_fails(shell: Shell, project: str) -> None:
    """A disk may be full or read-only."""
    process = shell("claim abc-1", PROJECT=f"{project}/nowhere")
    assert "cannot create the lock: ln: " in said(process)
    assert process.returncode == 1


def test_a_log_that_cannot_be_written_fails_no_deploy(shell: Shell) -> None:
    """A good deploy stays good."""
    assert said(shell("record x; echo goes on", HOME="/proc")).endswith("goes on\n")
