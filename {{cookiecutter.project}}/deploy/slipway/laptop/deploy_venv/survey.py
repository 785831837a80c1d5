"""What a server without Docker has; server/systemd/deploy.sh finds out all of it at once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slipway.laptop.deploy_venv import systemd_unit
from slipway.laptop.servers import remote_job
from slipway.laptop.servers import survey as basic
from slipway.laptop.servers.ssh import Connection, ConnectionFailed
from slipway.shared import lockfile

# Prints which interpreter and system a wheelhouse must be made for, without this package.
SYSTEM = "\n".join(
    (
        "import os, platform, re, sys, sysconfig, venv",
        "from pathlib import Path",
        inspect.getsource(lockfile.interpreter),
        inspect.getsource(lockfile.system),
        "print(system())",
    )
)
# Runs a release's own health check, which prints `unhealthy` and the reason if there is a problem.
ASK = """\
import json, os, sys
known = json.load(open(sys.argv[1] + "/release.json"))
os.environ.update(PORT=known["port"], HEALTH=known["health"])
os.execv(sys.executable, [sys.executable, "-I", "-S", sys.argv[1] + "/healthcheck"])
"""


@dataclass
class Facts(basic.Machine):
    """The facts of a server without Docker."""

    account: str = ""
    is_root: bool = False  # directly or by sudo
    place: str = ""  # the folder of the project's releases
    has_systemd: bool = False
    has_linger: bool = True  # the account's services run without a login
    name: str = ""  # of its distribution
    python: str = ""
    system: str = ""  # see lockfile.system
    missing: list[str] = field(default_factory=list)  # Debian packages
    unit: str = "none"  # or slipway, user, other: see unit_owner in server/systemd/deploy.sh
    state: dict[str, str] = field(default_factory=dict)  # properties of the service
    current: str = ""
    previous: str = ""
    is_trying: bool = False  # a deploy is running or was cut off
    health: str = ""  # the output of the health check, if that was asked for
    bundle: str = ""  # of the last deploy
    files: set[str] = field(default_factory=set)  # by their SHA-256
    releases: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def as_root(self) -> str:
        """What comes before a command that root has to run."""
        return "sudo -n " if self.is_root and self.account != "root" else ""

    @property
    def is_active(self) -> bool:
        """Whether the service runs and was never restarted."""
        return self.state.get("ActiveState") == "active" and self.state.get("NRestarts") == "0"


TEXT = re.compile(".{0,500}", re.DOTALL)
TEXTS = {
    **dict.fromkeys(("account", "name", "python", "system", "health"), TEXT),
    **dict.fromkeys(("current", "previous"), basic.NAME),
    "place": re.compile(r"/[^\x00-\x1f\x7f]{1,400}"),
    "unit": re.compile("none|slipway|user|other"),
}
# What is used of a release's manifest.
MANIFEST = ("release", "revision", "by", "at", "port", "health")
FLAGS = {"root": "is_root", "systemd": "has_systemd", "trying": "is_trying"}


def parse(output: str) -> Facts:
    """Parse a survey's output."""
    facts = Facts()
    for key, value, _ in basic.facts(output):
        if key in TEXTS:
            setattr(facts, key, basic.checked(value, TEXTS[key]))
        elif key in FLAGS:
            setattr(facts, FLAGS[key], True)
        elif key == "no-linger":
            facts.has_linger = False
        elif key == "bundle":
            facts.bundle = facts.bundle or basic.checked(value)
        elif key == "missing":
            facts.missing.append(basic.checked(value))
        elif key == "file":
            facts.files.add(basic.checked(value))
        elif key == "release":
            read = basic.read_json(value, dict)
            texts = {name: read[name] for name in MANIFEST if isinstance(read.get(name), str)}
            known = {name: text[: basic.LONGEST_TEXT] for name, text in texts.items()}
            facts.releases[basic.checked(known.get("release", ""))] = known
        elif key == "state":
            lines = value[: basic.LONGEST_TEXT].split(";")
            facts.state = dict(line.partition("=")[::2] for line in lines if line)
            basic.number(facts.state.get("NRestarts") or "0")
        else:
            facts.read(key, value)
    return facts


def survey(
    connection: Connection,
    settings: Mapping[str, str],
    packages: Sequence[str] = (),
    ask: str = "",
) -> Facts:
    """Read all facts of a server, and whether Debian packages are missing; change nothing."""
    variables = remote_job.assignments(
        {
            "PROJECT": settings["PROJECT"],
            "BY": "survey",
            "ASK": ask,
            "PYTHON": settings["PYTHON"],
            "MARK": systemd_unit.MARK,
            "SYSTEM": SYSTEM,
            "PACKAGES": " ".join(packages),
        }
    )
    text = remote_job.as_root(variables + remote_job.script("systemd"), "survey")
    done = connection.ask_script(text)
    facts = basic.parsed(connection.host, parse, done.stdout)
    if not facts.place:
        problem = done.stderr[-200:].strip().splitlines()
        reason = problem[-1] if problem else "no answer"
        raise ConnectionFailed(f"{connection.host}: the survey of the server failed: {reason}")
    return facts
