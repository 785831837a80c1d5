"""What make deploy-venv would do on one server, and the problems that prevent it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.laptop.building import lock_copy
from slipway.laptop.building.record import Record
from slipway.laptop.building.steps import built, lock_text
from slipway.laptop.deploy_venv import bundle as bundles
from slipway.laptop.deploy_venv import systemd_unit
from slipway.laptop.deploy_venv.bundle import Bundle
from slipway.laptop.deploy_venv.survey import Facts
from slipway.laptop.paths import ROOT
from slipway.laptop.servers.survey import (
    LEAST_FREE,
    NotReady,
    describe_lock,
    megabytes,
    refuse,
)
from slipway.laptop.settings import run_env
from slipway.shared.files import sha256

INSTALLED = 4  # bytes on the disk for each byte of a wheel, bytecode included
PATHS = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Wanted:
    """A release that is to run: the wheelhouse, and its settings."""

    settings: Mapping[str, str]
    system: str  # for which the wheels were made
    lists: Mapping[str, str]  # requirements.txt of each part of the wheelhouse
    wheels: Mapping[str, Mapping[str, Path]]  # of each part, by SHA-256
    environment: bytes
    revision: str
    bundle: Bundle

    @property
    def packages(self) -> tuple[str, ...]:
        """The Debian packages that the release needs."""
        return self.bundle.packages

    @property
    def release(self) -> str:
        """The release's name: the beginnings of two checksums, of its wheels and of its options."""
        content = "".join(self.lists[part] for part in sorted(self.lists))
        options = systemd_unit.text(self.settings, "", True).encode() + self.environment
        options += f"{self.settings['COMMAND']} {self.settings['HEALTH']}".encode()
        first, second = (hashlib.sha256(each).hexdigest() for each in (content.encode(), options))
        return f"{first[:12]}-{second[:4]}"

    def manifest(self, facts: Facts) -> dict[str, Any]:
        """Return what a server needs to install and run the release."""
        names = ("COMMAND", "HEALTH", "PORT", "BIND")
        return {
            **{name.lower(): self.settings[name] for name in names},
            "release": self.release,
            "revision": self.revision,
            "lists": dict(self.lists),
            "wheels": {
                part: {checksum: path.name for checksum, path in found.items()}
                for part, found in self.wheels.items()
            },
            "unit": systemd_unit.text(self.settings, facts.place, facts.is_root),
            "environment": (self.own_environment(facts) + self.environment).decode(),
        }

    def own_environment(self, facts: Facts) -> bytes:
        """Return the variables that every application gets, as systemd reads them."""
        appenv = f"{facts.place}/current"
        given = {
            # the same as in the image
            **{"PORT": self.settings["PORT"], "HEALTH": self.settings["HEALTH"]},
            **{"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "HOME": "/tmp"},
            **{"VIRTUAL_ENV": appenv, "PATH": f"{appenv}/bin:{PATHS}"},
        }
        return systemd_unit.environment({name: value.encode() for name, value in given.items()})


def wanted(settings: dict[str, str]) -> Wanted:
    """Return the release to run; raise NotReady if it was not built, or cannot run this way."""
    house = ROOT / settings["WHEELHOUSE"]
    if settings["BIND"] == "none":
        raise NotReady("BIND is none, which only a container can have. Set BIND := 127.0.0.1.")
    values = run_env.load()
    problem = systemd_unit.environment_problem(values)
    if problem:
        raise NotReady(problem)
    try:
        lists = {
            part: (house / part / "requirements.txt").read_text("utf-8") for part in ("deps", "app")
        }
    except FileNotFoundError:
        raise NotReady("there is no wheelhouse. Run make wheels.") from None
    wheels = {
        part: {sha256(path): path for path in sorted((house / part).glob("*.whl"))}
        for part in lists
    }
    made_here = built(Record.load())
    foreign = lock_copy.foreign(lock_text(), made_here, wheels["deps"], wheels["app"].values())
    if foreign:
        raise NotReady(
            f"{foreign} in the wheelhouse is not what the lock names, and it was not built of it."
            " Remove the wheelhouse, then run make wheels."
        )
    return Wanted(
        settings=settings,
        system=lists["deps"].splitlines()[1][2:],
        lists=lists,
        wheels=wheels,
        environment=systemd_unit.environment(values),
        revision=revision(),
        bundle=bundles.collect(settings),
    )


def revision() -> str:
    """Return the commit that is checked out, marked if files differ from it; empty without git."""
    outputs = []
    for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", ".")):
        command = ["git", "-C", str(ROOT), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        outputs.append(done.stdout.strip())
    return outputs[0] + ("-dirty" if outputs[1] else "")


@dataclass(frozen=True)
class Plan:
    """A deploy of a release to one server."""

    host: str
    wanted: Wanted
    facts: Facts

    @property
    def missing(self) -> dict[str, Path]:
        """The wheels that the server does not have, by SHA-256."""
        parts = self.wanted.wheels.values()
        found = {checksum: path for part in parts for checksum, path in part.items()}
        there = self.facts.files
        return {checksum: path for checksum, path in found.items() if checksum not in there}

    @property
    def bundle_is_missing(self) -> bool:
        """Whether the server does not have the bundle."""
        return self.wanted.bundle.sha256 not in self.facts.files

    @property
    def bytes_sent(self) -> int:
        """The number of bytes to send."""
        bundle = len(self.wanted.bundle.data) if self.bundle_is_missing else 0
        return bundle + sum(path.stat().st_size for path in self.missing.values())

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Return the files to send, one at a time: the path on the server, and the content."""
        bundle = self.wanted.bundle
        if self.bundle_is_missing:
            yield f"{bundle.sha256}/{bundle.name}", bundle.data
        for checksum, path in self.missing.items():
            yield f"{checksum}/{path.name}", path.read_bytes()

    @property
    def sends(self) -> str:
        """What is sent, for people."""
        total = sum(map(len, self.wanted.wheels.values()))
        bundle = " and the bundle that installs them" if self.bundle_is_missing else ""
        return f"{len(self.missing)} of {total} wheels{bundle}, {megabytes(self.bytes_sent)}"

    def check(self) -> None:
        """Raise ConnectionFailed if the deploy cannot succeed."""
        refuse(
            self.host,
            self._system(),
            self._packages(),
            self._manager(),
            self._unit(),
            self._port(),
            self._room(),
            self.facts.storage_problem,
        )

    def _system(self) -> str:
        facts, python = self.facts, self.wanted.settings["PYTHON"]
        if not facts.python:
            return f"it has no {python}. Run: sudo apt install {python}"
        if not facts.system:
            return f"modules of its {facts.python} are missing. Run: sudo apt install {python}"
        if facts.system == self.wanted.system:
            return ""
        return (
            f"it has {facts.system} ({facts.name}), and the wheels are for {self.wanted.system}."
            " Set BASE_IMAGE and PYTHON in deploy/settings.mk to the server's, or deploy to a"
            " server of that release."
        )

    def _packages(self) -> str:
        if not self.facts.missing:
            return ""
        missing = " ".join(self.facts.missing)
        return f"packages that the application needs are missing. Run: sudo apt install {missing}"

    def _manager(self) -> str:
        facts, settings = self.facts, self.wanted.settings
        if not facts.has_systemd:
            return "it does not run systemd, which starts the application. Use make deploy."
        if facts.is_root:
            return ""
        if not facts.has_linger:
            return (
                f"services of {facts.account} end when it logs out."
                f" Run: sudo loginctl enable-linger {facts.account}"
            )
        if settings["VOLUMES"]:
            return (
                "VOLUMES needs root there. Deploy as root, or allow"
                f" {facts.account} to use sudo without a password."
            )
        return ""

    def _unit(self) -> str:
        if self.facts.unit != "other":
            return ""
        project = self.wanted.settings["PROJECT"]
        return (
            f"the unit {project}.service there is not managed by slipway. Make it start"
            f" {self.facts.place}/current/start, rename it, or change PROJECT."
        )

    def _port(self) -> str:
        port = int(self.wanted.settings["PORT"])
        runs = self.facts.releases.get(self.facts.current, {})
        own = self.facts.state.get("ActiveState") == "active" and runs.get("port") == str(port)
        if port in self.facts.listening and not own:
            return f"port {port} is taken there by another program. Set PORT, or stop it."
        return ""

    def _room(self) -> str:
        size = sum(
            path.stat().st_size for each in self.wanted.wheels.values() for path in each.values()
        )
        need = (INSTALLED + 1) * size + LEAST_FREE
        if self.facts.free is None or self.facts.free >= need:
            return ""
        return (
            f"it has {megabytes(self.facts.free)} free in {self.facts.place}, and the release may"
            f" need {megabytes(need)}. Free some space, or lower KEEP."
        )

    def data(self) -> dict[str, Any]:
        """Return the plan as data."""
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
        """Return the plan for people."""
        facts, settings = self.facts, self.wanted.settings
        unit = {
            "none": "is written",
            "slipway": "is there",
            "user": "is managed by the user, and only restarted",
        }
        kind = "system" if facts.is_root else f"{facts.account}'s"
        lines = [
            f"server    {facts.system}, {kind} systemd",
            f"unit      {settings['PROJECT']}.service {unit[facts.unit]}",
            f"runs now  {facts.current or 'nothing'}",
            f"will run  {self.wanted.release}, commit {self.wanted.revision[:12] or 'unknown'}",
            f"sends     {self.sends}",
        ]
        if facts.is_trying:
            lines.append("first     recovers from a deploy that was cut off")
        if facts.lock_is_alive:
            lines.append(f"waits     for {describe_lock(facts.lock)}")
        return lines
