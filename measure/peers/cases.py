"""The cases: which contenders build which application, and what is measured.

In each round, every contender builds from nothing. Each round begins with another contender, so
that a slow minute of the machine or the network does not affect only one of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import testbed
from measure.peers import applications, startup
from measure.peers.applications import Application
from measure.peers.commands import Timed
from measure.peers.contenders import (
    UV_IMAGE,
    Contender,
    DockerInit,
    Naive,
    Ours,
    Peer,
    Seed,
    Uv,
    Workshop,
    steps_of,
)
from measure.peers.figures import bytes_of, rotated
from measure.peers.machine import UNUSED, forget, words_of
from measure.peers.registry import Registry
from testbed.console import say

KEPT = (testbed.BASE, testbed.REGISTRY, UV_IMAGE)
# Quick measurements are repeated in each round.
REPEATS = 2


@dataclass
class Result:
    """The raw figures of one case.

    Attributes:
        values: by contender and measure, the measured values in seconds (`…_s`) or bytes
            (`…_bytes`).
        written: by contender, the lines of `docker diff` after the first answer.
        pins: the version of each distribution.
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    written: dict[str, list[str]] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)

    def add(self, contender: str, measure: str, value: float) -> None:
        """Add one value."""
        self.values.setdefault(contender, {}).setdefault(measure, []).append(value)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON can write them, with times in milliseconds."""
        values = {
            contender: {
                name: [round(each, 3) for each in found] for name, found in measures.items()
            }
            for contender, measures in self.values.items()
        }
        return {"values": values, "written": self.written, "pins": self.pins}


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    title: str
    application: Application
    contenders: tuple[str, ...]
    run: Callable[[Case, Workshop, Registry, int], Result]


class Images:
    """Rounds in which every contender builds an image, whose size and start are measured."""

    def __init__(self, case: Case, workshop: Workshop, registry: Registry) -> None:
        """Make the checkouts of all contenders, with the same locked versions."""
        self.case = case
        self.workshop = workshop
        self.registry = registry
        self.result = Result()
        self.changes = 0
        folder = workshop.folder / case.name
        application = case.application
        self.ours = Ours(workshop, application, folder / Ours.name)
        self.contenders: dict[str, Contender] = {Ours.name: self.ours}
        self.ours.prepare()
        lock = (self.ours.folder / "requirements.txt").read_text(encoding="utf-8")
        self.result.pins = applications.pins_of(lock)
        for peer in (Seed, Naive, DockerInit, Uv):
            if peer.name in case.contenders:
                place = folder / peer.name.replace(" ", "-")
                self.contenders[peer.name] = prepared(peer(workshop, application, place), self.ours)

    def rounds(self, number: int) -> Result:
        """Run this number of rounds; return the figures."""
        for each in range(number):
            for name in rotated(self.case.contenders, each):
                say("bench", f"{self.case.name}: round {each + 1} of {number}: {name}")
                self.turn(self.contenders[name], first=each == 0)
        return self.result

    def turn(self, contender: Contender, first: bool) -> None:
        """Build from nothing, rebuild after changes, start; measure bytes in the first round."""
        note = _noter(self.result, contender)
        self.make_cold(contender)
        if isinstance(contender, Ours):
            note("cold_all_s", contender.make("base", "builder", "wheels", "image").seconds)
            self.make_cold(contender)
        cold = contender.cold()
        note("cold_s", cold.seconds)
        for step, seconds in steps_of(cold).items():
            note(f"cold_{step}_s", seconds)
        size = "{{.Size}}"
        engine = self.workshop.engine
        image = engine.run("docker", "image", "inspect", "--format", size, contender.image)
        note("image_bytes", int(image))
        blobs = self.registry.blobs(contender.image) if first else {}
        for _ in range(REPEATS):
            self.change(contender)
            note("rebuild_s", contender.build().seconds)
        if first:
            note("deploy_bytes", bytes_of(blobs))
            note("redeploy_bytes", bytes_of(self.registry.blobs(contender.image), without=blobs))
        self.start(contender, first, note)
        if isinstance(contender, Ours):
            for _ in range(REPEATS):
                note("nothing_s", contender.build().seconds)
                note("builder_start_s", contender.start_builder().seconds)

    def make_cold(self, contender: Contender) -> None:
        """Remove all that was built, and change the application."""
        forget(self.workshop.engine, KEPT)
        contender.forget()
        self.change(contender)

    def change(self, contender: Contender) -> None:
        """Change the application's line to a new text."""
        self.changes += 1
        contender.change(self.changes)

    def start(self, contender: Contender, first: bool, note: Callable[[str, float], None]) -> None:
        """Start the image as on a server; in the first round also with a writable file system."""
        engine, text = self.workshop.engine, applications.greeting(self.changes)
        options, port = self.ours.run_options(), applications.PORT
        for _ in range(REPEATS):
            seconds = startup.seconds_to_answer(engine, contender.image, options, port, text)
            note("start_s", seconds)
        if first:
            open_options = [option for option in options if option != "--read-only"]
            startup.seconds_to_answer(engine, contender.image, open_options, port, text)
            self.result.written[contender.name] = startup.written(engine)
        startup.end(engine)


def prepared(peer: Peer, ours: Ours) -> Peer:
    """Prepare a peer from our checkout; return it."""
    peer.prepare(ours.folder)
    return peer


def images(case: Case, workshop: Workshop, registry: Registry, rounds: int) -> Result:
    """Run a case in which images are built."""
    return Images(case, workshop, registry).rounds(rounds)


def _noter(result: Result, contender: Contender) -> Callable[[str, float], None]:
    return lambda measure, value: result.add(contender.name, measure, value)


PIP = "pip wheel"
# slipway is compared with the pip that its own builder uses.
BUILDERS_PYTHON = "/opt/builder/bin/python"


def wheels(case: Case, workshop: Workshop, _: Registry, rounds: int) -> Result:
    """Run a case in which only wheels are built, in the same builder with empty caches."""
    result = Result()
    ours = Ours(workshop, case.application, workshop.folder / case.name / Ours.name)
    ours.prepare()
    lock = ours.folder / "requirements.txt"
    result.pins = applications.pins_of(lock.read_text(encoding="utf-8"))
    forget(workshop.engine, KEPT)
    ours.forget()
    ours.make("builder")
    for each in range(rounds):
        for name in rotated(case.contenders, each):
            say("bench", f"{case.name}: round {each + 1} of {rounds}: {name}")
            for volume in words_of(workshop.engine, "volume", "ls", "--quiet", *UNUSED):
                workshop.engine.run("docker", "volume", "rm", volume)
            shutil.rmtree(ours.folder / "wheelhouse", ignore_errors=True)
            done = ours.make("wheels") if name == Ours.name else _pip_wheel(workshop, ours)
            result.add(name, "wheels_s", done.seconds)
    return result


def _pip_wheel(workshop: Workshop, ours: Ours) -> Timed:
    """Run the builder's pip alone, in a new container without a cache."""
    target = ours.folder / "wheelhouse" / "pip"
    target.mkdir(parents=True)
    volumes = (
        *("--volume", f"{ours.folder}:/application:ro"),
        *("--volume", f"{target}:/wheels"),
        *("--volume", f"{workshop.certificates}:/run/ca.pem:ro", "--env=PIP_CERT=/run/ca.pem"),
    )
    lock = ("--require-hashes", "--requirement", "/application/requirements.txt")
    return workshop.run(
        *("docker", "run", "--rm", *volumes, "--entrypoint", BUILDERS_PYTHON, ours.builder),
        *("-m", "pip", "wheel", *lock, "--wheel-dir", "/wheels"),
    )


CASES = (
    Case(
        "sample",
        "The sample application on CPython",
        applications.SAMPLE,
        (Ours.name, Seed.name, Naive.name, DockerInit.name, Uv.name),
        images,
    ),
    Case(
        "pypy",
        "The sample application on PyPy",
        applications.SAMPLE_ON_PYPY,
        (Ours.name, Uv.name),
        images,
    ),
    Case(
        "shop",
        "An application with many dependencies on CPython",
        applications.SHOP,
        (Ours.name, DockerInit.name, Uv.name),
        images,
    ),
    Case(
        "source",
        "Ten packages from source, wheels only",
        applications.SOURCE,
        (Ours.name, PIP),
        wheels,
    ),
)
