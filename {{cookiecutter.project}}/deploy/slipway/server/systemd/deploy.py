#!/usr/bin/env python3
"""On the server: releases in virtualenvs, one of which systemd runs.

    service.py deploy|rollback|settle

service.sh starts it, behind the lock and with these folders and names in its environment:

    PLACE/wheels/SUM/NAME     what was sent, by its content
    PLACE/kit/SUM             this file, and what installs wheels
    PLACE/releases/RELEASE    a virtualenv; one that has a release.json is whole
    PLACE/current             what runs, by a link
    PLACE/previous            what ran before
    PLACE/trying              is there while current is not proven: what to go back to

So whoever comes after a killed deploy sees what to do, and `settle` does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from slipway.image.run import healthcheck
from slipway.server.systemd.systemctl import Failed, Systemd, read, write

KIT = Path(__file__).resolve().parent
GONE = 4  # status: a deploy that was at work meanwhile has tidied wheels away, send them again
STALE = 3600  # seconds after which what was not finished is taken for left behind


def say(message: str) -> None:
    """Print a line; the laptop may be gone, and the work goes on."""
    with contextlib.suppress(OSError):
        print(message, flush=True)


class Releases:
    """The releases of a project, and which of them is which."""

    def __init__(self, place: Path) -> None:
        """Take the folder that they are in."""
        self.place = place

    def folder(self, release: str) -> Path:
        """Give where a release is."""
        return self.place / "releases" / release

    def manifest(self, release: str) -> dict[str, Any]:
        """Give what is known of a release; empty when it is not whole."""
        text = read(self.folder(release) / "release.json") if release else ""
        return dict(json.loads(text)) if text else {}

    def whole(self) -> list[str]:
        """Name the releases that could run, the newest first."""
        found = self.place.glob("releases/*/release.json")
        return [path.parent.name for path in sorted(found, key=os.path.getmtime, reverse=True)]

    def named(self, link: str) -> str:
        """Give the release that `current` or `previous` leads to; empty when there is none."""
        with contextlib.suppress(OSError):
            return Path(os.readlink(self.place / link)).name
        return ""

    def point(self, link: str, release: str) -> None:
        """Let a link lead to a release, or be no more."""
        path = self.place / link
        if not release:
            path.unlink(missing_ok=True)
            return
        new = path.with_name(f".{link}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(f"releases/{release}")
        new.replace(path)


class Server:
    """One project on this machine."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Take what service.sh says."""
        self.environment = environment
        place = Path(environment["PLACE"])
        self.releases = Releases(place)
        self.place = place
        self.trying = place / "trying"
        self.unit = Systemd(
            environment["PROJECT"],
            Path(environment["UNITS"]),
            environment["MANAGER"],
            environment["MARK"],
        )
        self.timeout = int(environment["HEALTH_TIMEOUT"])
        self.steady = int(environment["STEADY"])

    def install(self, manifest: dict[str, Any]) -> None:
        """Make a release's virtualenv, unless it is there."""
        release = manifest["release"]
        folder = self.releases.folder(release)
        if self.releases.manifest(release):
            return
        say(f"installs {release}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        python = self.environment["PYTHON"]
        self._run([python, "-m", "venv", "--without-pip", str(folder)])
        for part, command in (("deps", []), ("app", [manifest["command"]])):
            wheels = folder / ".wheels" / part
            wheels.mkdir(parents=True)
            for sum_, name in manifest["wheels"][part].items():
                (wheels / name).symlink_to(self.place / "wheels" / sum_ / name)
            write(wheels / "requirements.txt", manifest["lists"][part])
            self._run([python, str(KIT / "install.py"), str(wheels), *command], APPENV=str(folder))
        shutil.rmtree(folder / ".wheels")
        write(folder / "environment", manifest.pop("environment"), 0o600)
        manifest["by"] = self.environment["BY"]
        manifest["at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write(folder / "unit", manifest["unit"])
        write(folder / "release.json", json.dumps(manifest))

    def _run(self, command: list[str], **environment: str) -> None:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )
        if done.returncode:
            lines = done.stdout.strip().splitlines()
            raise Failed(f"it cannot be installed: {lines[-1] if lines else command[0]}")

    def run(self, release: str, steady: float = 0) -> str:
        """Let a release run, whatever runs now; gives why it is not well, or nothing.

        One that has not proven itself before must have been well for some seconds.
        """
        self.unit.put(read(self.releases.folder(release) / "unit"))
        self.releases.point("current", release)
        self.unit.restart()
        return self.wait_healthy(self.releases.manifest(release), steady)

    def wait_healthy(self, manifest: dict[str, Any], steady: float) -> str:
        """Wait until the service has been healthy for a while; gives why it is not."""
        if manifest["health"] == "none":
            steady = self.steady  # that it runs has to do
        began = well = time.monotonic()
        while True:
            state = self.unit.state()
            if (
                state.get("NRestarts", "0") != "0"
                or state.get("ActiveState") in ("failed", "inactive")
                or state.get("SubState", "").startswith("auto-restart")
            ):
                return self._end_of(state)
            said = asked(int(manifest["port"]), manifest["health"])
            now = time.monotonic()
            if said:
                well = now
                if now - began >= self.timeout:
                    return f"it was not healthy within {self.timeout} s: {said}"
            elif now - well >= steady:
                return exposed(int(manifest["port"]), manifest["bind"])
            time.sleep(0.2)

    @staticmethod
    def _end_of(state: dict[str, str]) -> str:
        if state.get("Result") == "oom-kill":
            return "it ran out of memory: raise MEMORY"
        return f"it ended with status {state.get('ExecMainStatus') or 'unknown'}"

    def is_well(self, release: str) -> bool:
        """Say whether a release runs, and answers."""
        manifest = self.releases.manifest(release)
        return (
            bool(manifest)
            and self.unit.state().get("ActiveState") == "active"
            and not asked(int(manifest["port"]), manifest["health"])
        )

    def switch(self, release: str, steady: float = 0) -> None:
        """Let a release run in place of the current one; Failed says why it does not."""
        before = self.releases.named("current")
        write(self.trying, before)
        why = self.run(release, steady)
        if why:
            with contextlib.suppress(OSError):
                lines = "".join(f"    {line}\n" for line in self.unit.log().splitlines())
                sys.stderr.write(f"the last lines of its log:\n{lines or '    (none)'}\n"[:-1])
                sys.stderr.flush()
            raise Failed(why)
        self.trying.unlink()
        if before != release:
            self.releases.point("previous", before)

    def settle(self) -> str:
        """Go back from a release that is not proven; gives what is the matter then, or nothing."""
        if not self.trying.exists():
            return ""
        before, why = read(self.trying), ""
        if self.releases.manifest(before):
            why = self.run(before)
        else:
            self.unit.remove()
            self.releases.point("current", "")
        self.trying.unlink()
        return why

    def stand(self) -> None:
        """Let the current release run, if there is one; Failed says why it does not."""
        current = self.releases.named("current")
        why = "" if not current or self.is_well(current) else self.run(current)
        if why:
            raise Failed(why)

    def deploy(self) -> str:
        """Install what was sent, and let it run; gives the release."""
        sent = Path(self.environment["SENT"])
        manifest = json.loads(sent.read_text(encoding="utf-8"))
        sent.unlink()
        release = str(manifest["release"])
        if self.releases.named("current") == release and self.is_well(release):
            say(f"nothing to do: {release} runs and is healthy")
            return ""
        for part in manifest["wheels"].values():
            for sum_, name in part.items():
                if not (self.place / "wheels" / sum_ / name).exists():
                    raise SystemExit(GONE)
        self.install(manifest)
        self.switch(release, self.steady)
        say(f"{release} runs and is healthy")
        return release

    def rollback(self) -> str:
        """Let an earlier release run again; gives it."""
        wanted = self.environment["RELEASE"]
        current = self.releases.named("current")
        if wanted and current.startswith(wanted):
            say(f"nothing to do: {current} runs")
            return ""
        kept = [each for each in self.releases.whole() if each != current]
        if not wanted:
            wanted = self.releases.named("previous") or "none"
            kept = [each for each in kept if each == wanted]
        found = next((each for each in kept if each.startswith(wanted)), "")
        if not found:
            raise Failed(f"no release {wanted} is kept here: make status-venv lists them")
        self.switch(found)
        say(f"{found} runs again")
        return found

    def forget(self, release: str) -> None:
        """Remove a release that has failed; one that ran before stays."""
        if release and release not in (
            self.releases.named("current"),
            self.releases.named("previous"),
        ):
            shutil.rmtree(self.releases.folder(release), ignore_errors=True)

    def tidy(self) -> None:
        """Keep KEEP releases, the running and the previous one among them, and their wheels."""
        first = [self.releases.named("current"), self.releases.named("previous")]
        order = list(dict.fromkeys([*filter(None, first), *self.releases.whole()]))
        keep = order[: max(int(self.environment["KEEP"]), len([*filter(None, first)]))]
        used = {KIT.name}
        for release in keep:
            for part in self.releases.manifest(release).get("wheels", {}).values():
                used.update(part)
        for folder in (*self.place.glob("wheels/*"), *self.place.glob("kit/*")):
            if folder.name not in used:
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self.place.glob("releases/*"):
            if folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)
        for left in self.place.glob(".new-*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > STALE:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


def asked(port: int, health: str) -> str:
    """Ask the application whether it is well; gives why it is not, or nothing."""
    try:
        healthcheck.check(port, health)
    except (OSError, ValueError) as problem:
        return str(problem)
    return ""


def exposed(port: int, bind: str) -> str:
    """Say that everybody reaches a port which only this machine may reach; else nothing."""
    if bind == "0.0.0.0":
        return ""
    for table in ("tcp", "tcp6"):
        for line in read(Path("/proc/net", table)).splitlines()[1:]:
            address, _, number = line.split()[1].partition(":")
            # 0A is LISTEN, see the kernel's include/net/tcp_states.h
            if line.split()[3] == "0A" and int(number, 16) == port and not int(address, 16):
                return (
                    f"it listens on all addresses, and BIND is {bind}: let it listen on {bind}, or"
                    " set BIND := 0.0.0.0"
                )
    return ""


def end(outcome: str) -> None:
    """Log what came of a job, and give up the lock."""
    subprocess.run(["sh", str(KIT / "service.sh"), "ended", outcome], stdin=subprocess.DEVNULL)


def interrupted(*_: object) -> NoReturn:
    """Turn a signal into a failure, which puts back what ran."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Failed("it was ended by make unlock-venv")


def main(arguments: list[str]) -> int:
    """Do one job; gives the exit status."""
    job = arguments[0]
    server = Server(dict(os.environ))
    by = f"by {os.environ['BY']}"
    os.umask(0o022)
    signal.signal(signal.SIGTERM, interrupted)
    outcome = ""
    try:
        server.settle()
        if job == "settle":
            server.stand()
            return 0
        release = server.deploy() if job == "deploy" else server.rollback()
        if release:
            outcome = f"{job} {release} {by}: runs"
            server.tidy()
    except (Failed, OSError, ValueError) as problem:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        word = "again" if server.trying.exists() else "as before"
        why = server.settle()
        runs = server.releases.named("current")
        server.forget(os.environ["RELEASE"] if job == "deploy" else runs)
        after = f"{runs} runs {word}" if runs else "nothing else was here to put back"
        if why:
            after = f"{runs} was put back, and is not healthy either: {why}"
        wanted = os.environ["RELEASE"] or "the release"
        outcome = f"{job} {wanted} {by}: failed: {problem}; {after}"
        with contextlib.suppress(OSError):
            print(f"{job} failed: {wanted}: {problem}; {after}", file=sys.stderr, flush=True)
        return 1
    finally:
        end(outcome)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
