"""Releases in virtualenvs on a server, one of which systemd runs.

    python -m slipway.server.systemd.deploy deploy|rollback|recover

deploy.sh starts it while it holds the lock, with these folders and the names in its environment:

    PLACE/wheels/SUM/NAME     the files that were sent, each in a folder named after its SHA-256
    PLACE/kit/SUM             the bundle: this package, and what installs wheels
    PLACE/releases/RELEASE    a virtualenv; it is complete if it has a release.json
    PLACE/current             a link to the release that runs
    PLACE/previous            a link to the release that ran before
    PLACE/trying              names the release before, until the current one is proven

So the next process sees what a killed deploy has left, and recovers.
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

HERE = Path(__file__).resolve().parent
BUNDLE = HERE.parents[2]
STALE = 3600  # seconds after which an unfinished transfer counts as abandoned


class WheelsGone(Exception):
    """Another deploy has removed wheels that were sent for this one."""


def say(message: str) -> None:
    """Print a line; the laptop may be gone, and the work goes on."""
    with contextlib.suppress(OSError):
        print(message, flush=True)


class Releases:
    """The releases of a project, and the links that say which release runs."""

    def __init__(self, place: Path) -> None:
        """Use the project's folder."""
        self.place = place

    def folder(self, release: str) -> Path:
        """Return the folder of a release."""
        return self.place / "releases" / release

    def manifest(self, release: str) -> dict[str, Any]:
        """Return what is known about a release; empty if the release is not complete."""
        text = read(self.folder(release) / "release.json") if release else ""
        return dict(json.loads(text)) if text else {}

    def complete(self) -> list[str]:
        """Return the names of the complete releases, the newest first."""
        found = self.place.glob("releases/*/release.json")
        return [path.parent.name for path in sorted(found, key=os.path.getmtime, reverse=True)]

    def named(self, link: str) -> str:
        """Return the release that `current` or `previous` links to; empty without a link."""
        with contextlib.suppress(OSError):
            return Path(os.readlink(self.place / link)).name
        return ""

    def point(self, link: str, release: str) -> None:
        """Write a link to a release, or remove the link."""
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
        """Use the variables that deploy.sh exports."""
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
        """Create the virtualenv of a release, unless it exists."""
        release = manifest["release"]
        folder = self.releases.folder(release)
        if self.releases.manifest(release):
            return
        say(f"installs {release}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        python = self.environment["PYTHON"]
        self._run([python, "-S", "-m", "venv", "--without-pip", str(folder)])
        installer = [python, "-S", "-m", "slipway.image.run.install_wheelhouse"]
        for part, command in (("deps", []), ("app", [manifest["command"]])):
            wheels = folder / ".wheels" / part
            wheels.mkdir(parents=True)
            for sha256, name in manifest["wheels"][part].items():
                (wheels / name).symlink_to(self.place / "wheels" / sha256 / name)
            write(wheels / "requirements.txt", manifest["lists"][part])
            self._run([*installer, str(wheels), *command], APPENV=str(folder))
        shutil.rmtree(folder / ".wheels")
        write(folder / "environment", manifest.pop("environment"), 0o600)
        manifest["by"] = self.environment["BY"]
        manifest["at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write(folder / "unit", manifest["unit"])
        write(folder / "release.json", json.dumps(manifest))

    def _run(self, command: list[str], **environment: str) -> None:
        own = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(BUNDLE)}
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **own, **environment},
        )
        if done.returncode:
            lines = done.stdout.strip().splitlines()
            raise Failed(f"it cannot be installed: {lines[-1] if lines else command[0]}")

    def run(self, release: str, steady: float = 0) -> str:
        """Run a release instead of the current one; return why it is not healthy, or nothing.

        A release that has not proven itself before must stay healthy for some seconds.
        """
        unit = read(self.releases.folder(release) / "unit")
        is_private = self.unit.is_private(unit)
        # A reboot at any moment finds a unit that can read the releases.
        if not is_private:
            self.place.chmod(0o755)
        self.unit.put(unit)
        self.releases.point("current", release)
        self.unit.stop()
        if is_private:
            self.place.chmod(0o700)
        self.unit.start()
        return self.wait_healthy(self.releases.manifest(release), steady)

    def wait_healthy(self, manifest: dict[str, Any], steady: float) -> str:
        """Wait until the service has stayed healthy for a while; return why it is not healthy."""
        if manifest["health"] == "none":
            steady = self.steady  # without a check, running for a while is the only proof
        began = healthy_since = time.monotonic()
        while True:
            state = self.unit.state()
            if (
                state.get("NRestarts", "0") != "0"
                or state.get("ActiveState") in ("failed", "inactive")
                or state.get("SubState", "").startswith("auto-restart")
            ):
                return self._how_it_ended(state)
            problem = health_problem(int(manifest["port"]), manifest["health"])
            now = time.monotonic()
            if problem:
                healthy_since = now
                if now - began >= self.timeout:
                    return f"it was not healthy within {self.timeout} s: {problem}"
            elif now - healthy_since >= steady:
                return exposed(int(manifest["port"]), manifest["bind"])
            time.sleep(0.2)

    @staticmethod
    def _how_it_ended(state: dict[str, str]) -> str:
        if state.get("Result") == "oom-kill":
            return "it ran out of memory. Raise MEMORY"
        return f"it ended with status {state.get('ExecMainStatus') or 'unknown'}"

    def is_healthy(self, release: str) -> bool:
        """Check whether a release runs and answers."""
        manifest = self.releases.manifest(release)
        return (
            bool(manifest)
            and self.unit.state().get("ActiveState") == "active"
            and not health_problem(int(manifest["port"]), manifest["health"])
        )

    def switch(self, release: str, steady: float = 0) -> None:
        """Run a release in place of the current one; raise Failed if it does not become healthy."""
        before = self.releases.named("current")
        write(self.trying, before)
        problem = self.run(release, steady)
        if problem:
            with contextlib.suppress(OSError):
                lines = "".join(f"    {line}\n" for line in self.unit.log().splitlines())
                sys.stderr.write(f"the last lines of its log:\n{lines or '    (none)'}\n"[:-1])
                sys.stderr.flush()
            raise Failed(problem)
        self.trying.unlink()
        if before != release:
            self.releases.point("previous", before)

    def recover(self) -> str:
        """Roll back from a release that is not proven; return a problem of the earlier release."""
        if not self.trying.exists():
            return ""
        before, problem = read(self.trying), ""
        if self.releases.manifest(before):
            problem = self.run(before)
        else:
            self.unit.remove()
            self.releases.point("current", "")
        self.trying.unlink()
        return problem

    def ensure_running(self) -> None:
        """Run the current release, if there is one; raise Failed if it is not healthy."""
        current = self.releases.named("current")
        problem = "" if not current or self.is_healthy(current) else self.run(current)
        if problem:
            raise Failed(problem)

    def deploy(self) -> str:
        """Install the release that was sent and run it; return its name, or nothing if it runs."""
        sent = Path(self.environment["SENT"])
        manifest = json.loads(sent.read_text(encoding="utf-8"))
        sent.unlink()
        release = str(manifest["release"])
        if self.releases.named("current") == release and self.is_healthy(release):
            say(f"nothing to do: {release} runs and is healthy")
            return ""
        for part in manifest["wheels"].values():
            for sha256, name in part.items():
                if not (self.place / "wheels" / sha256 / name).exists():
                    raise WheelsGone("another deploy has removed the wheels meanwhile")
        self.install(manifest)
        self.switch(release, self.steady)
        say(f"{release} runs and is healthy")
        return release

    def rollback(self) -> str:
        """Run an earlier release again; return its name, or nothing if it runs already."""
        wanted = self.environment["RELEASE"]
        current = self.releases.named("current")
        if wanted and current.startswith(wanted):
            say(f"nothing to do: {current} runs")
            return ""
        kept = [each for each in self.releases.complete() if each != current]
        if not wanted:
            wanted = self.releases.named("previous")
            if not wanted:
                raise Failed("there is no previous release here. Run make status-venv for a list")
            kept = [each for each in kept if each == wanted]
        found = next((each for each in kept if each.startswith(wanted)), "")
        if not found:
            raise Failed(f"no release {wanted} is kept here. Run make status-venv for a list")
        self.switch(found)
        say(f"{found} runs again")
        return found

    def forget(self, release: str) -> None:
        """Remove a release that has failed, unless it ran before."""
        if release and release not in (
            self.releases.named("current"),
            self.releases.named("previous"),
        ):
            shutil.rmtree(self.releases.folder(release), ignore_errors=True)

    def tidy(self) -> None:
        """Keep KEEP releases with their wheels, among them the running and the previous one."""
        first = [self.releases.named("current"), self.releases.named("previous")]
        order = list(dict.fromkeys([*filter(None, first), *self.releases.complete()]))
        keep = order[: max(int(self.environment["KEEP"]), len([*filter(None, first)]))]
        used = {BUNDLE.name}
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


def health_problem(port: int, health: str) -> str:
    """Check the application once; return why it is not healthy, or nothing."""
    try:
        healthcheck.check(port, health)
    except (OSError, ValueError) as problem:
        return str(problem)
    return ""


def exposed(port: int, bind: str) -> str:
    """Return a problem if a port that only this machine may reach listens on all addresses."""
    if bind == "0.0.0.0":
        return ""
    for table in ("tcp", "tcp6"):
        for line in read(Path("/proc/net", table)).splitlines()[1:]:
            address, _, number = line.split()[1].partition(":")
            # 0A is LISTEN, see the kernel's include/net/tcp_states.h
            if line.split()[3] == "0A" and int(number, 16) == port and not int(address, 16):
                return (
                    f"it listens on all addresses, and BIND is {bind}. Make it listen on {bind},"
                    " or set BIND := 0.0.0.0"
                )
    return ""


def end(text: str) -> None:
    """Write a line to the log of deploys, and give up the lock."""
    subprocess.run(["sh", str(HERE / "deploy.sh"), "ended", text], stdin=subprocess.DEVNULL)


def interrupted(*_: object) -> NoReturn:
    """Raise Failed on a signal, so that the release before runs again."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Failed("it was ended by make unlock-venv")


def main(arguments: list[str]) -> int:
    """Do one job; return the exit status."""
    job = arguments[0]
    server = Server(dict(os.environ))
    by = f"by {os.environ['BY']}"
    os.umask(0o022)
    signal.signal(signal.SIGTERM, interrupted)
    line = ""
    try:
        server.recover()
        if job == "recover":
            server.ensure_running()
            return 0
        release = server.deploy() if job == "deploy" else server.rollback()
        if release:
            line = f"{job} {release} {by}: runs"
            server.tidy()
    except WheelsGone as problem:
        say(str(problem))
        say("slipway outcome=wheels-gone")
        return 1
    except (Failed, OSError, ValueError) as failure:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        word = "again" if server.trying.exists() else "as before"
        problem_before = server.recover()
        runs = server.releases.named("current")
        server.forget(os.environ["RELEASE"] if job == "deploy" else runs)
        after = f"{runs} runs {word}" if runs else "there was no earlier release to go back to"
        if problem_before:
            after = f"{runs} runs again, but is not healthy either: {problem_before}"
        wanted = os.environ["RELEASE"] or "the release"
        line = f"{job} {wanted} {by}: failed: {failure}; {after}"
        with contextlib.suppress(OSError):
            print(f"{job} failed: {wanted}: {failure}; {after}", file=sys.stderr, flush=True)
        return 1
    finally:
        end(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
