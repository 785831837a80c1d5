"""What a deploy without Docker finds out before anything is changed, and what a server has."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.deploy_venv import bundle as kit
from slipway.laptop.deploy_venv import plan as serviceplan
from slipway.laptop.deploy_venv import status_report as servicereports
from slipway.laptop.servers import ssh
from slipway.laptop.settings import load as settings
from slipway.shared import lockfile
from tests.conftest import Project
from tests.unit.conftest import SETTINGS

SYSTEM = "CPython 3.13 cpython-313-x86_64-linux-gnu linux-x86_64 debian-trixie"
READY = (
    *("account root", "root", "place /var/lib/slipway/shop", "systemd", "unit none"),
    *("name Debian GNU/Linux 13 (trixie)", "python /usr/bin/python3", f"system {SYSTEM}"),
)
USERS = ("account ann", "place /home/ann/.slipway/shop", *READY[3:])


@pytest.fixture
def wanted(tmp_path: Path) -> Any:
    """A release of two wheels."""
    wheels = {}
    for part, name in (("deps", "idna-3-py3-none-any.whl"), ("app", "shop-1-py3-none-any.whl")):
        (tmp_path / name).write_bytes(name.encode() * 1000)
        wheels[part] = {f"sum-of-{part}": tmp_path / name}
    return serviceplan.Wanted(
        settings=settings.resolve(SETTINGS, {}),
        system=SYSTEM,
        lists={"deps": "idna==3 --hash=sha256:1\n", "app": "shop==1 --hash=sha256:2\n"},
        wheels=wheels,
        environment=b'A="1"\n',
        revision="c" * 40,
        kit=kit.Kit(b"kit", ("python3", "libpq5")),
    )


def planned(wanted: Any, *lines: str, **changed: str) -> Any:
    """Plan a deploy to a server of which a survey says these lines."""
    facts = serviceplan.parse("".join(f"slipway {line}\n" for line in lines))
    values = {**wanted.settings, **changed}
    return serviceplan.Plan("server", dataclasses.replace(wanted, settings=values), facts)


def release(wanted: Any, **changed: Any) -> str:
    """Say a line of a release that is there."""
    return f"release {json.dumps({'release': wanted.release, 'port': '8081', **changed})}"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (READY[:5], "it has no python3: sudo apt install python3"),
        (READY[:7], "its /usr/bin/python3 lacks modules: sudo apt install python3"),
        ((*READY, f"system {SYSTEM[:-6]}sid"), "debian-sid (Debian GNU/Linux 13 (trixie)), and"),
        ((*READY, "lacks libpq5", "lacks libxml2"), "runs with: sudo apt install libpq5 libxml2"),
        ((*READY[:3], *READY[4:]), "it does not run systemd"),
        (
            (*USERS, "leaves"),
            "services of ann end when it logs out: sudo loginctl enable-linger ann",
        ),
        ((*READY, "unit other"), "let it start /var/lib/slipway/shop/current/start, rename it"),
        ((*READY, "listens 00000000:1F91"), "port 8081 is taken there by another program"),
        ((*READY, "free x 1 1 9 1"), "it has 9 kB free in /var/lib/slipway/shop and the release"),
    ],
)
def test_what_cannot_come_to_a_good_end_is_said_before(
    wanted: Any, lines: tuple[str, ...], says: str
) -> None:
    """In one line that says what to type."""
    with pytest.raises(ssh.ConnectionFailed) as problem:
        planned(wanted, *lines).check()
    assert says in str(problem.value)


def test_volumes_take_root(wanted: Any) -> None:
    """An account's own systemd mounts nothing."""
    planned(wanted, *USERS).check()
    with pytest.raises(ssh.ConnectionFailed, match="VOLUMES takes root there"):
        planned(wanted, *USERS, VOLUMES="files:/files").check()


def test_a_port_that_the_present_release_has_is_ours(wanted: Any) -> None:
    """It is given up when the next one starts."""
    runs = (f"current {wanted.release}", release(wanted), "listens 00000000:1F91")
    planned(wanted, *READY, *runs, "state ActiveState=active;NRestarts=0;").check()
    with pytest.raises(ssh.ConnectionFailed, match="is taken there"):
        planned(wanted, *READY, *runs, "state ActiveState=inactive;").check()


def test_only_what_is_not_there_is_sent(wanted: Any) -> None:
    """By content: a wheel of another name or version that has the same sum is the same."""
    found = planned(wanted, *READY, "file sum-of-deps", f"file {wanted.kit.sum}")
    assert list(found.missing) == ["sum-of-app"]
    assert found.sends == "1 of 2 wheels, 23 kB"
    assert found.data()["wheels_sent"] == ["shop-1-py3-none-any.whl"]
    assert planned(wanted, *READY).sends.startswith("2 of 2 wheels, and what installs them")


def test_a_release_is_named_by_its_wheels_and_its_options(wanted: Any) -> None:
    """Not by the server: the same one has the same name everywhere."""
    names = {wanted.release}
    for changed in (
        {"lists": {**wanted.lists, "app": "other"}},
        {"environment": b'A="2"\n'},
        {"settings": {**wanted.settings, "MEMORY": "2g"}},
        {"settings": {**wanted.settings, "COMMAND": "other"}},
    ):
        names.add(dataclasses.replace(wanted, **changed).release)
    assert len(names) == 5


def test_the_manifest_has_all_that_a_server_must_know(wanted: Any) -> None:
    """The application's environment last, so that it beats ours, as in a container."""
    found = wanted.manifest(planned(wanted, *READY).facts)
    assert found["wheels"]["app"] == {"sum-of-app": "shop-1-py3-none-any.whl"}
    assert found["environment"].startswith('PORT="8081"\n')
    assert found["environment"].endswith('\nA="1"\n')
    assert 'ExecStart="/var/lib/slipway/shop/current/start"' in found["unit"]


def test_the_plan_is_said_to_people(wanted: Any) -> None:
    """A line for each thing that is asked about."""
    lines = planned(wanted, *READY, "trying", "lock alive 1 2 3 ann 5 a").lines()
    assert lines[:3] == [
        f"server    {SYSTEM}, system systemd",
        "unit      shop.service is written",
        "runs now  nothing",
    ]
    assert lines[-2].startswith("first     goes back")
    assert lines[-1].startswith("waits     for ann, since 5")


def test_another_interpreter_names_itself_as_wheelhouses_do() -> None:
    """By the source of lockfile.py, which it does not have."""
    done = subprocess.check_output([sys.executable, "-I", "-c", serviceplan.SYSTEM], text=True)
    assert done.strip() == lockfile.system()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no release of shop runs here: run make deploy-venv"),
        (["lock alive 1 2 3 ann"], "a deploy is at work: ann"),
        (["lock dead 1 2 3"], "a deploy was cut off"),
        (["trying"], "a deploy was cut off"),
        (["current a", "state ActiveState=failed;NRestarts=3;"], "is failed, restarted 3 times"),
        (
            ["current a", "state ActiveState=active;NRestarts=0;", "health unhealthy: refused"],
            "the release is unhealthy: refused: make logs-venv",
        ),
        (["current a", "state ActiveState=active;NRestarts=0;", "health GET / answers 200"], ""),
    ],
)
def test_what_is_the_matter_is_said_with_what_to_do(lines: list[str], says: str) -> None:
    """And nothing when all is well."""
    facts = serviceplan.parse("".join(f"slipway {line}\n" for line in lines))
    said = servicereports.matter(facts, "shop")
    assert says in said
    assert bool(says) == bool(said)


def test_status_tells_what_runs_and_what_is_kept(wanted: Any) -> None:
    """The previous one by that word, and the last deploys."""
    lines = (
        *(f"current {wanted.release}", "previous old", "log today: runs", "health tcp"),
        "state ActiveState=active;NRestarts=0;ActiveEnterTimestamp=today;",
        release(wanted, revision="c" * 40, by="ann@here", at="noon"),
        release(wanted, release="old", by="bob@there", at="morning"),
    )
    facts = planned(wanted, *lines).facts
    assert servicereports.status(servicereports.state(facts, "server", "shop")) == [
        "shop.service: active, since today",
        f"    release   {wanted.release}, commit cccccccccccc",
        "    deployed  noon by ann@here",
        "    health    tcp",
        "previous: old, deployed morning by bob@there",
        "the last deploys:",
        "    today: runs",
    ]


def test_without_a_wheelhouse_there_is_nothing_to_deploy(project: Project) -> None:
    """Said before any server is asked."""
    done = project.run("deploy/appenv.py", DEPLOY_HOST="me@one")
    assert (done.returncode, done.stdout) == (
        1,
        "appenv.py: there is no wheelhouse: run make wheels\n",
    )


def test_an_environment_that_systemd_does_not_take_is_refused(project: Project) -> None:
    """Docker would."""
    (project.path / "deploy" / "run.env").write_text("A.B=1\n")
    done = project.run("deploy/appenv.py", DEPLOY_HOST="me@one")
    assert done.stdout.startswith("appenv.py: deploy/run.env: systemd does not take the name A.B")
