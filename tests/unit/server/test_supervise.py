"""The supervisor: a job finishes or recovers even if its process is killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slipway.laptop.servers import remote_job

# What a job does: it may be killed, and it fails or ends well then.
WORK = """\
work() {{
    echo "$JOB"
    [ "$JOB" = recover ] || {first}
    {then}
}}
case $1 in supervise | work) "$1" ;; esac
"""


@pytest.mark.parametrize(
    ("first", "then", "status", "output"),
    [
        (":", "exit 0", 0, ["deploy", "slipway outcome=done"]),
        (":", "exit 1", 1, ["deploy", "slipway outcome=failed"]),
        (":", "exit 4", 1, ["deploy", "slipway outcome=failed"]),
        ("kill -9 $$", "exit 0", 1, ["deploy", "recover", "slipway outcome=recovered"]),
        ("kill -9 $$", "exit 1", 1, ["deploy", "recover", "slipway outcome=failed"]),
    ],
)
def test_each_end_has_its_outcome(
    tmp_path: Path, first: str, then: str, status: int, output: list[str]
) -> None:
    """The exit status is 0 or 1, and the last line says the rest."""
    parts = [remote_job.SERVER / name for name in ("lock.sh", "supervise.sh")]
    text = "".join(part.read_text("utf-8") for part in parts)
    script = tmp_path / "script.sh"
    script.write_text(text + WORK.format(first=first, then=then))
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PROJECT": "shop"}
    done = subprocess.run(
        ["sh", str(script), "supervise"],
        env={**environment, "BY": "me", "JOB": "deploy"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout.splitlines()) == (status, output)


def test_a_job_that_is_always_killed_fails(tmp_path: Path) -> None:
    """After some tries."""
    parts = [remote_job.SERVER / name for name in ("lock.sh", "supervise.sh")]
    text = "".join(part.read_text("utf-8") for part in parts)
    script = tmp_path / "script.sh"
    script.write_text(text + WORK.format(first=":", then="kill -9 $$"))
    done = subprocess.run(
        ["sh", str(script), "supervise"],
        env={
            **{"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PROJECT": "shop"},
            **{"BY": "me", "JOB": "deploy"},
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["deploy", *5 * ["recover"], "slipway outcome=failed"]
