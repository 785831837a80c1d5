"""DRY_RUN=1 prints the docker commands of the server's script: both are compared here."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.commands import deploy as command
from slipway.laptop.deploy import docker_commands, survey
from slipway.laptop.deploy import plan as plans
from slipway.laptop.deploy.docker_commands import Step
from slipway.laptop.servers import remote_job
from slipway.laptop.servers.remote_job import Outcome
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS, Program
from tests.unit.laptop.deploy.test_plan import WANTED

REFERENCE = "127.0.0.1:5051/shop-run@sha256:a"


class Engine:
    """A docker without an engine, with some containers of the project `shop`."""

    def __init__(self, folder: Path, program: Program) -> None:
        """Keep containers and records in a folder."""
        self.folder = folder
        folder.mkdir()
        fake = Path(__file__).with_name("fake_docker.py")
        program("docker", f'exec {sys.executable} -S {fake} {folder} "$@"')
        self.containers: dict[str, dict[str, Any]] = {}

    def add(self, name: str, release: str, policy: str = "no", running: bool = False) -> None:
        """Add a container, as the newest."""
        labels = {"slipway.project": "shop", "slipway.release": release, "slipway.options": "x"}
        self.containers[name] = {"labels": labels, "running": running, "policy": policy}

    @property
    def facts(self) -> survey.Facts:
        """The facts of a survey."""
        facts = survey.Facts(docker="docker", has_gzip=True, architecture="amd64")
        for name, each in reversed(self.containers.items()):
            health = "healthy" if each["running"] else "exited"
            common = {"image": "", "since": "", "restarts": 0, "ports": ()}
            facts.containers.append(
                survey.Container(name=name, health=health, **common, **each)  # type: ignore[arg-type]
            )
        return facts

    def changes(self, here: Any, job: str, **more: str) -> list[str]:
        """Do a job by the script; return the docker commands that changed something."""
        (self.folder / "containers.json").write_text(json.dumps(self.containers))
        (self.folder / "changes").write_text("")
        typed = {"STEADY": "0", "WATCH": "0", "HEALTH_TIMEOUT": "5"}
        found = settings.resolve(SETTINGS, typed)
        found.update({name: more.pop(name) for name in ("RELEASE", "KEEP") if name in more})
        assert command.perform(here, self.facts, found, job, **more) is Outcome.DONE
        return normal((self.folder / "changes").read_text().splitlines())


def normal(lines: list[str]) -> list[str]:
    """Return commands without what differs from run to run: time, account and home directory."""
    text = "\n".join(lines)
    text = re.sub(r"slipway\.(at|by)=\S+", r"slipway.\1=", text)
    return re.sub(r"--env-file \S*\.slipway/", "--env-file .slipway/", text).split("\n")


def shown(steps: list[Step]) -> list[str]:
    """Return the docker commands of a dry run."""
    return normal([shlex.join(step.words) for step in steps if step.words])


@pytest.fixture
def engine(tmp_path: Path, program: Program) -> Engine:
    """An engine without containers."""
    return Engine(tmp_path / "engine", program)


def deployed(
    here: Any, engine: Engine, keep: int = 3, variables: str = "", **changed: Any
) -> tuple[list[str], list[str]]:
    """Deploy by the script; return its commands, and those of a dry run."""
    wanted = dataclasses.replace(WANTED, **changed)
    plan = plans.Plan("server", wanted, engine.facts)
    steps = docker_commands.deploy(plan, REFERENCE, by="me", at="now", steady=0, keep=keep)
    done = engine.changes(
        here,
        "deploy",
        RELEASE=wanted.release,
        KEEP=str(keep),
        IMAGE=REFERENCE,
        DIGEST=wanted.digest,
        REVISION=wanted.revision,
        CANDIDATE="yes" if wanted.candidate else "no",
        CANDIDATE_OPTIONS=remote_job.one_word_a_line(wanted.candidate_options),
        HIDDEN="|".join(wanted.hidden),
        OPTIONS=remote_job.one_word_a_line(wanted.options),
        EARLY=plan.early,
        OPTIONS_SUM=wanted.options_sum,
        PUBLISHED=remote_job.one_word_a_line(wanted.published),
        VOLUMES="",
        ENVIRONMENT=variables,
    )
    return in_order(done), in_order(shown(steps))


def in_order(lines: list[str]) -> list[str]:
    """Return commands with the candidate's end, which is in the background, next to its removal."""
    end = "stop shop-try"
    if end not in lines or lines[-1] != "rm --volumes shop-try":
        return lines
    first = lines.index(end, lines.index("start shop-next"))
    return [*lines[:first], *(line for line in lines[first:-1] if line != end), end, lines[-1]]


def test_a_first_deploy(here: Any, engine: Engine) -> None:
    """Nothing of the project is there."""
    done, dry = deployed(here, engine)
    assert dry == done
    assert [line.split()[0] for line in done] == ["tag", "create", "start", "update", "rename"]


@pytest.mark.parametrize("candidate", [True, False])
def test_the_next_deploy(here: Any, engine: Engine, candidate: bool) -> None:
    """A release runs, with a previous one, older ones and a failed one beside it."""
    for name, release in (
        ("shop-a", "a"),
        ("shop-b", "b"),
        ("shop-previous", "c"),
        ("shop-failed", "d"),
    ):
        engine.add(name, release)
    engine.add("shop", "e", "always", running=True)
    done, dry = deployed(here, engine, candidate=candidate)
    assert dry == done
    assert ("shop-try" in "\n".join(done)) is candidate
    assert "rm --force --volumes shop-b shop-a" in done[-3:]


FOUND_BY = "--network backend --network-alias api --label traefik.enable=true"


def test_a_candidate_has_nothing_by_which_others_find_it(here: Any, engine: Engine) -> None:
    """No alias, label or variable; the release itself has them. It is stopped, not killed."""
    engine.add("shop", "e", "always", running=True)
    environment = b"A=1\nVIRTUAL_HOST=shop.example.org\nB=2\n"
    hidden = ("VIRTUAL_HOST", "VIRTUAL_PORT")
    done, dry = deployed(here, engine, options=FOUND_BY, environment=environment, hidden=hidden)
    assert dry == done
    candidate, release = (line for line in done if line.startswith("create "))
    for word in ("api", "traefik", "8081:8081"):
        assert word not in candidate
        assert word in release
    assert re.search(r"env-\w+-try ", candidate)
    assert not re.search(r"env-\w+-try ", release)
    assert done[-2:] == ["stop shop-try", "rm --volumes shop-try"]
    assert not any("--force" in line and "try" in line for line in done)


def test_variables_that_others_read_are_left_out(here: Any, engine: Engine, tmp_path: Path) -> None:
    """The candidate's environment has no other difference, and nobody else may read it."""
    engine.add("shop", "e", "always", running=True)
    environment = "A=VIRTUAL_HOST=x\nVIRTUAL_HOST=shop.example.org\nVIRTUAL_HOSTS=y\n"
    fake = (tmp_path / "bin" / "docker").read_text()
    copy = f'case "$*" in create*-try\\ *) cp "$HOME"/.slipway/shop/env-*-try {tmp_path} ;; esac\n'
    (tmp_path / "bin" / "docker").write_text(fake.replace("exec ", copy + "exec ", 1))
    hidden = ("VIRTUAL_HOST",)
    deployed(here, engine, environment=environment.encode(), hidden=hidden, variables=environment)
    [kept] = tmp_path.glob("env-*-try")
    assert kept.read_text() == "A=VIRTUAL_HOST=x\nVIRTUAL_HOSTS=y\n"
    assert not [*tmp_path.glob(".slipway/shop/env-*-try")]


def test_a_release_without_a_port_starts_before_the_last_one_is_stopped(
    here: Any, engine: Engine
) -> None:
    """It has proven healthy by then; a rollback does the same."""
    options = "--network backend --label slipway.overlaps=yes"
    engine.add("shop", "e", "always", running=True)
    engine.containers["shop"]["labels"]["slipway.overlaps"] = "yes"
    engine.add("shop-previous", "d")
    engine.containers["shop-previous"]["labels"]["slipway.overlaps"] = "yes"
    done, dry = deployed(here, engine, options=options, published="", ports=())
    assert dry == done
    order = ["start shop-next", "update --restart=always shop-next", "stop shop"]
    assert [line for line in done if line in order] == order
    steps = docker_commands.rollback(engine.facts, "shop", "", keep=3)
    done = engine.changes(here, "rollback", RELEASE="")
    assert shown(steps) == done
    assert done.index("start shop-back") < done.index("stop shop")


@pytest.mark.parametrize(
    ("new", "policy", "running"),
    [
        ("next", "no", True),
        ("next", "always", True),
        ("back", "no", False),
        ("back", "always", False),
    ],
)
def test_a_deploy_after_one_that_was_cut_off(
    here: Any, engine: Engine, new: str, policy: str, running: bool
) -> None:
    """It recovers first, from a release that is proven (`always`) or is not."""
    engine.add("shop-previous", "a")
    engine.add("shop", "b", "always", running=not running)
    engine.add("shop-try", "c", running=True)
    engine.add(f"shop-{new}", "c", policy, running=running)
    done, dry = deployed(here, engine)
    assert dry == done


@pytest.mark.parametrize("release", ["", "a"])
def test_a_rollback(here: Any, engine: Engine, release: str) -> None:
    """To the previous release, or to a kept one."""
    engine.add("shop-abc", "abc")
    engine.add("shop-previous", "b")
    engine.add("shop", "c", "always", running=True)
    steps = docker_commands.rollback(engine.facts, "shop", release, keep=3)
    assert shown(steps) == engine.changes(here, "rollback", RELEASE=release)


@pytest.mark.parametrize("name", ["start", "stop", "restart", "remove"])
@pytest.mark.parametrize("running", [True, False])
def test_a_release_is_started_stopped_and_removed(
    here: Any, engine: Engine, tmp_path: Path, name: str, running: bool
) -> None:
    """A stopped one stays stopped after a reboot; a removed one leaves no container."""
    engine.add("shop-abc", "abc")
    engine.add("shop-previous", "b")
    engine.add("shop", "c", "always" if running else "no", running=running)
    dry = shown(docker_commands.change(engine.facts, "shop", name))
    done = engine.changes(here, command.JOBS[name])
    assert done == dry
    left = json.loads((engine.folder / "containers.json").read_text())
    if name == "remove":
        assert left == {}
        assert not (tmp_path / ".slipway" / "shop").exists()
    else:
        state = (left["shop"]["running"], left["shop"]["policy"])
        assert state == ((False, "no") if name == "stop" else (True, "always"))


def test_an_unlock(here: Any, engine: Engine) -> None:
    """It recovers from what the ended deploy has left."""
    engine.add("shop-previous", "b")
    engine.add("shop-back", "c")
    steps = docker_commands.unlock(engine.facts, "shop")
    assert shown(steps) == engine.changes(here, "unlock")


@pytest.mark.parametrize(
    ("state", "lines"),
    [
        ("dead", ["docker volume rm slipway-lock.shop.17.3.b"]),
        ("alive", ["kill 17", "docker volume rm slipway-lock.shop.17.3.b"]),
    ],
)
def test_an_unlock_removes_the_entry_of_the_lock(
    engine: Engine, state: str, lines: list[str]
) -> None:
    """It ends the process of a living one."""
    engine.add("shop", "e", "always", running=True)
    facts = engine.facts
    facts.read("lock", f"{state} 17 3 b 0 ann now x")
    steps = docker_commands.unlock(facts, "shop")
    assert [step.remote("docker") for step in steps] == lines


def test_the_lines_can_be_pasted(engine: Engine) -> None:
    """Each of them is a comment, or one command of ssh for a shell on this machine."""
    engine.add("shop", "e", "always", running=True)
    plan = plans.Plan("me@server", WANTED, engine.facts)
    found = settings.resolve(SETTINGS, {"SSH": "ssh -F 'my file'"})
    lines = command.deploy_commands(found, plan)
    for line in lines:
        if not line.startswith("# "):
            # the image comes from a command of this machine
            words = shlex.split(line.removeprefix("docker save shop-run | "))
            assert words[:3] == ["ssh", "-F", "my file"]
            assert "me@server" in words
    load = next(line for line in lines if " load" in line and not line.startswith("#"))
    assert load == "docker save shop-run | ssh -F 'my file' me@server 'docker load'"
    # a tunnel that is opened by hand would show the whole registry
    assert " -R " not in "\n".join(lines)
    assert "<deploy/run.env" in "\n".join(lines)
