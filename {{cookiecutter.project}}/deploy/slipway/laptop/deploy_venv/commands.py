"""The command lines of what server/systemd/deploy.py does on a server, for DRY_RUN=1.

A test compares its systemctl commands with those of the program itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway.laptop.deploy_venv import bundle as bundles
from slipway.laptop.deploy_venv.plan import Plan
from slipway.laptop.deploy_venv.survey import Facts
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.laptop.servers.survey import lock_entry_name

UNITS = {True: "/etc/systemd/system", False: ".config/systemd/user"}


class Lines:
    """Command lines for a shell on this machine that do something on a server."""

    def __init__(self, settings: Mapping[str, str], host: str, facts: Facts) -> None:
        self.ssh = shlex.split(settings["SSH"])
        self.host = host
        self.project = settings["PROJECT"]
        self.facts = facts
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """Add a comment."""
        self.lines.append(f"# {text}")

    def run(self, *words: str) -> None:
        """Add a command."""
        remote = self.facts.as_root + shlex.join(words)
        # -n: or else ssh would read the other lines that are pasted
        self.lines.append(shlex.join([*self.ssh, "-n", self.host, remote]))

    def receive(self, script: str, begin: str = "", end: str = "") -> None:
        """Add a shell script that reads what begin or end gives to it on this machine."""
        remote = self.facts.as_root + shlex.join(["sh", "-c", script])
        self.lines.append(begin + shlex.join([*self.ssh, self.host, remote]) + end)

    def write(self, place: str, text: str, mode: str = "644") -> None:
        """Add a command that writes a file."""
        mask = {"644": "022", "600": "077"}[mode]
        script = f"umask {mask}; cat >{shlex.quote(place)}"
        self.receive(script, end=f" <<'END'\n{text.rstrip()}\nEND")

    def systemctl(self, *words: str) -> None:
        """Add a systemctl command."""
        self.run("systemctl", *(() if self.facts.is_root else ("--user",)), *words)

    @property
    def unit(self) -> str:
        """The place of the unit on the server."""
        return f"{UNITS[self.facts.is_root]}/{self.project}.service"

    def switch(self, release: str, unit: str, settings: Mapping[str, str]) -> None:
        """Add the commands that run a release in place of the current one."""
        place, current = self.facts.place, self.facts.current
        self.note(f"{place}/trying names the release to go back to until the new one is healthy")
        self.write(f"{place}/trying", current)
        if self.facts.unit in ("none", "slipway"):
            if unit:
                self.write(self.unit, unit)
            else:
                self.run("cp", f"{place}/releases/{release}/unit", self.unit)
            self.systemctl("daemon-reload")
            self.systemctl("enable", "--quiet", self.project)
        self.run("ln", "-sfn", f"releases/{release}", f"{place}/current")
        self.systemctl("stop", self.project)
        if not unit:
            self.note(f"slipway makes {place} readable for others if that unit needs it")
        elif self.facts.unit in ("none", "slipway"):
            self.run("chmod", "700", place)
        self.systemctl("reset-failed", self.project)
        self.systemctl("start", self.project)
        self.note(f"it must become healthy within {settings['HEALTH_TIMEOUT']} s")
        health = [settings["PYTHON"], "-I", "-S", f"{place}/current/healthcheck"]
        self.run("env", f"PORT={settings['PORT']}", f"HEALTH={settings['HEALTH']}", *health)
        self.run("rm", f"{place}/trying")
        if current and current != release:
            self.run("ln", "-sfn", f"releases/{current}", f"{place}/previous")

    def recover(self) -> None:
        """Add what happens first after a deploy that was cut off."""
        if self.facts.is_trying:
            self.note(f"first it goes back to the release in {self.facts.place}/trying")


def deploy(settings: Mapping[str, str], plan: Plan) -> list[str]:
    """Return the command lines of a deploy to one server, which can be pasted into a shell."""
    facts, wanted = plan.facts, plan.wanted
    lines = Lines(settings, plan.host, facts)
    place, release = facts.place, wanted.release
    bundle = f"{place}/kit/{wanted.bundle.sha256}"
    folder = f"{place}/releases/{release}"
    lines.recover()
    for checksum, path in plan.missing.items():
        to = f"{place}/wheels/{checksum}"
        script = f"mkdir -p {shlex.quote(to)} && cat >{shlex.quote(f'{to}/{path.name}')}"
        lines.receive(script, end=f" <{shlex.quote(str(_relative(path)))}")
    if plan.bundle_is_missing:
        lines.note("the bundle that installs wheels; slipway sends only what is needed, compressed")
        script = f"mkdir -p {bundle} && tar -x -C {bundle}"
        lines.receive(script, begin=f"{shlex.join(bundles.command(settings))} | ")
        tar = shlex.join(["tar", "-c", "-C", str(_relative(DEPLOY)), "slipway"])
        lines.receive(script, begin=f"{tar} | ")
    if release not in facts.releases:
        python = settings["PYTHON"]
        lines.run(python, "-S", "-m", "venv", "--without-pip", folder)
        for part, command in (("deps", ()), ("app", (settings["COMMAND"],))):
            _install(lines, plan, bundle, part, command)
        lines.run("rm", "-r", f"{folder}/.wheels")
        environment = f"{folder}/environment"
        lines.write(environment, wanted.own_environment(facts).decode(), "600")
        if wanted.environment:
            lines.note("slipway quotes these values for systemd")
            lines.receive(f"cat >>{shlex.quote(environment)}", end=" <deploy/run.env")
        lines.write(f"{folder}/unit", str(wanted.manifest(facts)["unit"]))
        lines.note(f"{folder}/release.json is written, by which slipway knows the release")
    lines.switch(release, str(wanted.manifest(facts)["unit"]), settings)
    lines.note(f"then it removes all but {settings['KEEP']} releases, and wheels that none uses")
    return lines.lines


def _install(lines: Lines, plan: Plan, bundle: str, part: str, command: Sequence[str]) -> None:
    place, wanted = plan.facts.place, plan.wanted
    folder = f"{place}/releases/{wanted.release}"
    wheels = f"{folder}/.wheels/{part}"
    lines.run("mkdir", "-p", wheels)
    found = [f"{place}/wheels/{sum_}/{path.name}" for sum_, path in wanted.wheels[part].items()]
    if found:
        lines.run("ln", "-s", *found, wheels)
    lines.write(f"{wheels}/requirements.txt", wanted.lists[part])
    installer = [wanted.settings["PYTHON"], "-S", "-m", "slipway.image.run.install_wheelhouse"]
    environment = [f"PYTHONPATH={bundle}", f"APPENV={folder}"]
    lines.run("env", *environment, *installer, wheels, *command)


def _relative(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def rollback(settings: Mapping[str, str], host: str, facts: Facts) -> list[str]:
    """Return the command lines of a rollback to a kept release, or to the previous one."""
    lines = Lines(settings, host, facts)
    lines.recover()
    wanted = settings["RELEASE"]
    if wanted and facts.current.startswith(wanted):
        lines.note(f"nothing to do: {facts.current} runs")
        return lines.lines
    kept = [each for each in facts.releases if each != facts.current]
    found = [
        each for each in kept if (each.startswith(wanted) if wanted else each == facts.previous)
    ]
    if not found:
        lines.note(f"it fails: no {f'release {wanted}' if wanted else 'previous release'} is kept")
        return lines.lines
    known = facts.releases[found[0]]
    own = {"PORT": known.get("port") or settings["PORT"]}
    own["HEALTH"] = known.get("health") or settings["HEALTH"]
    lines.switch(found[0], "", {**settings, **own})
    return lines.lines


def unlock(settings: Mapping[str, str], host: str, facts: Facts) -> list[str]:
    """Return the command lines that end a running deploy and recover."""
    lines = Lines(settings, host, facts)
    if facts.lock_is_alive:
        lines.note("the deploy goes back to the release before when it ends")
        lines.run("kill", facts.lock.partition(" ")[0])
    if facts.lock:
        lines.run("rm", "-f", f"{facts.place}/lock/{lock_entry_name(facts.lock)}")
    lines.recover()
    if not lines.lines:
        lines.note("nothing to do: no deploy holds the lock")
    return lines.lines
