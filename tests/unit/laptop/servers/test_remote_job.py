"""The scripts that travel to a server, and the outcomes that come back."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from slipway.laptop.servers import remote_job
from slipway.laptop.servers.remote_job import Outcome
from tests.unit.conftest import DEPLOY


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("echo slipway outcome=recovered; exit 1", Outcome.RECOVERED),
        (
            "echo slipway outcome=image-gone; echo slipway outcome=failed; exit 1",
            Outcome.IMAGE_GONE,
        ),
        ("printf 'Dear me: '; echo slipway outcome=done", Outcome.DONE),
        ("echo slipway outcome=unheard-of; exit 1", Outcome.FAILED),
        ("exit 0", Outcome.DONE),
        ("exit 1", Outcome.FAILED),
        ("exit 255", Outcome.LOST),
        ("kill -9 $$", Outcome.LOST),
    ],
)
def test_the_first_line_with_an_outcome_counts(here: Any, script: str, outcome: Outcome) -> None:
    """Without such a line the script has ended with 0 or 1, or was cut off."""
    assert remote_job.perform(here, f"{script}\n", has_gzip=False) is outcome


def test_the_line_with_the_outcome_is_not_shown(
    here: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is for the laptop, and the other lines are for people."""
    script = "echo one; printf 'two: '; echo slipway outcome=done\n"
    remote_job.perform(here, script, has_gzip=False)
    assert capfd.readouterr().out == "server: one\nserver: two: \n"


def test_what_was_sent_is_sent_again_only_if_it_is_gone() -> None:
    """For images and for wheels."""
    assert [each for each in Outcome if each.is_gone] == [
        Outcome.IMAGE_GONE,
        Outcome.WHEELS_GONE,
    ]


@pytest.mark.parametrize("kind", ["docker", "systemd"])
def test_a_script_is_all_files_of_its_folders(kind: str) -> None:
    """Definitions come first, and the part that runs comes last."""
    text = remote_job.script(kind)
    files = [*remote_job.SERVER.glob("*.sh"), *(remote_job.SERVER / kind).glob("*.sh")]
    assert len(files) >= 4
    ends = []
    for path in files:
        last = path.read_text("utf-8").rstrip().splitlines()[-3:]
        assert "\n".join(last) in text
        ends.append((text.rindex("\n".join(last)), path.name))
    assert max(ends)[1] == remote_job.ENTRY


def test_a_job_that_cannot_begin_has_failed(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example on a full disk; whatever the status of the command that failed."""
    monkeypatch.setenv("HOME", "/proc/no/home")
    text = remote_job.for_docker("rollback", {"PROJECT": "shop"}, "", is_kept=True)
    assert here.script(text).status == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--init --user 0:0", ["--init", "--user", "0:0"]),
        ("--label 'a b=c  d' --env X='$HOME'", ["--label", "a b=c  d", "--env", "X=$HOME"]),
        ("--entrypoint '' --label '*'", ["--entrypoint=", "--label", "*"]),
        ("", []),
    ],
)
def test_a_server_splits_options_without_eval(options: str, words: list[str]) -> None:
    """The same words arrive, whatever characters they have: nothing is expanded."""
    functions = (DEPLOY / "slipway/server/docker/deploy.sh").read_text(encoding="utf-8")
    function = re.search(r"^create_with_options\(\) \{.*?^\}", functions, re.M | re.S)
    assert function
    create = 'create() { shift; printf "[%s]\\n" "$@"; }'
    script = f'{function[0]}\n{create}\ncreate_with_options NAME "$1"'
    lines = remote_job.one_word_a_line(options)
    said = subprocess.check_output(["sh", "-c", script, "sh", lines], text=True)
    assert said == "".join(f"[{word}]\n" for word in words or [""])
