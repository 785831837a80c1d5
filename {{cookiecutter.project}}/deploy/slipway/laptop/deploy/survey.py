"""What a server has: its Docker, the releases of this project, and what else a deploy must know.

All of it is asked in one go, by server-survey.sh.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from slipway.laptop.docker import engine
from slipway.laptop.servers.ssh import Connection, ConnectionFailed, assignments
from slipway.laptop.servers.survey import Machine, script, told

# What runs on a server, in one.
PARTS = (
    *("server-lock.sh", "server-container.sh", "server-survey.sh", "server-guard.sh", "server.sh"),
)

# The containers of a deploy that is at work, or was cut off.
UNFINISHED = ("next", "back", "try", "volumes")


@dataclass(frozen=True)
class Container:
    """A container on a server; one with a project is a release of it."""

    name: str
    labels: dict[str, str]
    image: str
    running: bool
    health: str  # one word; `steady` is a running one without a check, `ended` a job that did well
    since: str  # when it was started, RFC 3339 in UTC
    restarts: int  # by docker itself
    policy: str
    ports: tuple[tuple[str, int], ...]  # published TCP ports: address, which may be empty, and port

    def label(self, name: str) -> str:
        """Give a label of a release; empty when it has none."""
        return self.labels.get(f"slipway.{name}", "")

    @property
    def is_well(self) -> bool:
        """Say whether it runs and is as healthy as can be said."""
        return self.health == "ended" or (self.running and self.health in ("healthy", "steady"))


@dataclass
class Facts(Machine):
    """What a survey has found of a server with Docker."""

    docker: str = ""
    version: str = ""
    architecture: str = ""
    api: tuple[int, ...] = ()  # the newest that client and engine have in common
    has_script: bool = False  # that which is about to be sent
    rootless: bool = False
    podman: bool = False
    containers: list[Container] = field(default_factory=list)
    images: list[list[str]] = field(default_factory=list)  # the layers that each of them names
    refused: str | None = None  # what docker said

    def container(self, name: str) -> Container | None:
        """Give the container of a name."""
        return next((each for each in self.containers if each.name == name), None)

    def releases(self, project: str) -> list[Container]:
        """Give a project's releases: what runs, the previous one, older ones, what failed."""
        found = [each for each in self.containers if each.label("project") == project]
        order = [project, f"{project}-previous"]
        last = [f"{project}-failed", *(f"{project}-{word}" for word in UNFINISHED)]

        def rank(each: Container) -> int:
            if each.name in order:
                return order.index(each.name)
            return 10 + last.index(each.name) if each.name in last else 5

        # docker lists the newest first
        return sorted(found, key=rank)


def whole_script() -> tuple[str, str]:
    """Give all that runs on a server, and the name under which a server keeps it."""
    text = script(*PARTS)
    return text, f"server-{hashlib.sha256(text.encode()).hexdigest()[:12]}.sh"


def survey(connection: Connection, project: str) -> Facts:
    """Ask a server for all of it; ConnectionFailed says in words when its docker cannot be used."""
    kept = f"$HOME/.slipway/{project}/{whole_script()[1]}"
    known = f"PROJECT={project} BY=survey"
    done = connection.ask(f"exec sh -c '[ ! -f {kept} ] || {known} sh {kept} survey'")
    facts = parse(done.stdout)
    facts.has_script = facts.podman or facts.docker != "" or facts.refused is not None
    if not facts.has_script:
        parts = script("server-lock.sh", "server-survey.sh")
        variables = assignments({"PROJECT": project, "BY": "survey"})
        done = connection.ask_script(f"{variables}{parts}\nsurvey\n")
        facts = parse(done.stdout)
    if facts.podman:
        raise ConnectionFailed(
            f"{connection.host}: its docker is podman, which brings no container back after a"
            " reboot by itself: install Docker Engine there"
        )
    if facts.refused is not None or not facts.docker:
        raise ConnectionFailed(f"{connection.host}: {_why(facts.refused or done.stderr)}")
    return facts


def _why(said: str) -> str:
    text = said.lower()
    if "not found" in text:
        return "docker is not installed there: install Docker Engine on it"
    if "permission denied" in text:
        return "this account may not use docker there: sudo usermod -aG docker ACCOUNT"
    if "cannot connect" in text:
        return "its Docker engine is stopped: sudo systemctl start docker"
    return engine.explain("docker", said)


def parse(said: str) -> Facts:
    """Read what a survey says."""
    facts = Facts()
    for word, value, after in told(said):
        if word == "refused":
            facts.refused = after
        else:
            _take(facts, word, value)
    return facts


def _take(facts: Facts, word: str, value: str) -> None:
    if word == "docker":
        facts.docker = value
    elif word == "engine":
        facts.version, facts.architecture, api = (value.split() + 3 * [""])[:3]
        facts.api = tuple(int(part) for part in api.split(".") if part.isdigit())
    elif word == "podman":
        facts.podman = True
    elif word == "security":
        facts.rootless = "name=rootless" in value
    elif word == "container":
        facts.containers.append(_container(json.loads(value)))
    elif word == "layers":
        facts.images.append(json.loads(value) or [])
    else:
        facts.take(word, value)


def _container(read: dict[str, Any]) -> Container:
    bindings = [
        (binding.get("HostIp", ""), int(binding["HostPort"]))
        for inside, found in (read["ports"] or {}).items()
        if inside.endswith("/tcp")
        for binding in found or []
        if binding.get("HostPort", "").isdigit()
    ]
    health = read["health"] or "steady" if read["running"] else read["status"]
    if read["status"] == "restarting":
        health = "restarting"
    labels = read["labels"] or {}
    if labels.get("slipway.ends") and read["status"] == "exited" and read["exit"] == 0:
        health = "ended"
    return Container(
        name=read["name"].lstrip("/"),
        labels=labels,
        image=read["image"],
        running=read["running"],
        health=health,
        since=read["started"][:19] + "Z" if read["running"] else "",
        restarts=read["restarts"],
        policy=read["policy"],
        ports=tuple(bindings),
    )
