"""Start and stop the testbed's own Docker engine, and restore the machine afterwards.

When dockerd stops, its bridge, its firewall chains and its containers' files remain. All of them
belong to one address range and one folder, by which they are found even after a crash.
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
# dockerd always creates these folders outside of the state folder; the innermost come first. Those
# of another engine are not empty, or are created again when needed.
TRACES = (
    *(f"/sys/fs/cgroup/{each}" for each in ("*/docker/*", "docker/*", "*/docker", "docker")),
    *("/run/containerd/s", "/run/containerd/fifo", "/run/containerd"),
    *("/run/docker/plugins", "/run/docker", "/run/runc"),
)
LAZILY = 2


@dataclass(frozen=True)
class Before:
    """The engine's addresses, and the settings of the machine to restore after it."""

    bridge: str
    addresses: str
    forwarding: str
    policies: Mapping[str, str]


class Daemon:
    """The engine, all of whose files are in one folder. Callers hold the lock of the state."""

    def __init__(self, state: Path) -> None:
        """Remember the folder; start nothing."""
        self._state = state
        self._run = state / "run"
        self._log = state / "dockerd.log"
        self._before = state / "before.json"

    @property
    def log(self) -> Path:
        """The log of dockerd."""
        return self._log

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which commands use this engine."""
        return {
            "DOCKER_HOST": f"unix://{self._state}/docker.sock",
            "DOCKER_CONFIG": str(self._state / "config"),
        }

    def is_running(self) -> bool:
        """Return whether the engine runs and answers."""
        return bool(self._processes("dockerd")) and self._answers()

    def start(self) -> None:
        """Start the engine, and wait until it answers.

        Raises HarnessError, with the end of the engine's log, if it does not.
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
        """Stop the engine with everything that it has started, and restore the machine.

        Raises HarnessError if a process or a mount remains.
        """
        if self._answers():
            self._remove_containers()
        left = processes.end(self._processes("dockerd"), signal.SIGTERM, STOP_SECONDS)
        family = processes.descendants(
            left | self._processes("containerd", "containerd-shim-runc-v2")
        )
        stuck = processes.end(family, signal.SIGKILL, STOP_SECONDS)
        if stuck:
            raise HarnessError(f"engine: processes {sorted(stuck)} do not end: see {self._log}")
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
        # Without an address of its own, a bridge takes the address of one of its ports. When that
        # container is removed, the others lose their gateway for half a minute. Docker's own bridge
        # has the same address.
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
        # The machine's /etc/docker/daemon.json belongs to another engine.
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
        # dockerd uses a containerd that runs on this machine; namespaces separate the two engines.
        command += ["--containerd-namespace", before.bridge]
        command += ["--containerd-plugins-namespace", f"{before.bridge}-plugins"]
        with self._log.open("a") as log:
            # In a session of its own and without a parent, the engine outlives the process that
            # starts it, and leaves no zombie in the process that stops it.
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
                    f"engine: dockerd did not start. The end of {self._log}:\n"
                    + last_lines(self._log.read_text(errors="replace"))
                )
            time.sleep(0.1)

    def _remove_containers(self) -> None:
        """Remove containers and networks while dockerd runs, which knows their rules and mounts."""
        # Containers that cannot be removed are killed with the rest.
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
        """Detach the mounts below the state: removing a folder must not follow a mount.

        Raises HarnessError if a mount remains.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        for place in self._mounts():
            libc.umount2(os.fsencode(place), LAZILY)
        if left := self._mounts():
            raise HarnessError(
                f"engine: {left[0]} is still mounted. Unmount it, then run this again"
            )

    def _mounts(self) -> list[str]:
        below = [
            fields[4].encode().decode("unicode_escape")
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if (fields := line.split())[4].startswith(f"{self._state}/")
        ]
        return sorted(below, reverse=True)
