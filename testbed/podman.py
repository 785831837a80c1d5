"""podman, of this machine's own release, with a store and a network that go with the block."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed import debian
from testbed.console import run, succeeds

# By their Debian packages; the second is what `--init` starts.
PROGRAMS = {"podman": "podman", "catatonit": "catatonit", "iproute2": "ip", "iptables": "iptables"}
# This machine may allow less than what podman asks for on its own.
CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


class Podman:
    """A podman on a machine of its own, as far as images, ports and packets go; takes root.

    What listens on its 127.0.0.1 is reached from its own network alone, see `ask`.
    """

    def __enter__(self) -> Self:
        """Install it where it is not there yet.

        Raises HarnessError when that cannot be done.
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
        """Remove its containers, its store and its network."""
        self.succeeds("rm", "--force", "--all", "--time=1")
        self.succeeds("rmi", "--force", "--all")
        succeeds(["ip", "netns", "delete", self._network])
        shutil.rmtree(self._folder)

    def pull(self, *words: str) -> None:
        """Pull an image, in this machine's network, where the registry is.

        Raises HarnessError, with the command's last lines, when it fails.
        """
        run("podman", [*self._podman, "pull", *words], environment=self._environment)

    def run(self, *words: str) -> str:
        """Run a podman command and return its standard output.

        Raises HarnessError, with the command's last lines, when it fails.
        """
        return self._inside(*self._podman, *words)

    def succeeds(self, *words: str) -> bool:
        """Whether a podman command ends with zero."""
        command = [*self._enter, *self._podman, *words]
        return succeeds(command, environment=self._environment)

    def ask(self, url: str) -> str:
        """What is answered at a URL, asked in its network.

        Raises HarnessError when nothing is.
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
        # it would look for passwords where an engine of our own has no file for them
        others = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
        return {**others, **own}
