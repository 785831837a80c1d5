"""Plans, releases, locks and several servers: what people ask of deploys every day."""

from __future__ import annotations

import json
from pathlib import Path

import testbed
from tests.containers.faulty_application import PORT, Faulty


def test_plan_is_printed_and_nothing_is_done(faulty: Faulty) -> None:
    """It has what runs, what will run and what is sent, for people and for machines."""
    faulty.release(VERSION="planned")
    before = faulty.containers()
    text = faulty.succeeds(DRY_RUN="1")
    for word in ("runs now", "will run", "sends     0 of 3 layers", "tried beside"):
        assert word in text
    plan = json.loads(faulty.succeeds(DRY_RUN="1", FORMAT="json"))
    assert plan["runs"] != plan["will_run"]
    assert plan["nothing_to_do"] is False
    assert set(faulty.containers()) == set(before)
    faulty.release(VERSION="good")
    assert json.loads(faulty.succeeds(DRY_RUN="1", FORMAT="json"))["nothing_to_do"] is True


def test_any_kept_release_comes_back(faulty: Faulty) -> None:
    """The previous one, or one by the beginning of its name; older ones than KEEP are gone."""
    first = faulty.status["running"]["release"]
    names = []
    for version in ("two", "three"):
        faulty.release(VERSION=version)
        faulty.succeeds()
        names.append(faulty.status["running"]["release"])
    faulty.succeeds("rollback")
    assert faulty.answer == "two"
    faulty.succeeds("rollback", RELEASE=first[:-1])
    assert faulty.answer == "good"
    assert "no release 0123 is kept here" in faulty.fails("rollback", RELEASE="0123")
    assert faulty.answer == "good"
    table = faulty.succeeds("releases").splitlines()
    assert [line.split()[0] for line in table[2:5]] == [first, names[0], names[1]]
    faulty.release(VERSION="four")
    faulty.succeeds()
    kept = {each["container"] for each in faulty.status["releases"]}
    assert len(kept) == 3
    assert faulty.leftovers() == []


def test_rollback_to_a_release_that_broke_is_rolled_back(faulty: Faulty) -> None:
    """It was good when it ran, and what it needs is not there any more."""
    options = {"VOLUMES": "/srv/needed:/needed"}
    faulty.release(VERSION="needy", MODE="needs")
    faulty.server.run("sh", "-c", "mkdir -p /srv/needed && touch /srv/needed/file")
    faulty.succeeds(**options)
    faulty.release(VERSION="good")
    faulty.succeeds()
    faulty.server.run("rm", "/srv/needed/file")
    said = faulty.fails("rollback")
    assert "FileNotFoundError" in said
    assert "good" in faulty.answer
    kept = [each["container"] for each in faulty.status["releases"]]
    assert kept[:2] == [faulty.name, f"{faulty.name}-previous"]
    assert faulty.leftovers() == []


def test_second_deploy_names_the_one_at_work_and_unlock_ends_it(faulty: Faulty) -> None:
    """By whom, since when and for which release; `make unlock` recovers what it leaves."""
    faulty.release(VERSION="stuck", MODE="late 600")
    with faulty.start(HEALTH_TIMEOUT="600") as stuck:
        faulty.until(lambda: f"{faulty.name}-try" in faulty.containers())
        said = faulty.fails("rollback", LOCK_WAIT="0")
        assert "another deploy is running: " in said
        assert "make unlock" in said
        assert "a deploy is running: " in faulty.status["problem"]
        assert "removed the lock of" in faulty.succeeds("unlock")
        assert stuck.wait(30) != 0
        assert stuck.stdout
        assert "ended by make unlock" in stuck.stdout.read()
    assert faulty.is_at_rest()
    assert faulty.leftovers() == []


def test_port_that_something_else_has_is_reported_before_anything_stops(faulty: Faulty) -> None:
    """A container, and another program."""
    taken = ("run", "--detach", "--name", "web", "--publish", "8000:80", "--entrypoint", "sleep")
    faulty.server.docker(*taken, faulty.server.docker("images", "--quiet").split()[0], "600")
    try:
        said = faulty.fails(PORTS="8000:8000")
        assert "port 8000 is taken there by the container web. Set PORT" in said
        assert "port 22 is taken there by another program" in faulty.fails(PORTS="22:22")
    finally:
        faulty.server.docker("rm", "--force", "web")
    assert faulty.answer == "good"


def test_several_servers_stop_at_the_first_that_fails(
    faulty: Faulty, engine: testbed.Engine, tmp_path: Path
) -> None:
    """One after the other, or several at a time; the summary names what each has and is missing."""
    with (
        testbed.Server(engine, user="deployer", ports=[PORT]) as second,
        testbed.Server(engine, user="sudoer", ports=[PORT]) as third,
    ):
        text = ""
        for name, server in (("server", faulty.server), ("second", second), ("third", third)):
            text += (server.folder / "config").read_text().replace("Host server", f"Host {name}")
        (tmp_path / "config").write_text(text)
        ssh = f"ssh -F {tmp_path / 'config'}"
        faulty.release(VERSION="everywhere")
        second.stop_engine()
        said = faulty.fails(SSH=ssh, DEPLOY_HOST="server second third")
        assert "second: its Docker engine is stopped" in said
        lines = said.splitlines()
        assert "server: done" in lines
        assert "second: failed; see above" in lines
        assert "third: not started" in lines
        second.start_engine()
        said = faulty.succeeds(SSH=ssh, DEPLOY_HOST="server second third", PARALLEL="3")
        assert "server: nothing to do" in said
        for server in (second, third):
            there = Faulty(faulty.laptop, faulty.project, faulty.name, server)
            assert there.answer == "everywhere"
            assert "600" in server.run("sh", "-c", "stat -c %a /home/*/.slipway/*/env-*")


def test_rootless_docker_is_deployed_to_as_any_other(
    faulty: Faulty, engine: testbed.Engine
) -> None:
    """It does not see the tunnel: the image is loaded, and what it has is not sent again."""
    with testbed.Server(engine, user="rootless", ports=[PORT]) as server:
        there = Faulty(faulty.laptop, faulty.project, faulty.name, server)
        for version, layers in (("first", 3), ("second", 0)):
            there.release(VERSION=version)
            assert f"{layers} layers" in there.succeeds(STEADY="1")
            assert there.answer == version
        there.release(VERSION="bad", MODE="exits")
        assert "no database today" in there.fails(STEADY="1")
        assert there.answer == "second"
        there.succeeds("rollback")
        assert there.answer == "first"


def test_power_cut_brings_the_release_back(faulty: Faulty) -> None:
    """Without anybody's help, also in the middle of a switch."""
    faulty.release(VERSION="late", MODE="late 20")
    with faulty.start(CANDIDATE="no") as deploy:
        faulty.until(lambda: faulty.containers().get(f"{faulty.name}-next", "").startswith("Up"))
        deploy.kill()
        faulty.server.reboot()
        faulty.until(faulty.one_healthy_release_runs)
        assert faulty.answer == "good"
    assert "cut off" in faulty.status["problem"]
    faulty.release(VERSION="good")
    faulty.succeeds()
    assert faulty.leftovers() == []
