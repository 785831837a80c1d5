"""Work on several servers, and what happens when one of them was lost."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from slipway.laptop.servers import each_server
from slipway.laptop.servers.remote_job import Outcome
from slipway.laptop.servers.ssh import ConnectionFailed
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS


def work(host: str) -> int:
    """Succeed on a server, unless its name begins with `bad`."""
    if host == "bad":
        raise ConnectionFailed(f"cannot reach {host}: it is down")
    return 0


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        ({}, ["one: done", "bad: failed; see above", "two: not started"]),
        ({"DRY_RUN": "1"}, []),
        ({"FORMAT": "json"}, []),
    ],
)
def test_after_a_failure_no_other_server_is_started(
    capsys: pytest.CaptureFixture[str], typed: dict[str, str], lines: list[str]
) -> None:
    """A summary follows, except where the output is pasted or read by a program."""
    found = settings.resolve(SETTINGS, {"DEPLOY_HOST": "one bad two", **typed})
    assert each_server.carry_out(found, "status", lambda _: work, {"status": work}) == 1
    output = capsys.readouterr()
    assert output.out.splitlines() == lines
    assert output.err == "cannot reach bad: it is down\n"


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_plan_has_its_facts_as_comments_or_all_of_it_as_data(
    capsys: pytest.CaptureFixture[str], output: str
) -> None:
    """With FORMAT=json it has the command lines too."""
    commands = ["# first", "ssh one true"]
    each_server.show_plan({"FORMAT": output}, "one", {"host": "one"}, ["runs now  x"], commands)
    text = capsys.readouterr().out
    if output == "json":
        assert json.loads(text) == {"host": "one", "commands": commands}
    else:
        assert text.splitlines() == ["# one:", "#     runs now  x", *commands]


@pytest.mark.parametrize(
    ("outcome", "runs", "says"),
    [
        (Outcome.LOST, "new", ""),
        (
            Outcome.LOST,
            "old",
            "connection lost; release old is still running and healthy. Run make",
        ),
        (Outcome.LOST, "", "connection lost; no healthy release is running. Run make status"),
        (Outcome.RECOVERED, "old", "the deploy was killed; release old is still running"),
    ],
)
def test_a_lost_server_is_asked_what_runs(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome, runs: str, says: str
) -> None:
    """Until it answers, and then the result depends on the release that runs."""
    monkeypatch.setattr(each_server.time, "sleep", lambda _: None)  # type: ignore[attr-defined]
    tries: list[str] = []

    @contextlib.contextmanager
    def connected(_: str, host: str) -> Iterator[Any]:
        tries.append(host)
        if len(tries) == 1:
            raise ConnectionFailed(f"cannot reach {host}: no route to it")
        yield None

    def ask(_: Any) -> tuple[Outcome, str]:
        return (Outcome.LOST, "") if len(tries) == 2 else (Outcome.DONE, runs)

    monkeypatch.setattr(each_server, "connected", connected)
    found = settings.resolve(SETTINGS, {})
    if says:
        with pytest.raises(ConnectionFailed, match=f"^one: {says}"):
            each_server.find_out(found, "new", "one", outcome, ask)
    else:
        assert each_server.find_out(found, "new", "one", outcome, ask) == 0
    assert len(tries) == 3
