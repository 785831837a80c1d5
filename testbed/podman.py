"""podman from this machine's release, with a temporary store and network."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed import debian
from testbed.console import run, succeeds

# The program of each Debian package. `--init` starts catatonit.
PROGRAMS = {"podman": "podman", "catatonit": "catatonit", "iproute2": "ip", "iptables": "iptables"}
# podman's own limits may be higher than this machine allows.
CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


class Podman:
    """A podman with its own images and its own network, as on another machine; requires root.

    A port of its 127.0.0.1 can be reached only from its own network, see `ask`.
    """

    def __enter__(self) -> Self:
        """Install podman if necessary.

        Raises HarnessError if that fails.
        """
        missing = [package for package, program in PROGRAMS.items() if not shutil.which(program)]
        if missing:
            debian.install(*missing)
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-podman-"))
        self._network = self._folder.name
        (self._folder / "containers.conf").write_text(CONFIGURATION)
        run("podman", ["ip", "netns", "add", self._network])
        self._inside("ip", "link", "set", "lo", "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the containers, the store and the network."""
        self.succeeds("rm", "--force", "--all", "--time=1")
        self.succeeds("rmi", "--force", "--all")
        succeeds(["ip", "netns", "delete", self._network])
        shutil.rmtree(self._folder)

    def pull(self, *words: str) -> None:
        """Pull an image through this machine's network, where the registry is.

        Raises HarnessError, with the command's last lines, if it fails.
        """
        run("podman", [*self._podman, "pull", *words], environment=self._environment)

    def run(self, *words: str) -> str:
        """Run a podman command; return its standard output.

        Raises HarnessError, with the command's last lines, if it fails.
        """
        return self._inside(*self._podman, *words)

    def succeeds(self, *words: str) -> bool:
        """Return whether a podman command exits with status 0."""
        command = [*self._enter, *self._podman, *words]
        return succeeds(command, environment=self._environment)

    def ask(self, url: str) -> str:
        """Request a URL in the network of the containers; return the answer.

        Raises HarnessError if there is none.
        """
        script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
        return self._inside("python3", "-c", script, url).strip()

    def _inside(self, *command: str) -> str:
        return run("podman", [*self._enter, *command], environment=self._environment)

    @property
    def _enter(self) -> list[str]:
        # `ip netns exec` would hide the control groups
        return ["nsenter", f"--net=/run/netns/{self._network}"]

    @property
    def _podman(self) -> list[str]:
        return ["podman", f"--root={self._folder}/root", f"--runroot={self._folder}/run"]

    @property
    def _environment(self) -> dict[str, str]:
        own = {"CONTAINERS_CONF": f"{self._folder}/containers.conf"}
        # podman would look for passwords in this folder, where the testbed's engine has none
        others = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
        return {**others, **own}
