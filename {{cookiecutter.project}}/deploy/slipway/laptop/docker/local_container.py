"""The container that `make run` starts on this machine, under the rules that a server follows."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

from slipway.laptop import console
from slipway.laptop.docker import engine, run_options
from slipway.laptop.paths import SLIPWAY

# The functions that a deploy calls on the server, too.
FUNCTIONS = SLIPWAY / "server" / "docker" / "container.sh"


def name(settings: dict[str, str]) -> str:
    """Return the container's name."""
    return f"{settings['SERVICE']}-local"


def removal(settings: dict[str, str]) -> list[list[str]]:
    """Return the command lines that stop and remove the container."""
    words = (("stop",), ("rm", "--force", "--volumes"))
    return [engine.command(settings["DOCKER"], *each, name(settings)) for each in words]


def remove(settings: dict[str, str]) -> None:
    """Stop and remove the container, if there is one."""
    for words in removal(settings):
        quietly(words)


def stop(settings: dict[str, str]) -> None:
    """Stop and remove the container, and report it: make stop."""
    if settings["DRY_RUN"]:
        for words in removal(settings):
            console.show_command(words)
        return
    remove(settings)
    console.say(f"{name(settings)} is stopped")


def quietly(words: Sequence[str]) -> None:
    """Run a command whose failure only means that there was nothing to remove."""
    try:
        subprocess.run(words, capture_output=True, check=False)
    except OSError:  # no docker command
        return


def execute(settings: dict[str, str], program: Sequence[str]) -> int:
    """Run a program in the container, with input and output of this process; return its status."""
    words = engine.command(settings["DOCKER"], "exec", "-i", name(settings), *program)
    return subprocess.run(words, check=False).returncode


class ServerFunctions:
    """The shell functions in server/docker/container.sh, called on this machine."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.variables = {
            "DOCKER": settings["DOCKER"],
            "PROJECT": settings["PROJECT"],
            "HEALTH_TIMEOUT": settings["HEALTH_TIMEOUT"],
            "STEADY": settings["STEADY"],
            "VOLUMES": " ".join(run_options.volumes(settings)),
            "PODMAN": "yes" if engine.is_podman(settings["DOCKER"]) else "",
        }

    @staticmethod
    def command(function: str, argument: str) -> list[str]:
        """Return the command line that calls a function."""
        return ["sh", "-c", '. "$0"; "$@"', str(FUNCTIONS), function, argument]

    def call(self, function: str, argument: str) -> bool:
        """Return whether a function succeeded; show its output, which may be the application's."""
        environment = {**os.environ, **self.variables}
        words = self.command(function, argument)
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        sys.stdout.write(console.visible(done.stdout))
        sys.stderr.write(console.visible(done.stderr))
        return done.returncode == 0

    def show(self, function: str, argument: str, note: str) -> None:
        """Print the command line that calls a function."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        console.show_command(self.command(function, argument), note, variables)
