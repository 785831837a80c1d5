"""What a deploy is going to do on one server, and why it cannot: before anything is changed."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from slipway.laptop.build.record import State
from slipway.laptop.deploy.survey import Container, Facts
from slipway.laptop.docker import engine, registry
from slipway.laptop.docker import run_options as container
from slipway.laptop.servers.ssh import ConnectionFailed
from slipway.laptop.servers.survey import LEAST_FREE, NotReady, describe_lock, megabytes
from slipway.laptop.settings import run_env as environment


@dataclass(frozen=True)
class Wanted:
    """A release that is to run: the image that was pushed, and the options that are set here."""

    project: str  # of another program of the image: with its name
    repository: str
    digest: str
    image: str  # its ID
    architecture: str
    revision: str
    layers: tuple[str, ...]  # as the image's configuration names them
    sizes: tuple[int, ...]  # bytes of each that are sent
    size: int  # bytes of it all on the server's disk
    options: str  # of docker run, quoted for a shell
    published: str
    ports: tuple[int, ...]  # TCP
    volumes: str
    environment: bytes
    candidate: bool

    @property
    def options_sum(self) -> str:
        """Give a sum over all that the release is run with, environment included."""
        parts = (self.options.encode(), self.published.encode(), self.environment)
        return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]

    @property
    def release(self) -> str:
        """Give the release's name: the image's and the options' beginnings."""
        return f"{self.digest[len('sha256:') :][:12]}-{self.options_sum[:4]}"


def wanted(settings: dict[str, str]) -> Wanted:
    """Find what is to run; NotReady when it was not pushed, or the registry has lost it."""
    record = State().steps.get("push", {})
    digest = record.get("digest", "")
    if not digest:
        raise NotReady("nothing was pushed yet: run make push")
    port, name = int(settings["REGISTRY_PORT"]), f"{settings['PROJECT']}-run"
    manifest = registry.manifest(port, name, digest)
    if manifest is None:
        raise NotReady(f"the registry on 127.0.0.1:{port} has no {name}@{digest}: run make push")
    image = json.loads(engine.ask(settings["DOCKER"], "image", "inspect", record["image"]))[0]
    options = container.options(settings)
    published = container.published(settings, settings["BIND"])
    ports = [words.split(":")[-2] for words in published[1::2] if not words.endswith("/udp")]
    return Wanted(
        project=settings["SERVICE"],
        repository=name,
        digest=digest,
        image=image["Id"],
        architecture=image["Architecture"],
        revision=(image["Config"].get("Labels") or {}).get("org.opencontainers.image.revision", ""),
        layers=tuple(image["RootFS"]["Layers"]),
        sizes=tuple(layer["size"] for layer in manifest.get("layers", [])),
        size=image.get("Size", 0),
        options=shlex.join(options),
        published=shlex.join(published),
        ports=tuple(int(port) for port in ports),
        volumes=" ".join(container.volumes(settings)),
        environment=environment.text(environment.load()),
        candidate=settings["CANDIDATE"] == "yes"
        and not settings["ENDS"]
        and not container.is_on_the_host(options),
    )


@dataclass(frozen=True)
class Plan:
    """What is to be done on one server."""

    host: str
    wanted: Wanted
    facts: Facts

    @property
    def running(self) -> Container | None:
        """Give the release that runs there now."""
        return self.facts.container(self.wanted.project)

    @property
    def is_unfinished(self) -> bool:
        """Say whether an earlier deploy was cut off there."""
        names = (f"{self.wanted.project}-{word}" for word in ("next", "back", "try"))
        dead = bool(self.facts.lock) and not self.facts.lock_is_alive
        return dead or any(self.facts.container(name) for name in names)

    @property
    def nothing_to_do(self) -> bool:
        """Say whether the wanted release runs already, with nothing left over."""
        runs = self.running
        return (
            runs is not None
            and runs.is_well
            and runs.label("release") == self.wanted.release
            and runs.label("options") == self.wanted.options_sum
            and not self.is_unfinished
        )

    @property
    def early(self) -> str:
        """Give the option that has Docker ask a release sooner while that starts, where it can."""
        # https://docs.docker.com/reference/api/engine/version-history/, of 1.44
        if self.facts.api < (1, 44) or "--no-healthcheck" in shlex.split(self.wanted.options):
            return ""
        return "--health-start-interval 500ms"

    @property
    def missing(self) -> list[int]:
        """Give the sizes of the layers that are not there, in bytes as they are sent."""
        pairs = zip(self.wanted.layers, self.wanted.sizes)
        there = {layer for image in self.facts.images for layer in image}
        return [size for layer, size in pairs if layer not in there]

    @property
    def layers_there(self) -> int:
        """Count the first layers that an image there begins with too."""
        most = 0
        for image in self.facts.images:
            pairs = zip(self.wanted.layers, image)
            most = max(most, len([*takewhile(lambda pair: pair[0] == pair[1], pairs)]))
        return most

    def check(self) -> None:
        """Raise ConnectionFailed when this cannot come to a good end; nothing was changed."""
        for problem in (
            self._architecture(),
            self._names(),
            self._ports(),
            self._room(),
            self.facts.closed,
        ):
            if problem:
                raise ConnectionFailed(f"{self.host}: {problem}")

    def _architecture(self) -> str:
        there, here = self.facts.architecture, self.wanted.architecture
        if there == here:
            return ""
        return (
            f"it is {there} and the image is {here}: make image push deploy PLATFORM=linux/{there}"
        )

    def _names(self) -> str:
        project = self.wanted.project
        words = ("", "-next", "-back", "-try", "-previous", "-failed")
        for name in (f"{project}{word}" for word in words):
            found = self.facts.container(name)
            if found and found.label("project") != project:
                return (
                    f"a container named {name} is there that no deploy made: rename it, or change"
                    " PROJECT"
                )
        return ""

    def _ports(self) -> str:
        ours = {
            port
            for each in self.facts.releases(self.wanted.project)
            if each.running
            for _, port in each.ports
        }
        for port in self.wanted.ports:
            if port in ours:
                continue
            for each in self.facts.containers:
                if each.running and port in {number for _, number in each.ports}:
                    return f"port {port} is taken there by the container {each.name}: set PORT"
            if port in self.facts.listening:
                return f"port {port} is taken there by another program: set PORT, or stop that"
        return ""

    def _room(self) -> str:
        total = sum(self.wanted.sizes) or 1
        share = sum(self.missing) / total
        need = int(self.wanted.size * share) + sum(self.missing) + LEAST_FREE
        if self.facts.free is None or self.facts.free >= need:
            return ""
        return (
            f"it has {megabytes(self.facts.free)} free and the image may need {megabytes(need)}:"
            " docker system df there shows what takes the room"
        )

    def data(self) -> dict[str, Any]:
        """Give the plan for machines."""
        runs = self.running
        return {
            "host": self.host,
            "docker": self.facts.version,
            "architecture": self.facts.architecture,
            "runs": runs and runs.label("release"),
            "health": runs and runs.health,
            "will_run": self.wanted.release,
            "digest": self.wanted.digest,
            "revision": self.wanted.revision,
            "nothing_to_do": self.nothing_to_do,
            "unfinished": self.is_unfinished,
            "layers": len(self.wanted.layers),
            "layers_sent": len(self.missing),
            "bytes_sent": sum(self.missing),
            "tried_beside": self.wanted.candidate and runs is not None,
            "lock": describe_lock(self.facts.lock) if self.facts.lock else None,
        }

    def lines(self) -> list[str]:
        """Say the plan to a person."""
        runs, facts = self.running, self.facts
        now = "nothing"
        if runs:
            now = f"{runs.label('release') or 'a release of an older template'}, {runs.health}"
            now += f", since {runs.since}" * bool(runs.since)
            now += f", by {runs.label('by')}"
        sent = f"{len(self.missing)} of {len(self.wanted.layers)} layers"
        lines = [
            f"server    {facts.architecture}, docker {facts.version}, used by `{facts.docker}`",
            f"runs now  {now}",
            f"will run  {self.wanted.release}, commit {self.wanted.revision[:12] or 'unknown'}",
            f"sends     {sent}, {megabytes(sum(self.missing))}",
        ]
        if runs:
            beside = "tried beside what runs first, without its ports"
            without = "takes the place of what runs, which is put back when it is not healthy"
            lines.append(f"is        {beside if self.wanted.candidate else without}")
        if self.is_unfinished:
            lines.append("first     settles what a deploy that was cut off has left")
        if facts.lock_is_alive:
            lines.append(f"waits     for {describe_lock(facts.lock)}")
        return lines
