"""Reports of a server: what is the matter, and what to do about it."""

from __future__ import annotations

import json

import pytest

from slipway.laptop.deploy import status_report as reports
from tests.unit.laptop.deploy.test_plan import said
from tests.unit.laptop.deploy.test_survey import told


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([said()], ""),
        ([], "no release of shop runs here: run make deploy"),
        ([said(health="unhealthy")], "the release is unhealthy: make logs shows why"),
        ([said(policy="no")], "a reboot would not bring the release back: run make deploy"),
        ([said(labels={})], "a container named shop is here that no deploy made"),
        ([said(), said(name="/shop-next")], "a deploy was cut off: make deploy or make rollback"),
        ([said(), "lock dead 1 2 3"], "a deploy was cut off"),
        ([said(), "lock alive 1 2 3 ann now x"], "a deploy is at work: ann, since now, for x"),
    ],
)
def test_what_is_the_matter_is_said_with_what_to_do(lines: list[str], says: str) -> None:
    """Nothing, when all is well."""
    matter = reports.matter(told(*lines), "shop")
    assert matter.startswith(says)
    assert bool(matter) is bool(says)


def test_a_status_is_the_same_for_people_and_machines() -> None:
    """Release, digest, commit, health, since when, by whom, previous ones, the log."""
    labels = {
        "slipway.project": "shop",
        "slipway.release": "abc-1",
        "slipway.digest": "sha256:d",
        "slipway.revision": "c" * 40,
        "slipway.by": "ann@her-laptop",
        "slipway.at": "2026-01-01T00:00:00Z",
    }
    before = said(name="/shop-previous", labels=labels, running=False, status="exited")
    facts = told(said(labels=labels), before, "log deployed")
    found = json.loads(json.dumps(reports.of(facts, "server", "shop")))
    assert found["running"]["release"] == "abc-1"
    assert [each["container"] for each in found["releases"]] == ["shop", "shop-previous"]
    text = "\n".join(reports.status(found))
    for word in (
        "shop: healthy",
        "abc-1",
        "sha256:d",
        "cccccccccccc",
        "ann@her-laptop",
        "deployed",
    ):
        assert word in text
    table = reports.releases(found)
    assert table[0].split() == ["RELEASE", "COMMIT", "DEPLOYED", "BY", "IS"]
    assert [line.split()[-1] for line in table[1:]] == ["healthy", "previous"]
