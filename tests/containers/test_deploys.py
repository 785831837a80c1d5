"""Plans, releases, locks and several servers: what people ask of deploys every day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import harness
from tests.containers.odd import PORT, Odd


@pytest.fixture
def good(odd: Odd) -> Odd:
    """A good release that runs, whatever other tests have left."""
    odd.release(VERSION="good")
    odd.succeeds()
    return odd


def test_plan_is_said_and_nothing_is_done(good: Odd) -> None:
    """What runs, what will, what is sent; for people and for machines."""
    good.release(VERSION="planned")
    before = good.containers()
    text = good.succeeds(DRY_RUN="1")
    for word in ("runs now", "will run", "sends     0 of 3 layers", "tried beside"):
        assert word in text
    plan = json.loads(good.succeeds(DRY_RUN="1", FORMAT="json"))
    assert plan["runs"] != plan["will_run"]
    assert plan["nothing_to_do"] is False
    assert set(good.containers()) == set(before)
    good.release(VERSION="good")
    assert json.loads(good.succeeds(DRY_RUN="1", FORMAT="json"))["nothing_to_do"] is True


def test_any_kept_release_comes_back(good: Odd) -> None:
    """The previous one, or one by the beginning of its name; older ones than KEEP are gone."""
    first = good.status["running"]["release"]
    names = []
    for version in ("two", "three"):
        good.release(VERSION=version)
        good.succeeds()
        names.append(good.status["running"]["release"])
    good.succeeds("rollback")
    assert good.answer == "two"
    good.succeeds("rollback", RELEASE=first[:-1])
    assert good.answer == "good"
    assert "no release 0123 is kept here" in good.fails("rollback", RELEASE="0123")
    assert good.answer == "good"
    table = good.succeeds("releases").splitlines()
    assert [line.split()[0] for line in table[2:5]] == [first, names[0], names[1]]
    good.release(VERSION="four")
    good.succeeds()
    kept = {each["container"] for each in good.status["releases"]}
    assert len(kept) == 3
    assert good.leftovers() == []


def test_rollback_to_a_release_that_broke_is_put_back(good: Odd) -> None:
    """It was good when it ran, and what it needs is not there any more."""
    options = {"VOLUMES": "/srv/needed:/needed"}
    good.release(VERSION="needy", MODE="needs")
    good.server.run("sh", "-c", "mkdir -p /srv/needed && touch /srv/needed/file")
    good.succeeds(**options)
    good.release(VERSION="good")
    good.succeeds()
    good.server.run("rm", "/srv/needed/file")
    said = good.fails("rollback")
    assert "FileNotFoundError" in said
    assert "good" in good.answer
    kept = [each["container"] for each in good.status["releases"]]
    assert kept[:2] == [good.name, f"{good.name}-previous"]
    assert good.leftovers() == []


def test_second_deploy_is_told_who_is_at_work_and_a_stuck_one_is_ended(good: Odd) -> None:
    """By whom, since when and for which release; `make unlock` puts in order what it leaves."""
    good.release(VERSION="stuck", MODE="late 600")
    with good.start(HEALTH_TIMEOUT="600") as stuck:
        good.until(lambda: f"{good.name}-try" in good.containers())
        said = good.fails("rollback", LOCK_WAIT="0")
        assert "a deploy is at work: " in said
        assert "make unlock" in said
        assert "a deploy is at work" in good.status["matter"]
        assert "took the lock away" in good.succeeds("unlock")
        assert stuck.wait(30) != 0
        assert stuck.stdout
        assert "ended by make unlock" in stuck.stdout.read()
    assert good.is_at_rest()
    assert good.leftovers() == []


def test_port_that_something_else_has_is_said_before_anything_stops(good: Odd) -> None:
    """A container, and another program."""
    taken = ("run", "--detach", "--name", "web", "--publish", "8000:80", "--entrypoint", "sleep")
    good.server.docker(*taken, good.server.docker("images", "--quiet").split()[0], "600")
    try:
        said = good.fails(PORTS="8000:8000")
        assert "port 8000 is taken there by the container web: set PORT" in said
        assert "port 22 is taken there by another program" in good.fails(PORTS="22:22")
    finally:
        good.server.docker("rm", "--force", "web")
    assert good.answer == "good"


def test_several_servers_stop_at_the_first_that_fails(
    good: Odd, engine: harness.Engine, tmp_path: Path
) -> None:
    """One after the other, or several at a time; it is said which has what."""
    with (
        harness.Server(engine, user="deployer", ports=[PORT]) as second,
        harness.Server(engine, user="sudoer", ports=[PORT]) as third,
    ):
        text = ""
        for name, server in (("server", good.server), ("second", second), ("third", third)):
            text += (server.folder / "config").read_text().replace("Host server", f"Host {name}")
        (tmp_path / "config").write_text(text)
        ssh = f"ssh -F {tmp_path / 'config'}"
        good.release(VERSION="everywhere")
        second.stop_engine()
        said = good.fails(SSH=ssh, DEPLOY_HOST="server second third")
        assert "second: its Docker engine is stopped" in said
        lines = said.splitlines()
        assert "deploy: server: done" in lines
        assert "deploy: second: failed; see above" in lines
        assert "deploy: third: not begun" in lines
        second.start_engine()
        said = good.succeeds(SSH=ssh, DEPLOY_HOST="server second third", PARALLEL="3")
        assert "server: nothing to do" in said
        for server in (second, third):
            there = Odd(good.laptop, good.project, good.name, server)
            assert there.answer == "everywhere"
            assert "600" in server.run("sh", "-c", "stat -c %a /home/*/.slipway/*/env-*")


def test_power_cut_brings_the_release_back(good: Odd) -> None:
    """Without anybody's help, also in the middle of a switch."""
    good.release(VERSION="late", MODE="late 20")
    with good.start(CANDIDATE="no") as deploy:
        good.until(lambda: good.containers().get(f"{good.name}-next", "").startswith("Up"))
        deploy.kill()
        good.server.reboot()
        good.until(good.one_healthy_release_runs)
        assert good.answer == "good"
    assert "cut off" in good.status["matter"]
    good.release(VERSION="good")
    good.succeeds()
    assert good.leftovers() == []
