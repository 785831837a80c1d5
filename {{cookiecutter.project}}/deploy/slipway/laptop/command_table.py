"""The table of all commands, from which the command line, its help and the reference page are made."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command: its group, name, module in laptop/commands, summary, and variables of its own."""

    group: str
    name: str
    module: str
    summary: str
    variables: str = ""


BUILDING = "PYTHON NATIVE PLATFORM DOCKER VERBOSE DRY_RUN"
SERVERS = "DEPLOY_HOST SSH PARALLEL"
DEPLOYING = f"{SERVERS} HEALTH_TIMEOUT STEADY WATCH CANDIDATE KEEP LOCK_WAIT DRY_RUN"
CONTAINER = "PORT PORTS BIND VOLUMES MEMORY PIDS UNHARDEN RUN_OPTIONS PROGRAM"

COMMANDS = (
    Command(
        "build", "lock", "lock", "pin the requirements with hashes; present pins stay", BUILDING
    ),
    Command("build", "upgrade", "lock", "move the pins, and that of the base image", BUILDING),
    Command("build", "base", "build", "base image: interpreter, C libraries, /appenv", BUILDING),
    Command("build", "builder", "build", "builder image: base + compiler, headers, pip", BUILDING),
    Command("build", "wheels", "build", "wheelhouse: everything that the lock names", BUILDING),
    Command(
        *("build", "image", "build", "run image: base + wheelhouse"),
        f"{BUILDING} COMMAND HEALTH FILES TAG CHECK_IMAGE",
    ),
    Command(
        *("build", "check-image", "build", "check it for missing libraries and imports"),
        BUILDING,
    ),
    Command("build", "native", "native", "add missing C libraries to NATIVE", "ADD FIND DRY_RUN"),
    Command("build", "verify", "verify", "build everything again, and compare", "DOCKER DRY_RUN"),
    Command("build", "size", "size", "size of the run image: layers, packages, wheels", "DOCKER"),
    Command("run", "run", "run", "run the image here, as a server would", f"{CONTAINER} DRY_RUN"),
    Command("run", "stop", "run", "stop what make run started", "PROGRAM DRY_RUN"),
    Command("run", "venv", "venv", "without Docker: the same pins in ./appenv", "PYTHON DRY_RUN"),
    Command("run", "serve", "venv", "run the application from ./appenv", "PORT DRY_RUN"),
    Command("deploy", "push", "push", "send the image to the registry", "REGISTRY_PORT DRY_RUN"),
    Command("deploy", "deploy", "deploy", "run the pushed image on DEPLOY_HOST", DEPLOYING),
    Command(
        *("deploy", "rollback", "deploy", "run the previous release again"), f"RELEASE {DEPLOYING}"
    ),
    Command("deploy", "status", "deploy", "what runs there, and problems", f"{SERVERS} FORMAT"),
    Command("deploy", "releases", "deploy", "releases to roll back to", f"{SERVERS} FORMAT"),
    Command("deploy", "logs", "deploy", "log of the release", f"{SERVERS} PROGRAM FOLLOW"),
    Command("deploy", "shell", "deploy", "shell beside the application", f"{SERVERS} PROGRAM"),
    Command("deploy", "exec", "deploy", "run a program beside the application", "DEPLOY_HOST SSH"),
    Command("deploy", "unlock", "deploy", "end a deploy that hangs, and recover", DEPLOYING),
    Command("no docker", "deploy-venv", "deploy_venv", "run the wheels under systemd", DEPLOYING),
    Command(
        *("no docker", "rollback-venv", "deploy_venv", "run the previous release again"),
        f"RELEASE {DEPLOYING}",
    ),
    Command(
        *("no docker", "status-venv", "deploy_venv", "what runs there, and problems"),
        f"{SERVERS} FORMAT",
    ),
    Command("no docker", "logs-venv", "deploy_venv", "its log", f"{SERVERS} FOLLOW"),
    Command(
        *("no docker", "unlock-venv", "deploy_venv", "end a deploy that hangs, and recover"),
        DEPLOYING,
    ),
    Command(
        "registry", "registry-up", "registry", "start the registry on 127.0.0.1", "REGISTRY_PORT"
    ),
    Command("registry", "registry-down", "registry", "stop it; its images stay", "REGISTRY_PORT"),
    Command(
        *("registry", "registry-gc", "registry", "remove old images of this project"),
        "REGISTRY_PORT",
    ),
    Command("other", "adopt", "adopt", "read settings from this repository (YES=1 writes)", "YES"),
    Command("other", "clean", "clean", "remove everything that make built here", "DRY_RUN"),
    Command("other", "help", "help", "this list"),
)
# A step that has no make target of its own.
HIDDEN = (Command("build", "tools", "build", "image with pip, a part of the builder"),)
TITLES = {
    "build": "Build",
    "run": "Run here",
    "deploy": "Deploy to servers with Docker",
    "no docker": "Deploy to servers without Docker",
    "registry": "Registry on this machine",
    "other": "Other",
}
