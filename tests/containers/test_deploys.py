"""Plans, releases, locks and several servers: what people ask of deploys every day."""

from __future__ import annotations

import json
from pathlib import Path

import testbed
from tests.containers.odd import PORT, Odd


def test_plan_is_said_and_nothing_is_done(odd: Odd) -> None:
    """What runs, what will, what is sent; for people and for machines."""
    odd.release(VERSION="planned")
    before = odd.containers()
    text = odd.succeeds(DRY_RUN="1")
    for word in ("runs now", "will run", "sends     0 of 3 layers", "tried beside"):
        assert word in text
    plan = json.loads(odd.succeeds(DRY_RUN="1", FORMAT="json"))
    assert plan["runs"] != plan["will_run"]
    assert plan["nothing_to_do"] is False
    assert set(odd.containers()) == set(before)
    odd.release(VERSION="good")
    assert json.loads(odd.succeeds(DRY_RUN="1", FORMAT="json"))["nothing_to_do"] is True


def test_any_kept_release_comes_back(odd: Odd) -> None:
    """The previous one, or one by the beginning of its name; older ones than KEEP are gone."""
    first = odd.status["running"]["release"]
    names = []
    for version in ("two", "three"):
        odd.release(VERSION=version)
        odd.succeeds()
        names.append(odd.status["running"]["release"])
    odd.succeeds("rollback")
    assert odd.answer == "two"
    odd.succeeds("rollback", RELEASE=first[:-1])
    assert odd.answer == "good"
    assert "no release 0123 is kept here" in odd.fails("rollback", RELEASE="0123")
    assert odd.answer == "good"
    table = odd.succeeds("releases").splitlines()
    assert [line.split()[0] for line in table[2:5]] == [first, names[0], names[1]]
    odd.release(VERSION="four")
    odd.succeeds()
    kept = {each["container"] for each in odd.status["releases"]}
    assert len(kept) == 3
    assert odd.leftovers() == []


def test_rollback_to_a_release_that_broke_is_put_back(odd: Odd) -> None:
    """It was good when it ran, and what it needs is not there any more."""
    options = {"VOLUMES": "/srv/needed:/needed"}
    odd.release(VERSION="needy", MODE="needs")
    odd.server.run("sh", "-c", "mkdir -p /srv/needed && touch /srv/needed/file")
    odd.succeeds(**options)
    odd.release(VERSION="good")
    odd.succeeds()
    odd.server.run("rm", "/srv/needed/file")
    said = odd.fails("rollback")
    assert "FileNotFoundError" in said
    assert "good" in odd.answer
    kept = [each["container"] for each in odd.status["releases"]]
    assert kept[:2] == [odd.name, f"{odd.name}-previous"]
    assert odd.leftovers() == []


def test_second_deploy_is_told_who_is_at_work_and_a_stuck_one_is_ended(odd: Odd) -> None:
    """By whom, since when and for which release; `make unlock` puts in order what it leaves."""
    odd.release(VERSION="stuck", MODE="late 600")
    with odd.start(HEALTH_TIMEOUT="600") as stuck:
        odd.until(lambda: f"{odd.name}-try" in odd.containers())
        said = odd.fails("rollback", LOCK_WAIT="0")
        assert "a deploy is at work: " in said
        assert "make unlock" in said
        assert "a deploy is at work" in odd.status["matter"]
        assert "took the lock away" in odd.succeeds("unlock")
        assert stuck.wait(30) != 0
        assert stuck.stdout
        assert "ended by make unlock" in stuck.stdout.read()
    assert odd.is_at_rest()
    assert odd.leftovers() == []


def test_port_that_something_else_has_is_said_before_anything_stops(odd: Odd) -> None:
    """A container, and another program."""
    taken = ("run", "--detach", "--name", "web", "--publish", "8000:80", "--entrypoint", "sleep")
    odd.server.docker(*taken, odd.server.docker("images", "--quiet").split()[0], "600")
    try:
        said = odd.fails(PORTS="8000:8000")
        assert "port 8000 is taken there by the container web: set PORT" in said
        assert "port 22 is taken there by another program" in odd.fails(PORTS="22:22")
    finally:
        odd.server.docker("rm", "--force", "web")
    assert odd.answer == "good"


def test_several_servers_stop_at_the_first_that_fails(
    odd: Odd, engine: testbed.Engine, tmp_path: Path
) -> None:
    """One after the other, or several at a time; it is said which has what, and lacks what."""
    with (
        testbed.Server(engine, user="deployer", ports=[PORT]) as second,
        testbed.Server(engine, user="sudoer", ports=[PORT]) as third,
    ):
        text = ""
        for name, server in (("server", odd.server), ("second", second), ("third", third)):
            text += (server.folder / "config").read_text().replace("Host server", f"Host {name}")
        (tmp_path / "config").write_text(text)
        ssh = f"ssh -F {tmp_path / 'config'}"
        odd.release(VERSION="everywhere")
        second.stop_engine()
        said = odd.fails(SSH=ssh, DEPLOY_HOST="server second third")
        assert "second: its Docker engine is stopped" in said
        lines = said.splitlines()
        assert "deploy: server: done" in lines
        assert "deploy: second: failed; see above" in lines
        assert "deploy: third: not begun" in lines
        third.run("chmod", "755", "/tmp")
        assert "sudo chmod 1777 /tmp" in odd.fails(SSH=ssh, DEPLOY_HOST="third")
        third.run("chmod", "1777", "/tmp")
        second.start_engine()
        said = odd.succeeds(SSH=ssh, DEPLOY_HOST="server second third", PARALLEL="3")
        assert "server: nothing to do" in said
        for server in (second, third):
            there = Odd(odd.laptop, odd.project, odd.name, server)
            assert there.answer == "everywhere"
            assert "600" in server.run("sh", "-c", "stat -c %a /home/*/.slipway/*/env-*")


def test_rootless_docker_is_deployed_to_as_any_other(odd: Odd, engine: testbed.Engine) -> None:
    """It does not see the tunnel: the image is loaded, and what it has is not sent again."""
    with testbed.Server(engine, user="rootless", ports=[PORT]) as server:
        there = Odd(odd.laptop, odd.project, odd.name, server)
        for version, layers in (("first", 3), ("second", 0)):
            there.release(VERSION=version)
            assert f"{layers} layers" in there.succeeds(STEADY="1")
            assert there.answer == version
        there.release(VERSION="bad", MODE="exits")
        assert "no database today" in there.fails(STEADY="1")
        assert there.answer == "second"
        there.succeeds("rollback")
        assert there.answer == "first"


def test_power_cut_brings_the_release_back(odd: Odd) -> None:
    """Without anybody's help, also in the middle of a switch."""
    odd.release(VERSION="late", MODE="late 20")
    with odd.start(CANDIDATE="no") as deploy:
        odd.until(lambda: odd.containers().get(f"{odd.name}-next", "").startswith("Up"))
        deploy.kill()
        odd.server.reboot()
        odd.until(odd.one_healthy_release_runs)
        assert odd.answer == "good"
    assert "cut off" in odd.status["matter"]
    odd.release(VERSION="good")
    odd.succeeds()
    assert odd.leftovers() == []
