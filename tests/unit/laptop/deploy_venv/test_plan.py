"""The checks of a deploy without Docker, and the facts of a server."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.deploy_venv import bundle, commands, plan, status_report, survey
from slipway.laptop.servers import ssh
from slipway.laptop.servers.survey import NotReady
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
    return plan.Wanted(
        settings=settings.resolve(SETTINGS, {}),
        system=SYSTEM,
        lists={"deps": "idna==3 --hash=sha256:1\n", "app": "shop==1 --hash=sha256:2\n"},
        wheels=wheels,
        environment=b'A="1"\n',
        revision="c" * 40,
        bundle=bundle.Bundle(b"bundle", ("python3", "libpq5")),
    )


def planned(wanted: Any, *lines: str, **changed: str) -> Any:
    """Plan a deploy to a server whose survey has these lines."""
    facts = survey.parse("".join(f"slipway {line}\n" for line in lines))
    values = {**wanted.settings, **changed}
    return plan.Plan("server", dataclasses.replace(wanted, settings=values), facts)


def release(wanted: Any, **changed: Any) -> str:
    """Return the line of a survey for a release."""
    return f"release {json.dumps({'release': wanted.release, 'port': '8081', **changed})}"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (READY[:5], "it has no python3. Run: sudo apt install python3"),
        (READY[:7], "modules of its /usr/bin/python3 are missing. Run: sudo apt install python3"),
        ((*READY, f"system {SYSTEM[:-6]}sid"), "debian-sid (Debian GNU/Linux 13 (trixie)), and"),
        ((*READY, "missing libpq5", "missing libxml2"), "Run: sudo apt install libpq5 libxml2"),
        ((*READY[:3], *READY[4:]), "it does not run systemd"),
        (
            (*USERS, "no-linger"),
            "services of ann end when it logs out. Run: sudo loginctl enable-linger ann",
        ),
        ((*READY, "unit other"), "Make it start /var/lib/slipway/shop/current/start, rename it"),
        ((*READY, "listens 00000000:1F91"), "port 8081 is taken there by another program"),
        ((*READY, "free x 1 1 9 1"), "it has 9 kB free in /var/lib/slipway/shop, and the release"),
    ],
)
def test_a_deploy_that_cannot_succeed_is_refused(
    wanted: Any, lines: tuple[str, ...], says: str
) -> None:
    """In one line that says what to do."""
    with pytest.raises(ssh.ConnectionFailed) as problem:
        planned(wanted, *lines).check()
    assert says in str(problem.value)


def test_an_address_of_a_container_is_refused() -> None:
    """What runs without one has the server's own network."""
    with pytest.raises(NotReady, match="BIND is none, which only a container can have"):
        plan.wanted(settings.resolve(SETTINGS, {"BIND": "none"}))


def test_volumes_need_root(wanted: Any) -> None:
    """An account's own systemd cannot mount them."""
    planned(wanted, *USERS).check()
    with pytest.raises(ssh.ConnectionFailed, match="VOLUMES needs root there"):
        planned(wanted, *USERS, VOLUMES="files:/files").check()


def test_the_port_of_the_present_release_is_free(wanted: Any) -> None:
    """The release gives it up when the next one starts."""
    runs = (f"current {wanted.release}", release(wanted), "listens 00000000:1F91")
    planned(wanted, *READY, *runs, "state ActiveState=active;NRestarts=0;").check()
    with pytest.raises(ssh.ConnectionFailed, match="is taken there"):
        planned(wanted, *READY, *runs, "state ActiveState=inactive;").check()


def test_only_missing_files_are_sent(wanted: Any) -> None:
    """The content counts, not the name."""
    found = planned(wanted, *READY, "file sum-of-deps", f"file {wanted.bundle.sha256}")
    assert list(found.missing) == ["sum-of-app"]
    assert found.sends == "1 of 2 wheels, 23 kB"
    assert found.data()["wheels_sent"] == ["shop-1-py3-none-any.whl"]
    assert planned(wanted, *READY).sends.startswith("2 of 2 wheels and the bundle")


def test_a_release_is_named_by_its_wheels_and_its_options(wanted: Any) -> None:
    """The same release has the same name on all servers."""
    names = {wanted.release}
    for changed in (
        {"lists": {**wanted.lists, "app": "other"}},
        {"environment": b'A="2"\n'},
        {"settings": {**wanted.settings, "MEMORY": "2g"}},
        {"settings": {**wanted.settings, "COMMAND": "other"}},
    ):
        names.add(dataclasses.replace(wanted, **changed).release)
    assert len(names) == 5


def test_the_manifest_has_all_that_a_server_needs(wanted: Any) -> None:
    """The application's environment comes last, and so it takes precedence."""
    found = wanted.manifest(planned(wanted, *READY).facts)
    assert found["wheels"]["app"] == {"sum-of-app": "shop-1-py3-none-any.whl"}
    assert found["environment"].startswith('PORT="8081"\n')
    assert found["environment"].endswith('\nA="1"\n')
    assert 'ExecStart="/var/lib/slipway/shop/current/start"' in found["unit"]


def test_the_plan_is_for_people(wanted: Any) -> None:
    """It has one line for each topic."""
    lines = planned(wanted, *READY, "trying", "lock alive 1 2 3 0 ann 5 a").lines()
    assert lines[:3] == [
        f"server    {SYSTEM}, system systemd",
        "unit      shop.service is written",
        "runs now  nothing",
    ]
    assert lines[-2].startswith("first     recovers")
    assert lines[-1].startswith("waits     for ann, since 5")


def test_the_commands_of_a_dry_run_can_be_pasted(wanted: Any, tmp_path: Path) -> None:
    """Each is a comment or a whole command, and a shell reads no other one's lines."""
    found = planned(wanted, *READY)
    lines = commands.deploy({**wanted.settings, "IMAGES": "shop"}, found)
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\n[ "$1" = -n ] || cat >/dev/null\necho called >>"$0.log"\n')
    for name in ("docker", "tar"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    ssh.chmod(0o755)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "run.env").write_text("A=1\n")
    script = "\n".join(lines)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh", "-s"], input=script, env=environment, cwd=tmp_path, text=True, check=True)
    called = (tmp_path / "ssh.log").read_text().splitlines()
    own = [line for line in lines if not line.startswith("#")]
    assert len(called) == len(own)
    assert any("install_wheelhouse" in line for line in own)
    assert 'A="1"' not in script  # it may be a secret


def test_another_interpreter_prints_the_system_of_a_wheelhouse() -> None:
    """It runs the source of lockfile.py, which it does not have."""
    done = subprocess.check_output([sys.executable, "-I", "-c", survey.SYSTEM], text=True)
    assert done.strip() == lockfile.system()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no release of shop runs here. Run make deploy-venv"),
        (["lock alive 1 2 3 0 ann"], "a deploy is running: ann"),
        (["lock dead 1 2 3"], "a deploy was cut off"),
        (["trying"], "a deploy was cut off"),
        (["current a", "state ActiveState=failed;NRestarts=3;"], "is failed, restarted 3 times"),
        (
            ["current a", "state ActiveState=active;NRestarts=0;", "health unhealthy: refused"],
            "the release is unhealthy: refused. Run make logs-venv",
        ),
        (["current a", "state ActiveState=active;NRestarts=0;", "health GET / answers 200"], ""),
    ],
)
def test_a_problem_is_reported_with_what_to_do(lines: list[str], says: str) -> None:
    """A healthy server has no problem."""
    facts = survey.parse("".join(f"slipway {line}\n" for line in lines))
    problem = status_report.problem(facts, "shop")
    assert says in problem
    assert bool(says) == bool(problem)


def test_status_lists_the_running_and_the_kept_releases(wanted: Any) -> None:
    """And the last deploys."""
    lines = (
        *(f"current {wanted.release}", "previous old", "log today: runs", "health tcp"),
        "state ActiveState=active;NRestarts=0;ActiveEnterTimestamp=today;",
        release(wanted, revision="c" * 40, by="ann@here", at="noon"),
        release(wanted, release="old", by="bob@there", at="morning"),
    )
    facts = planned(wanted, *lines).facts
    assert status_report.status(status_report.state(facts, "server", "shop")) == [
        "shop.service: active, since today",
        f"    release   {wanted.release}, commit cccccccccccc",
        "    deployed  noon by ann@here",
        "    health    tcp",
        "previous: old, deployed morning by bob@there",
        "the last deploys:",
        "    today: runs",
    ]


def test_without_a_wheelhouse_there_is_nothing_to_deploy(project: Project) -> None:
    """The command fails before it connects to a server."""
    done = project.run(sys.executable, "deploy/slipway", "deploy-venv", DEPLOY_HOST="me@one")
    assert (done.returncode, done.stdout) == (
        1,
        "slipway: there is no wheelhouse. Run make wheels.\n",
    )


def test_an_environment_that_systemd_does_not_accept_is_refused(project: Project) -> None:
    """Docker would accept it."""
    (project.path / "deploy" / "run.env").write_text("A.B=1\n")
    done = project.run(sys.executable, "deploy/slipway", "deploy-venv", DEPLOY_HOST="me@one")
    assert done.stdout.startswith("slipway: deploy/run.env: systemd does not accept the name A.B.")


def test_a_wheel_that_the_lock_does_not_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes a wheel can change the list beside it."""
    found = settings.resolve(SETTINGS, {})
    for part in ("deps", "app"):
        folder = tmp_path / found["WHEELHOUSE"] / part
        folder.mkdir(parents=True)
        (folder / "requirements.txt").write_text("# lock\n# CPython\n")
    (tmp_path / found["WHEELHOUSE"] / "deps" / "idna-3.4-py3-none-any.whl").write_bytes(b"changed")
    monkeypatch.setattr(plan, "ROOT", tmp_path)
    monkeypatch.setattr(plan, "lock_text", lambda: f"idna==3.4 --hash=sha256:{'1' * 64}\n")
    with pytest.raises(NotReady, match=r"idna-3\.4-py3-none-any\.whl in the wheelhouse is not"):
        plan.wanted(found)
