"""What a server with Docker has: its engine, the releases of a project, ports, disk space.

server/docker/survey.sh finds out all of it at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from slipway.laptop.docker import engine
from slipway.laptop.servers import remote_job
from slipway.laptop.servers import survey as basic
from slipway.laptop.servers.ssh import Connection, ConnectionFailed

NAMES = ("project", "release", "options", "digest", "revision", "by", "at", "ends")
LABELS = tuple(f"slipway.{name}" for name in NAMES)
LAYER = re.compile(r"[\w:.+-]{1,200}", re.ASCII)
REFUSAL = 2000  # characters of docker's error output
# The containers of a deploy that is running or was cut off.
UNFINISHED = ("next", "back", "try", "volumes")


@dataclass(frozen=True)
class Container:
    """A container on a server. If it has a label for a project, it is a release of that project."""

    name: str
    labels: dict[str, str]
    image: str
    running: bool
    health: str  # `steady`: it runs without a check; `ended`: a one-off job exited with status 0
    since: str  # start time, RFC 3339 in UTC
    restarts: int  # by docker itself
    policy: str
    ports: tuple[tuple[str, int], ...]  # published TCP ports: address (may be empty) and port

    def label(self, name: str) -> str:
        """Return a label of a release; empty if it has none."""
        return self.labels.get(f"slipway.{name}", "")

    @property
    def is_healthy(self) -> bool:
        """Whether it runs and is healthy, as far as that is checked."""
        return self.health == "ended" or (self.running and self.health in ("healthy", "steady"))


@dataclass
class Facts(basic.Machine):
    """The facts of a server with Docker."""

    docker: str = ""
    version: str = ""
    architecture: str = ""
    api: tuple[int, ...] = ()  # the newest version that client and engine have in common
    has_script: bool = False  # the one that would be sent
    rootless: bool = False
    podman: bool = False
    containers: list[Container] = field(default_factory=list)
    images: list[list[str]] = field(default_factory=list)  # the layers of each image
    refused: str | None = None  # docker's error output

    def container(self, name: str) -> Container | None:
        """Return the container with a name."""
        return next((each for each in self.containers if each.name == name), None)

    def releases(self, project: str) -> list[Container]:
        """Return a project's releases: running, previous, older ones, failed, unfinished."""
        found = [each for each in self.containers if each.label("project") == project]
        order = [project, f"{project}-previous"]
        last = [f"{project}-failed", *(f"{project}-{word}" for word in UNFINISHED)]

        def rank(each: Container) -> int:
            if each.name in order:
                return order.index(each.name)
            return 10 + last.index(each.name) if each.name in last else 5

        # Docker lists the newest first.
        return sorted(found, key=rank)


def survey(connection: Connection, project: str) -> Facts:
    """Read all facts of a server; raise ConnectionFailed if its docker cannot be used."""
    script = remote_job.script("docker")
    kept = f"$HOME/.slipway/{project}/{remote_job.kept_name(script)}"
    variables = {"PROJECT": project, "BY": "survey"}
    known = f"PROJECT={project} BY=survey"
    done = connection.ask(f"exec sh -c '[ ! -f {kept} ] || {known} sh {kept} survey'")
    facts = basic.parsed(connection.host, parse, done.stdout)
    facts.has_script = facts.podman or facts.docker != "" or facts.refused is not None
    if not facts.has_script:
        text = f"set -- survey\n{remote_job.assignments(variables)}{script}"
        done = connection.ask_script(text)
        facts = basic.parsed(connection.host, parse, done.stdout)
    if facts.podman:
        raise ConnectionFailed(
            f"{connection.host}: its docker is podman, which starts no container after a reboot."
            " Install Docker Engine there."
        )
    if facts.refused is not None or not facts.docker:
        raise ConnectionFailed(
            f"{connection.host}: {_problem(facts.refused or done.stderr[-REFUSAL:])}"
        )
    return facts


def _problem(output: str) -> str:
    text = output.lower()
    if "not found" in text:
        return "docker is not installed there. Install Docker Engine."
    if "permission denied" in text:
        return "this account may not use docker there. Run: sudo usermod -aG docker ACCOUNT"
    if "cannot connect" in text:
        return "its Docker engine is stopped. Run: sudo systemctl start docker"
    return engine.explain("docker", output)


def parse(output: str) -> Facts:
    """Parse a survey's output."""
    facts = Facts()
    for key, value, below in basic.facts(output):
        if key == "refused":
            facts.refused = output[below : below + REFUSAL]
        else:
            _read(facts, key, value)
    return facts


def _read(facts: Facts, key: str, value: str) -> None:
    if key == "docker":
        facts.docker = basic.checked(value, re.compile("docker|sudo -n docker"))
    elif key == "engine":
        words = [basic.checked(word) for word in value.split(None, 3)[:3]]
        facts.version, facts.architecture, api = (words + 3 * [""])[:3]
        facts.api = tuple(basic.number(part) for part in api.split(".") if part.isdecimal())
    elif key == "podman":
        facts.podman = True
    elif key == "security":
        facts.rootless = "name=rootless" in value
    elif key == "container":
        facts.containers.append(_container(basic.read_json(value, dict)))
    elif key == "layers":
        layers = [] if value == "null" else basic.read_json(value, list)
        facts.images.append([basic.checked(_text(each), LAYER) for each in layers])
    else:
        facts.read(key, value)


def _container(read: dict[str, Any]) -> Container:
    """Return a container; raise Nonsense if a value is missing or is of another type."""
    names = ("name", "image", "status", "health", "started", "policy")
    name, image, status, health, started, policy = (_text(read.get(key)) for key in names)
    labels = _object(read.get("labels"))
    found = {key: _text(labels[key]) for key in LABELS if key in labels}
    running, restarts = read.get("running") is True, read.get("restarts")
    state = health or "steady" if running else status
    if status == "restarting":
        state = "restarting"
    if found.get("slipway.ends") and status == "exited" and read.get("exit") == 0:
        state = "ended"
    return Container(
        name=name.lstrip("/"),
        labels=found,
        image=image,
        running=running,
        health=state,
        since=started[:19] + "Z" if running else "",
        restarts=restarts if isinstance(restarts, int) else 0,
        policy=policy,
        ports=tuple(_ports(_object(read.get("ports")))),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise basic.Nonsense("a value of a container that is no text")
    return value[: basic.LONGEST_TEXT]


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, (dict, type(None))):
        raise basic.Nonsense("a value of a container that is no object")
    return value or {}


def _ports(read: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for inside, bindings in read.items():
        if not isinstance(bindings, (list, type(None))):
            raise basic.Nonsense("the ports of a container")
        for binding in map(_object, bindings or []):
            port = _text(binding.get("HostPort", ""))
            if inside.endswith("/tcp") and port.isdecimal():  # it may be empty, or a range
                yield _text(binding.get("HostIp", "")), basic.number(port, 65535)
