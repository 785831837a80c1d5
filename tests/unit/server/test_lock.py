"""The lock on the server: one holder at a time, and a dead one holds nothing."""

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
    """A project whose lock nobody else has."""
    name = f"locked-{secrets.token_hex(4)}"
    yield name
    Path(f"/tmp/slipway-{name}.lock").unlink(missing_ok=True)


@pytest.fixture
def shell(project: str, tmp_path: Path) -> Iterator[Shell]:
    """Run a script behind server-lock.sh."""
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
            ["sh", "-c", f'. "$0"; {script}', str(DEPLOY / "server-lock.sh")],
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
    """Give all that it says, at its end."""
    return process.communicate(timeout=20)[0]


def holding(shell: Shell) -> subprocess.Popen[str]:
    """Start a process that holds the lock until its input ends."""
    process = shell("claim abc-1; echo held; read -r _; release")
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_one_is_told_who_has_it(shell: Shell) -> None:
    """Who, since when and what for, and what to do."""
    holder = holding(shell)
    second = shell("claim abc-2; echo never")
    text = said(second)
    assert second.returncode == 1
    assert text.startswith("a deploy is at work: ann@here, since 20")
    assert f"for abc-1 (process {holder.pid} on the server)" in text
    assert "make unlock" in text
    assert "never" not in text


def test_a_second_one_waits_and_has_it_then(shell: Shell) -> None:
    """As long as it is told to."""
    holder = holding(shell)
    second = shell("claim abc-2; echo got it; release", LOCK_WAIT="20")
    assert second.stdout
    assert second.stdout.readline().startswith("waits for a deploy that is at work: ann@here")
    holder.communicate("\n")
    assert said(second) == "got it\n"


def test_a_killed_holder_holds_nothing(shell: Shell, project: str) -> None:
    """Nor does one of before a reboot, or a process that has its number by now."""
    holder = holding(shell)
    holder.kill()
    holder.wait()
    assert said(shell("claim abc-2; echo got it; release")) == "got it\n"
    lock = Path(f"/tmp/slipway-{project}.lock")
    for dead in (f"{holder.pid} 1 boot", "1 1 boot ann now x", "1", "x y z"):
        lock.symlink_to(dead)
        assert said(shell("claim abc-2; echo got it; release")) == "got it\n"
        assert not lock.is_symlink()


def test_of_many_only_one_has_a_dead_ones_lock(shell: Shell, project: str) -> None:
    """They all see at the same time that its holder is dead."""
    Path(f"/tmp/slipway-{project}.lock").symlink_to("1 1 boot ann now x")
    all_of_them = [shell("claim x; echo got it; read -r _") for _ in range(8)]
    for each in all_of_them:
        assert each.stdout
    texts = []
    for each in all_of_them:
        assert each.stdout
        texts.append(each.stdout.readline())
    assert texts.count("got it\n") == 1, texts


def test_unlock_ends_who_has_it(shell: Shell) -> None:
    """By a signal that it can put things in order on."""
    holder = shell(
        'trap "echo ends; release; exit" TERM; claim x; echo held; while :; do sleep 0.1; done'
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    assert said(shell("unlock")).startswith("took the lock away from ann@here")
    assert said(holder) == "ends\n"
    assert said(shell("unlock")) == "no deploy holds the lock\n"


def test_the_log_keeps_its_last_lines(shell: Shell, tmp_path: Path, project: str) -> None:
    """For nobody else to read."""
    script = "n=0; while [ $n -lt 105 ]; do n=$((n + 1)); record line $n; done"
    said(shell(script))
    log = tmp_path / ".slipway" / project / "log"
    lines = log.read_text().splitlines()
    assert len(lines) == 100
    assert lines[-1].endswith("Z line 105")
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_lock_that_cannot_be_made_is_said(shell: Shell, project: str) -> None:
    """A disk that is full, or may not be written to."""
    process = shell("claim abc-1", PROJECT=f"{project}/nowhere")
    assert "the lock cannot be made: ln: " in said(process)
    assert process.returncode == 1


def test_a_log_that_cannot_be_written_ends_nothing(shell: Shell) -> None:
    """A deploy that was good stays so."""
    assert said(shell("record x; echo goes on", HOME="/proc")).endswith("goes on\n")
