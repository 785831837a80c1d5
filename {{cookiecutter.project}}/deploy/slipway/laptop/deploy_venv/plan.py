"""What make deploy-venv is going to do on one server, and why it cannot; and what a server has."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway.laptop.deploy_venv import bundle as kits
from slipway.laptop.deploy_venv import systemd_unit as unit
from slipway.laptop.paths import ROOT
from slipway.laptop.servers.ssh import ConnectionFailed
from slipway.laptop.servers.survey import (
    LEAST_FREE,
    Machine,
    NotReady,
    describe_lock,
    megabytes,
    told,
)
from slipway.laptop.settings import run_env as environment
from slipway.shared import lockfile
from slipway.shared.files import sha256

# What a wheelhouse says that it was made for, said by another interpreter.
SYSTEM = "\n".join(
    (
        "import os, platform, re, sys, sysconfig, venv",
        "from pathlib import Path",
        inspect.getsource(lockfile.interpreter),
        inspect.getsource(lockfile.system),
        "print(system())",
    )
)
# What asks a release there whether it is well, by its own check: `unhealthy` says why not.
ASK = """\
import json, os, sys
known = json.load(open(sys.argv[1] + "/release.json"))
os.environ.update(PORT=known["port"], HEALTH=known["health"])
os.execv(sys.executable, [sys.executable, "-I", sys.argv[1] + "/healthcheck"])
"""
INSTALLED = 4  # bytes on a disk for each byte of a wheel, with its bytecode
PATHS = "/usr/local/bin:/usr/bin:/bin"


@dataclass
class Facts(Machine):
    """What a survey has found of a server without Docker."""

    account: str = ""
    is_root: bool = False  # or may be it
    place: str = ""  # the folder of the project's releases
    has_systemd: bool = False
    leaves: bool = False  # its services end when it logs out
    name: str = ""  # of its distribution
    python: str = ""
    system: str = ""  # see lockfile.system
    lacks: list[str] = field(default_factory=list)  # Debian packages
    unit: str = "none"  # or ours, theirs, other
    state: dict[str, str] = field(default_factory=dict)  # as systemctl shows it
    current: str = ""
    previous: str = ""
    is_trying: bool = False
    health: str = ""  # what its check says, when that was asked for
    kit: str = ""  # that of the last deploy
    files: set[str] = field(default_factory=set)  # by their SHA-256
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def as_root(self) -> str:
        """Give what goes before a command there that root is to run."""
        return "sudo -n " if self.is_root and self.account != "root" else ""

    @property
    def is_active(self) -> bool:
        """Say whether the service runs, and was never restarted."""
        return self.state.get("ActiveState") == "active" and self.state.get("NRestarts") == "0"


def parse(said: str) -> Facts:
    """Read what a survey says."""
    facts = Facts()
    words = {"root": "is_root", "systemd": "has_systemd", "trying": "is_trying"}
    for word, value, _ in told(said):
        if word in (
            "account",
            "place",
            "name",
            "python",
            "system",
            "unit",
            "current",
            "previous",
            "health",
        ):
            setattr(facts, word, value)
        elif word in ("leaves", "root", "systemd", "trying"):
            setattr(facts, words.get(word, word), True)
        elif word == "kit":
            facts.kit = facts.kit or value
        elif word == "lacks":
            facts.lacks.append(value)
        elif word == "file":
            facts.files.add(value)
        elif word == "release":
            read = json.loads(value)
            facts.releases[read["release"]] = read
        elif word == "state":
            facts.state = dict(line.partition("=")[::2] for line in value.split(";") if line)
        else:
            facts.take(word, value)
    return facts


@dataclass(frozen=True)
class Wanted:
    """A release that is to run: the wheelhouse, and the settings that it is run with."""

    settings: Mapping[str, str]
    system: str  # that the wheels were made for
    lists: Mapping[str, str]  # of each part of the wheelhouse
    wheels: Mapping[str, Mapping[str, Path]]  # of each part, by their SHA-256
    environment: bytes
    revision: str
    kit: kits.Kit

    @property
    def packages(self) -> tuple[str, ...]:
        """Name the Debian packages that it needs."""
        return self.kit.packages

    @property
    def release(self) -> str:
        """Give the release's name: the beginnings of sums over wheels and options."""
        content = "".join(self.lists[part] for part in sorted(self.lists))
        options = unit.text(self.settings, "", True).encode() + self.environment
        options += f"{self.settings['COMMAND']} {self.settings['HEALTH']}".encode()
        first, second = (hashlib.sha256(each).hexdigest() for each in (content.encode(), options))
        return f"{first[:12]}-{second[:4]}"

    def manifest(self, facts: Facts) -> dict[str, Any]:
        """Give what a server must know to install and run it."""
        names = ("COMMAND", "HEALTH", "PORT", "BIND")
        return {
            **{name.lower(): self.settings[name] for name in names},
            "release": self.release,
            "revision": self.revision,
            "lists": dict(self.lists),
            "wheels": {
                part: {sum_: path.name for sum_, path in found.items()}
                for part, found in self.wheels.items()
            },
            "unit": unit.text(self.settings, facts.place, facts.is_root),
            "environment": self._environment(facts).decode(),
        }

    def _environment(self, facts: Facts) -> bytes:
        appenv = f"{facts.place}/current"
        given = {
            # what the image has as well
            **{"PORT": self.settings["PORT"], "HEALTH": self.settings["HEALTH"]},
            **{"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "HOME": "/tmp"},
            **{"VIRTUAL_ENV": appenv, "PATH": f"{appenv}/bin:{PATHS}"},
        }
        own = unit.environment({name: value.encode() for name, value in given.items()})
        return own + self.environment


def wanted(settings: dict[str, str]) -> Wanted:
    """Find what is to run; NotReady when it was not built, or its environment does not do."""
    house = ROOT / settings["WHEELHOUSE"]
    values = environment.load()
    problem = unit.refused(values)
    if problem:
        raise NotReady(problem)
    try:
        lists = {
            part: (house / part / "requirements.txt").read_text("utf-8") for part in ("deps", "app")
        }
    except FileNotFoundError:
        raise NotReady("there is no wheelhouse: run make wheels") from None
    return Wanted(
        settings=settings,
        system=lists["deps"].splitlines()[1][2:],
        lists=lists,
        wheels={
            part: {sha256(path): path for path in sorted((house / part).glob("*.whl"))}
            for part in lists
        },
        environment=unit.environment(values),
        revision=revision(),
        kit=kits.collect(settings),
    )


def revision() -> str:
    """Name the commit that is checked out, and whether it was changed; empty without git."""
    said = []
    for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", ".")):
        command = ["git", "-C", str(ROOT), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        said.append(done.stdout.strip())
    return said[0] + ("-dirty" if said[1] else "")


@dataclass(frozen=True)
class Plan:
    """What is to be done on one server."""

    host: str
    wanted: Wanted
    facts: Facts

    @property
    def missing(self) -> dict[str, Path]:
        """Give the wheels that are not there, by their sums."""
        parts = self.wanted.wheels.values()
        found = {sum_: path for part in parts for sum_, path in part.items()}
        return {sum_: path for sum_, path in found.items() if sum_ not in self.facts.files}

    @property
    def kit_is_missing(self) -> bool:
        """Say whether what installs them is not there."""
        return self.wanted.kit.sum not in self.facts.files

    @property
    def bytes_sent(self) -> int:
        """Give how much is sent."""
        kit = len(self.wanted.kit.data) if self.kit_is_missing else 0
        return kit + sum(path.stat().st_size for path in self.missing.values())

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Give what is sent, one file at a time: where it comes to lie, and its content."""
        kit = self.wanted.kit
        if self.kit_is_missing:
            yield f"{kit.sum}/{kit.name}", kit.data
        for sum_, path in self.missing.items():
            yield f"{sum_}/{path.name}", path.read_bytes()

    @property
    def sends(self) -> str:
        """Say what is sent."""
        total = sum(map(len, self.wanted.wheels.values()))
        tools = ", and what installs them" if self.kit_is_missing else ""
        return f"{len(self.missing)} of {total} wheels{tools}, {megabytes(self.bytes_sent)}"

    def check(self) -> None:
        """Raise ConnectionFailed when this cannot come to a good end; nothing was changed."""
        for problem in (
            self._system(),
            self._packages(),
            self._manager(),
            self._unit(),
            self._port(),
            self._room(),
            self.facts.closed,
        ):
            if problem:
                raise ConnectionFailed(f"{self.host}: {problem}")

    def _system(self) -> str:
        facts, python = self.facts, self.wanted.settings["PYTHON"]
        if not facts.python:
            return f"it has no {python}: sudo apt install {python}"
        if not facts.system:
            return f"its {facts.python} lacks modules: sudo apt install {python}"
        if facts.system == self.wanted.system:
            return ""
        return (
            f"it has {facts.system} ({facts.name}), and the wheels are for {self.wanted.system}:"
            " let BASE_IMAGE and PYTHON in deploy/settings.mk be what the server has, or deploy to"
            " a server of that release"
        )

    def _packages(self) -> str:
        if not self.facts.lacks:
            return ""
        lacks = " ".join(self.facts.lacks)
        return f"it lacks what the application runs with: sudo apt install {lacks}"

    def _manager(self) -> str:
        facts, settings = self.facts, self.wanted.settings
        if not facts.has_systemd:
            return "it does not run systemd, which is to start the application: use make deploy"
        if facts.is_root:
            return ""
        if facts.leaves:
            return (
                f"services of {facts.account} end when it logs out:"
                f" sudo loginctl enable-linger {facts.account}"
            )
        if settings["VOLUMES"]:
            return (
                "VOLUMES takes root there: deploy as root, or let"
                f" {facts.account} use sudo without a password"
            )
        return ""

    def _unit(self) -> str:
        if self.facts.unit != "other":
            return ""
        project = self.wanted.settings["PROJECT"]
        return (
            f"the unit {project}.service there is not of a deploy: let it start"
            f" {self.facts.place}/current/start, rename it, or change PROJECT"
        )

    def _port(self) -> str:
        port = int(self.wanted.settings["PORT"])
        runs = self.facts.releases.get(self.facts.current, {})
        ours = self.facts.state.get("ActiveState") == "active" and runs.get("port") == str(port)
        if port in self.facts.listening and not ours:
            return f"port {port} is taken there by another program: set PORT, or stop that"
        return ""

    def _room(self) -> str:
        size = sum(
            path.stat().st_size for each in self.wanted.wheels.values() for path in each.values()
        )
        need = (INSTALLED + 1) * size + LEAST_FREE
        if self.facts.free is None or self.facts.free >= need:
            return ""
        return (
            f"it has {megabytes(self.facts.free)} free in {self.facts.place} and the release may"
            f" need {megabytes(need)}: make room, or lower KEEP"
        )

    def data(self) -> dict[str, Any]:
        """Give the plan for machines."""
        return {
            "host": self.host,
            "system": self.facts.system,
            "unit": self.facts.unit,
            "runs": self.facts.current or None,
            "will_run": self.wanted.release,
            "revision": self.wanted.revision,
            "wheels_sent": sorted(path.name for path in self.missing.values()),
            "bytes_sent": self.bytes_sent,
            "unfinished": self.facts.is_trying,
            "lock": describe_lock(self.facts.lock) if self.facts.lock else None,
        }

    def lines(self) -> list[str]:
        """Say the plan to a person."""
        facts, settings = self.facts, self.wanted.settings
        whose = {
            "none": "is written",
            "ours": "is there",
            "theirs": "is its owner's, and only restarted",
        }
        kind = "system" if facts.is_root else f"{facts.account}'s"
        lines = [
            f"server    {facts.system}, {kind} systemd",
            f"unit      {settings['PROJECT']}.service {whose[facts.unit]}",
            f"runs now  {facts.current or 'nothing'}",
            f"will run  {self.wanted.release}, commit {self.wanted.revision[:12] or 'unknown'}",
            f"sends     {self.sends}",
        ]
        if facts.is_trying:
            lines.append("first     goes back from what a deploy that was cut off has left")
        if facts.lock_is_alive:
            lines.append(f"waits     for {describe_lock(facts.lock)}")
        return lines
