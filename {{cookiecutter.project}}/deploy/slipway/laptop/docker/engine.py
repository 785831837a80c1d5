"""Run docker commands, and turn their errors into advice."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slipway.laptop.console import Failed


class EngineError(Failed):
    """The engine cannot do what was asked; the message says what to do about it."""


def not_installed(program: str) -> EngineError:
    """Return the error for a docker command that is not there."""
    return EngineError(
        f"{program} is not installed: install Docker Engine with buildx and compose, or set"
        " DOCKER=podman"
    )


# What docker prints when its engine does not answer; a registry that does not is another matter.
NO_ENGINE = (
    *("cannot connect", "error during connect", "failed to connect to the docker api"),
    "is the docker daemon running",
)


def command(docker: str, *arguments: str) -> list[str]:
    """Return the command line for a docker command such as `docker` or `sudo docker`."""
    return [*shlex.split(docker), *arguments]


def bind(source: Path, target: str) -> str:
    """Return the value of --mount that binds a path here, whatever characters it has."""
    # The value is one line of CSV: a field in quotes may have commas.
    quoted = str(source).replace('"', '""')
    return f'type=bind,"source={quoted}",target={target}'


def explain(docker: str, said: str) -> str:
    """Turn the docker command's error message into one line that says what to do."""
    text = said.lower()
    if "permission denied" in text and "sock" in text:
        return (
            f"this account may not use the Docker engine: add it to the docker group"
            f" (sudo usermod -aG docker $USER, then log in again), or set DOCKER='sudo {docker}'"
        )
    if any(sign in text for sign in NO_ENGINE):
        return (
            "the Docker engine does not answer: start it (sudo systemctl start docker, or Docker"
            " Desktop) and run this again"
        )
    lines = [line for line in said.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"{docker} failed without a message"


def ask(docker: str, *arguments: str) -> str:
    """Run a docker command and return its output; EngineError says what to do when it fails."""
    try:
        done = subprocess.run(
            command(docker, *arguments), capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise not_installed(shlex.split(docker)[0]) from None
    if done.returncode:
        raise EngineError(explain(docker, done.stderr))
    return done.stdout


def is_podman(docker: str) -> bool:
    """Return whether a docker command is podman by another name."""
    return ask(docker, "--version").startswith("podman")


def platform(docker: str) -> str:
    """Return the platform of the engine's own images, in the form of PLATFORM; empty if unknown."""
    try:
        return ask(docker, "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}").strip()
    except EngineError:  # podman
        return ""


def inspect_images(docker: str, names: Sequence[str]) -> list[dict[str, Any] | None]:
    """Inspect several images in one call; None stands for one that is not there."""
    try:
        done = subprocess.run(
            command(docker, "image", "inspect", *names), capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        ask(docker, "version")
        raise
    if done.returncode == 0:
        found: list[dict[str, Any] | None] = json.loads(done.stdout)
        return found
    if "no such image" not in done.stderr.lower() and "not known" not in done.stderr.lower():
        raise EngineError(explain(docker, done.stderr))
    if len(names) == 1:
        return [None]
    # docker prints those that are there, in their order, and names the others
    gone = set(re.findall(r"No such image: (\S+)", done.stderr))
    is_gone = [not gone.isdisjoint((name, f"{name}:latest")) for name in names]
    there = json.loads(done.stdout or "[]")
    if len(there) == is_gone.count(False):
        return [None if each else there.pop(0) for each in is_gone]
    return [inspect_images(docker, [name])[0] for name in names]
