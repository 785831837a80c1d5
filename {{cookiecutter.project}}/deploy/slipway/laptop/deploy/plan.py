"""What a deploy would do on one server, and the problems that prevent it. Changes nothing."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from slipway.laptop.building.record import Record
from slipway.laptop.deploy.status_report import commit, local
from slipway.laptop.deploy.survey import Container, Facts
from slipway.laptop.docker import engine, registry, run_options, time_zone
from slipway.laptop.servers.survey import (
    LEAST_FREE,
    NotReady,
    describe_lock,
    megabytes,
    refuse,
)
from slipway.laptop.settings import run_env


@dataclass(frozen=True)
class Wanted:
    """A release that is to run: the pushed image, and the options from the settings."""

    project: str  # the name of its container
    repository: str
    digest: str
    image: str  # its ID
    architecture: str
    revision: str
    layers: tuple[str, ...]  # the names in the image's configuration
    sizes: tuple[int, ...]  # compressed bytes of each layer
    size: int  # bytes of the image on the server's disk
    options: str  # of docker run, quoted for a shell
    published: str
    ports: tuple[int, ...]  # TCP
    volumes: str
    environment: bytes
    candidate: bool
    hidden: tuple[str, ...] = ()  # variables that a candidate does not get

    @property
    def options_sum(self) -> str:
        """Return a checksum of the options of docker run and of the environment."""
        parts = (self.options.encode(), self.published.encode(), self.environment)
        return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]

    @property
    def candidate_options(self) -> str:
        """The options of a candidate, by which nobody finds it."""
        return shlex.join(run_options.of_candidate(shlex.split(self.options)))

    @property
    def overlaps(self) -> bool:
        """Whether it is started before the release that it replaces is stopped."""
        return "slipway.overlaps=yes" in shlex.split(self.options)

    @property
    def release(self) -> str:
        """The release's name: the beginnings of the image's digest and of the options' checksum."""
        return f"{self.digest[len('sha256:') :][:12]}-{self.options_sum[:4]}"


def wanted(settings: dict[str, str]) -> Wanted:
    """Return the release that was pushed; raise NotReady if the registry does not have it."""
    record = Record.load().steps.get("push", {})
    digest = record.get("digest", "")
    if not digest:
        raise NotReady("no image has been pushed yet. Run make push.")
    port, name = int(settings["REGISTRY_PORT"]), f"{settings['PROJECT']}-run"
    manifest = registry.manifest(port, name, digest)
    if manifest is None:
        raise NotReady(
            f"the registry on 127.0.0.1:{port} does not have {name}@{digest}. Run make push."
        )
    problem = registry.foreign(port, name, digest, record["image"])
    if problem:
        raise NotReady(problem)
    image = json.loads(engine.ask(settings["DOCKER"], "image", "inspect", record["image"]))[0]
    environment = run_env.load()
    problem = time_zone.problem(settings["DOCKER"], image["Id"], environment)
    if problem:
        raise NotReady(problem)
    options = run_options.options(settings)
    published = run_options.published(settings, settings["BIND"])
    candidate = run_options.may_have_a_candidate(settings)
    if candidate and not published:
        options += run_options.overlapping(settings, options)
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
        volumes=" ".join(run_options.volumes(settings)),
        environment=run_env.text(environment),
        candidate=candidate,
        hidden=tuple(run_options.hidden(environment)),
    )


@dataclass(frozen=True)
class Plan:
    """A deploy of a release to one server."""

    host: str
    wanted: Wanted
    facts: Facts

    @property
    def running(self) -> Container | None:
        """The release that runs on the server now."""
        return self.facts.container(self.wanted.project)

    @property
    def is_unfinished(self) -> bool:
        """Whether an earlier deploy was cut off on the server."""
        names = (f"{self.wanted.project}-{word}" for word in ("next", "back", "try"))
        dead = bool(self.facts.lock) and not self.facts.lock_is_alive
        return dead or any(self.facts.container(name) for name in names)

    @property
    def nothing_to_do(self) -> bool:
        """Whether the wanted release is already running, and nothing is left to recover."""
        runs = self.running
        return (
            runs is not None
            and runs.is_healthy
            and runs.label("release") == self.wanted.release
            and runs.label("options") == self.wanted.options_sum
            and not self.is_unfinished
        )

    @property
    def early(self) -> str:
        """The option that makes Docker check a starting release more often, if it has one."""
        # https://docs.docker.com/reference/api/engine/version-history/, of 1.44
        if self.facts.api < (1, 44) or "--no-healthcheck" in shlex.split(self.wanted.options):
            return ""
        return "--health-start-interval 500ms"

    @property
    def missing(self) -> list[int]:
        """The compressed sizes of the layers that the server does not have, in bytes."""
        pairs = zip(self.wanted.layers, self.wanted.sizes)
        there = {layer for image in self.facts.images for layer in image}
        return [size for layer, size in pairs if layer not in there]

    @property
    def layers_there(self) -> int:
        """The number of the first layers that an image on the server begins with too."""
        most = 0
        for image in self.facts.images:
            pairs = zip(self.wanted.layers, image)
            most = max(most, len([*takewhile(lambda pair: pair[0] == pair[1], pairs)]))
        return most

    def check(self) -> None:
        """Raise ConnectionFailed if the deploy cannot succeed."""
        refuse(
            self.host,
            self._architecture(),
            self._names(),
            self._ports(),
            self._room(),
            self.facts.storage_problem,
        )

    def _architecture(self) -> str:
        there, here = self.facts.architecture, self.wanted.architecture
        if there == here:
            return ""
        return (
            f"the image is for {here}, and the server is {there}."
            f" Run: make image push deploy PLATFORM=linux/{there}"
        )

    def _names(self) -> str:
        project = self.wanted.project
        words = ("", "-next", "-back", "-try", "-previous", "-failed")
        for name in (f"{project}{word}" for word in words):
            found = self.facts.container(name)
            if found and found.label("project") != project:
                return (
                    f"the container {name} there is not managed by slipway. Rename it, or change"
                    " PROJECT."
                )
        return ""

    def _ports(self) -> str:
        own = {
            port
            for each in self.facts.releases(self.wanted.project)
            if each.running
            for _, port in each.ports
        }
        for port in self.wanted.ports:
            if port in own:
                continue
            for each in self.facts.containers:
                if each.running and port in {number for _, number in each.ports}:
                    return f"port {port} is taken there by the container {each.name}. Set PORT."
            if port in self.facts.listening:
                return f"port {port} is taken there by another program. Set PORT, or stop it."
        return ""

    def _room(self) -> str:
        total = sum(self.wanted.sizes) or 1
        share = sum(self.missing) / total
        need = int(self.wanted.size * share) + sum(self.missing) + LEAST_FREE
        if self.facts.free is None or self.facts.free >= need:
            return ""
        return (
            f"it has {megabytes(self.facts.free)} free, and the image may need {megabytes(need)}."
            " Run docker system df there to see what uses the disk."
        )

    def data(self) -> dict[str, Any]:
        """Return the plan as data."""
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
        """Return the plan for people."""
        runs, facts = self.running, self.facts
        now = "nothing"
        if runs:
            now = f"{runs.label('release') or 'a release of an older template'}, {runs.health}"
            now += f", since {local(runs.since)}" * bool(runs.since)
            now += f", by {runs.label('by')}"
        sent = f"{len(self.missing)} of {len(self.wanted.layers)} layers"
        lines = [
            f"server    {facts.architecture}, docker {facts.version}, as `{facts.docker}`",
            f"runs now  {now}",
            f"will run  {self.wanted.release}, commit {commit(self.wanted.revision) or 'unknown'}",
            f"sends     {sent}, {megabytes(sum(self.missing))}",
        ]
        if runs:
            beside = "a candidate is tried beside the running release, without ports"
            without = "it replaces the running release, and is rolled back if it is not healthy"
            lines.append(f"how       {beside if self.wanted.candidate else without}")
            if self.wanted.overlaps:
                lines.append("          the running release is stopped when the new one is healthy")
        if self.is_unfinished:
            lines.append("first     recovers from a deploy that was cut off")
        if facts.lock_is_alive:
            lines.append(f"waits     for {describe_lock(facts.lock)}")
        return lines
