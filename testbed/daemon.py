"""Start and stop a Docker engine of our own, and leave the machine as it was.

dockerd ends without its bridge, chains and leftover containers going away; all of that lies in
one address range and one folder, which is how it is found again, even after a crash.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from itertools import chain
from pathlib import Path

from testbed import firewall, network, parts, processes
from testbed.console import HarnessError, last_lines, run, say, succeeds

START_SECONDS = 60
STOP_SECONDS = 30
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# What is made outside of the state whatever dockerd is told, innermost first. Another engine's
# are not empty, or are made again by need.
TRACES = (
    *(f"/sys/fs/cgroup/{each}" for each in ("*/docker/*", "docker/*", "*/docker", "docker")),
    *("/run/containerd/s", "/run/containerd/fifo", "/run/containerd"),
    *("/run/docker/plugins", "/run/docker", "/run/runc"),
)
LAZILY = 2


@dataclass(frozen=True)
class Before:
    """What the engine changes on the machine and has to be put back, and where it is."""

    bridge: str
    addresses: str
    forwarding: str
    policies: Mapping[str, str]


class Daemon:
    """The engine whose everything is below one folder. Callers hold the state's lock."""

    def __init__(self, state: Path) -> None:
        """Name the folder; nothing is started."""
        self._state = state
        self._run = state / "run"
        self._log = state / "dockerd.log"
        self._before = state / "before.json"

    @property
    def log(self) -> Path:
        """What dockerd says."""
        return self._log

    def environment(self) -> dict[str, str]:
        """What a command has to have in its environment to talk to this engine."""
        return {
            "DOCKER_HOST": f"unix://{self._state}/docker.sock",
            "DOCKER_CONFIG": str(self._state / "config"),
        }

    def is_running(self) -> bool:
        """Whether the engine's process is there and answers."""
        return bool(self._processes("dockerd")) and self._answers()

    def start(self) -> None:
        """Start the engine, and wait until it answers.

        Raises HarnessError, with the end of the engine's log, when it does not.
        """
        programs = parts.unpack()
        parts.install_system_parts()
        self.stop()
        say("engine", f"starting Docker {parts.version_of(programs)}")
        self._state.mkdir(parents=True, exist_ok=True)
        self._write_client_configuration(programs)
        before = self._remember()
        try:
            self._open_bridge(before)
            self._launch(before)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the engine with everything that it has started, and put back what it changed.

        Raises HarnessError when something of it will not go.
        """
        if self._answers():
            self._remove_containers()
        left = processes.end(self._processes("dockerd"), signal.SIGTERM, STOP_SECONDS)
        family = processes.descendants(
            left | self._processes("containerd", "containerd-shim-runc-v2")
        )
        stuck = processes.end(family, signal.SIGKILL, STOP_SECONDS)
        if stuck:
            raise HarnessError(f"engine: processes {sorted(stuck)} do not end; see {self._log}")
        if self._before.exists():
            self._put_back(Before(**json.loads(self._before.read_text())))
        self._unmount()
        for each in ("data", "run", "config", "docker.sock", "docker.pid", "before.json"):
            place = self._state / each
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        for place in chain.from_iterable(Path("/").glob(each[1:]) for each in TRACES):
            with contextlib.suppress(OSError):
                place.rmdir()

    def _processes(self, *programs: str) -> set[int]:
        return processes.naming(programs, f"{self._state}/")

    def _answers(self) -> bool:
        docker = shutil.which("docker", path=self._path())
        return bool(docker) and succeeds(
            [docker or "", "version"],
            environment={**os.environ, **self.environment()},
            timeout=10,
        )

    def _path(self) -> str:
        unpacked = parts.path_of(parts.place())
        return f"{unpacked}:{os.environ['PATH']}:{parts.ADMINISTRATION}"

    def _docker(self, *words: str) -> list[str]:
        environment = {**os.environ, **self.environment(), "PATH": self._path()}
        return run("engine", ["docker", *words], environment=environment).split()

    def _write_client_configuration(self, programs: Path) -> None:
        plugins = self._state / "config" / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        for plugin in parts.plugins_of(programs):
            (plugins / plugin.name).symlink_to(plugin)

    def _remember(self) -> Before:
        [addresses] = network.free_ranges(network.taken_ranges(), 1)
        before = Before(
            bridge=network.bridge_name(),
            addresses=str(addresses),
            forwarding=FORWARDING.read_text().strip(),
            policies=firewall.policies(),
        )
        self._before.write_text(json.dumps(asdict(before), indent=2))
        return before

    @staticmethod
    def _open_bridge(before: Before) -> None:
        first = IPv4Network(before.addresses)[1]
        # With none of its own a bridge has one of its ports', another one whenever a container
        # comes or goes: the others lose their gateway for half a minute. Docker's has this one too.
        address = ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *first.packed))
        link = ["ip", "link", "add", "name", before.bridge, "address", address, "type", "bridge"]
        run("network", link)
        run("network", ["ip", "address", "add", f"{first}/24", "dev", before.bridge])
        run("network", ["ip", "link", "set", before.bridge, "up"])

    def _launch(self, before: Before) -> None:
        _, upper = IPv4Network(before.addresses).subnets()
        size = str(network.mtu())
        configuration = self._state / "run" / "daemon.json"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        # A file of our own: the machine's /etc/docker/daemon.json is another engine's.
        configuration.write_text(
            json.dumps(
                {
                    "hosts": [self.environment()["DOCKER_HOST"]],
                    "data-root": str(self._state / "data"),
                    "exec-root": str(self._run),
                    "pidfile": str(self._state / "docker.pid"),
                    "bridge": before.bridge,
                    "default-address-pools": [{"base": str(upper), "size": 24}],
                    "mtu": int(size),
                    "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": size}},
                },
                indent=2,
            )
        )
        command = ["dockerd", "--config-file", str(configuration)]
        # If this machine runs a containerd, dockerd joins it; names keep the two engines apart.
        command += ["--containerd-namespace", before.bridge]
        command += ["--containerd-plugins-namespace", f"{before.bridge}-plugins"]
        with self._log.open("a") as log:
            # A session of its own, and nobody's child: the engine outlives who started it, and
            # leaves no zombie to who stops it.
            subprocess.run(
                ["setsid", "--fork", *command],
                env={**os.environ, "PATH": self._path()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                check=True,
            )
        deadline = time.monotonic() + START_SECONDS
        time.sleep(0.5)
        while not self._answers():
            if time.monotonic() > deadline or not self._processes("dockerd"):
                raise HarnessError(
                    f"engine: dockerd did not start; the end of {self._log}:\n"
                    + last_lines(self._log.read_text(errors="replace"))
                )
            time.sleep(0.1)

    def _remove_containers(self) -> None:
        """Containers and networks first: it is dockerd that knows their rules and mounts."""
        # What cannot be removed in good order is ended and swept up with the rest.
        with contextlib.suppress(HarnessError):
            containers = self._docker("ps", "--all", "--quiet")
            if containers:
                self._docker("rm", "--force", "--volumes", *containers)
            networks = self._docker("network", "ls", "--quiet", "--filter", "type=custom")
            if networks:
                self._docker("network", "rm", *networks)

    @staticmethod
    def _put_back(before: Before) -> None:
        addresses = IPv4Network(before.addresses)
        bridges = {before.bridge, *network.bridges_in(addresses)}
        if firewall.remove(bridges, addresses):
            firewall.set_policies(before.policies)
            FORWARDING.write_text(before.forwarding)
        for bridge in bridges:
            succeeds(["ip", "link", "delete", bridge])

    def _unmount(self) -> None:
        """Detach what is mounted below the state: removing a tree must not follow a mount.

        Raises HarnessError when a mount stays.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        for place in self._mounts():
            libc.umount2(os.fsencode(place), LAZILY)
        if left := self._mounts():
            raise HarnessError(f"engine: {left[0]} stays mounted; unmount it and try again")

    def _mounts(self) -> list[str]:
        below = [
            fields[4].encode().decode("unicode_escape")
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if (fields := line.split())[4].startswith(f"{self._state}/")
        ]
        return sorted(below, reverse=True)
