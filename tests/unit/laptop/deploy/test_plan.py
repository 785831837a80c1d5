"""The plan of a deploy: its checks before anything is changed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from slipway.laptop.deploy import plan, status_report
from slipway.laptop.servers import ssh
from tests.unit.laptop.deploy.test_survey import RELEASE, container, surveyed

WANTED = plan.Wanted(
    project="shop",
    repository="shop-run",
    digest="sha256:" + "a" * 64,
    image="sha256:1",
    architecture="amd64",
    revision="c" * 40,
    layers=("one", "two"),
    sizes=(100_000, 2_000),
    size=400_000,
    options="--init",
    published="--publish 0.0.0.0:8081:8081",
    ports=(8081,),
    volumes="",
    environment=b"A=1\n",
    candidate=True,
)
RUNS = {
    "slipway.project": "shop",
    "slipway.release": WANTED.release,
    "slipway.options": WANTED.options_sum,
}


def made(*lines: str, **changed: Any) -> Any:
    """Plan a deploy to a server whose survey has these lines."""
    facts = surveyed("docker docker", "engine 26.1 amd64", *lines)
    return plan.Plan("server", dataclasses.replace(WANTED, **changed), facts)


def said(**changed: Any) -> str:
    """Return the line of a survey for a container."""
    return f"container {json.dumps({**RELEASE, **changed})}"


def test_a_release_is_named_by_its_image_and_its_options() -> None:
    """The environment is one of the options."""
    assert WANTED.release == f"aaaaaaaaaaaa-{WANTED.options_sum[:4]}"
    for changed in ({"environment": b"A=2\n"}, {"options": "x"}, {"published": "x"}):
        assert dataclasses.replace(WANTED, **changed).options_sum != WANTED.options_sum


@pytest.mark.parametrize(
    ("lines", "nothing"),
    [
        ([], False),
        ([said(labels=RUNS)], True),
        ([said(labels=RUNS, health="unhealthy")], False),
        ([said(labels={**RUNS, "slipway.options": "other"})], False),
        ([said(labels={**RUNS, "slipway.release": "other"})], False),
        ([said(labels=RUNS), said(name="/shop-next", running=False)], False),
        ([said(labels=RUNS), "lock dead 1 2 3"], False),
    ],
)
def test_there_is_nothing_to_do_when_the_release_is_healthy(
    lines: list[str], nothing: bool
) -> None:
    """And nothing is left of a deploy that was cut off."""
    assert made(*lines).nothing_to_do is nothing


@pytest.mark.parametrize(
    ("api", "options", "early"),
    [
        ("1.44", "--init", True),
        ("1.5", "--init", False),
        ("1.43", "--init", False),
        ("", "--init", False),
        ("1.45", "--init --no-healthcheck", False),
    ],
)
def test_a_starting_release_is_checked_often_where_docker_can(
    api: str, options: str, early: bool
) -> None:
    """An older docker would refuse the option, and so would one without health checks."""
    facts = surveyed("docker docker", f"engine 26.1 amd64 {api}")
    found = plan.Plan("server", dataclasses.replace(WANTED, options=options), facts).early
    assert found == ("--health-start-interval 500ms" if early else "")


def test_only_layers_that_are_not_there_are_sent() -> None:
    """The images' configurations count, not what was pushed before."""
    assert made().missing == [100_000, 2_000]
    assert made('layers ["one", "other"]').missing == [2_000]


@pytest.mark.parametrize(
    ("lines", "changed", "says"),
    [
        ([], {"architecture": "arm64"}, "make image push deploy PLATFORM=linux/amd64"),
        ([said(labels={})], {}, "the container shop there is not managed by slipway. Rename"),
        ([said(name="/shop-next", labels={})], {}, "the container shop-next there"),
        ([said(name="/web", labels={})], {}, "port 8081 is taken there by the container web"),
        (["listens 00000000:1F91"], {}, "port 8081 is taken there by another program. Set PORT"),
        (["free x 1 1 40 1% /"], {}, "it has 41 kB free, and the image may need 50.5 MB"),
        (["locked /home"], {}, "may not write in /home there, and a deploy needs ~/.slipway"),
        (["full /home"], {}, "its disk /home is full. Run: sudo du -xh /home"),
    ],
)
def test_a_deploy_that_cannot_succeed_is_refused(
    lines: list[str], changed: dict[str, Any], says: str
) -> None:
    """The message is one line, which names the server."""
    with pytest.raises(ssh.ConnectionFailed) as refused:
        made(*lines, **changed).check()
    assert str(refused.value).startswith("server: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [said(), "listens 00000000:1F91"],  # the port of the present release
        [said(name="/web", labels={}, running=False)],
        ["free x 1 1 99999999 1% /"],
    ],
)
def test_a_deploy_that_can_succeed_passes(lines: list[str]) -> None:
    """The port of the running release is free for its successor."""
    made(*lines).check()


def test_the_plan_is_for_people_and_for_programs() -> None:
    """Both have the same facts."""
    full = made(said(), 'layers ["one"]', "lock alive 7 8 9 0 ann@her-laptop now abc-1")
    text = "\n".join(full.lines())
    since = status_report.local("2026-01-02T03:04:05Z")
    assert f"abc-1, healthy, since {since}" in text
    assert f"{WANTED.release}, commit cccccccccccc" in text
    assert "1 of 2 layers, 2 kB" in text
    assert "tried beside" in text
    assert "ann@her-laptop, since now, for abc-1" in text
    data = json.loads(json.dumps(full.data()))
    assert (data["runs"], data["will_run"]) == ("abc-1", WANTED.release)
    assert (data["layers_sent"], data["bytes_sent"], data["tried_beside"]) == (1, 2_000, True)
    assert made().data()["tried_beside"] is False
    assert container().name == "shop"
