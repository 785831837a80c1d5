"""Reports of a server: its problem, and what to do about it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from slipway.laptop.deploy import status_report
from tests.unit.laptop.deploy.test_plan import said
from tests.unit.laptop.deploy.test_survey import surveyed


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([said()], ""),
        ([], "no release of shop runs here. Run make deploy"),
        ([said(health="unhealthy")], "the release is unhealthy. Run make logs to see why"),
        (
            [said(policy="no", running=False, status="exited")],
            "the release was stopped. Run make start ON=server, or make deploy",
        ),
        ([said(policy="no")], "the release would not start after a reboot. Run make deploy"),
        ([said(labels={})], "the container shop here is not managed by slipway"),
        (
            [said(), said(name="/shop-next")],
            "a deploy was cut off. Run make deploy or make rollback",
        ),
        ([said(), "lock dead 1 2 3"], "a deploy was cut off"),
        ([said(), "lock alive 1 2 3 0 ann now x"], "a deploy is running: ann, since now, for x"),
    ],
)
def test_a_problem_is_reported_with_what_to_do(lines: list[str], says: str) -> None:
    """A healthy server has no problem."""
    problem = status_report.problem(surveyed(*lines), "shop")
    assert problem.startswith(says)
    assert bool(problem) is bool(says)


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Read reports in a time zone that is nine hours ahead of the servers' UTC."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_a_status_is_the_same_for_people_and_programs() -> None:
    """Release, digest, commit, health, since when, by whom, earlier releases, the log."""
    labels = {
        "slipway.project": "shop",
        "slipway.release": "abc-1",
        "slipway.digest": "sha256:d",
        "slipway.revision": "c" * 40 + "-dirty",
        "slipway.by": "ann@her-laptop",
        "slipway.at": "2026-01-01T00:00:00Z",
    }
    before = said(name="/shop-previous", labels=labels, running=False, status="exited")
    facts = surveyed(said(labels=labels), before, "log 2026-01-01T00:00:07Z deploy")
    found = json.loads(json.dumps(status_report.state(facts, "server", "shop")))
    assert found["running"]["release"] == "abc-1"
    assert [each["container"] for each in found["releases"]] == ["shop", "shop-previous"]
    text = "\n".join(status_report.status(found))
    for word in (
        "shop: healthy",
        "abc-1",
        "sha256:d",
        "cccccccccccc-dirty",
        "deployed  2026-01-01 09:00:00 JST by ann@her-laptop",
        "2026-01-01 09:00:07 JST deploy",
    ):
        assert word in text
    assert found["running"]["at"] == "2026-01-01T00:00:00Z"
    table = status_report.releases(found)
    assert "cccccccccccc-dirty  2026-01-01 09:00:00 JST" in table[1]
    assert table[0].split() == ["RELEASE", "COMMIT", "DEPLOYED", "BY", "STATE"]
    assert [line.split()[-1] for line in table[1:]] == ["healthy", "previous"]
