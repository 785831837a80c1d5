"""The table of all commands: the command line, its help and the reference page are made of it."""

from __future__ import annotations

from typing import NamedTuple

BUILDING = "PYTHON NATIVE PLATFORM DOCKER VERBOSE DRY_RUN"
SANDBOX = f"BUILD_NETWORK BUILD_MEMORY {BUILDING}"
IMAGE = f"COMMAND HEALTH FILES TAG CHECK_IMAGE {SANDBOX}"
CONTAINER = "PORT PORTS BIND VOLUMES MEMORY PIDS STOP_TIMEOUT UNHARDEN RUN_OPTIONS PROGRAM DRY_RUN"
SERVERS = "DEPLOY_HOST SSH PARALLEL"
DEPLOYING = f"{SERVERS} HEALTH_TIMEOUT STEADY WATCH CANDIDATE KEEP LOCK_WAIT DRY_RUN"
ON = f"ON PROGRAM {SERVERS} DRY_RUN"
LOGS = "FOLLOW LINES SINCE GREP"
REGISTRY = "REGISTRY_PORT DRY_RUN"


class Command(NamedTuple):
    """One command: its name, module in laptop/commands, summary, and variables."""

    name: str
    module: str
    summary: str
    variables: str = ""


GROUPS = {
    "Build": (
        Command("lock", "lock", "pin the requirements with hashes; present pins stay", SANDBOX),
        Command("upgrade", "lock", "move the pins, and that of the base image", SANDBOX),
        Command("base", "build", "base image: interpreter, C libraries, /appenv", BUILDING),
        Command("builder", "build", "builder image: base + compiler, headers, pip", BUILDING),
        Command("wheels", "build", "wheelhouse: everything that the lock names", SANDBOX),
        Command("image", "build", "run image: base + wheelhouse", IMAGE),
        Command("check-image", "build", "check it for missing libraries and imports", BUILDING),
        Command("native", "native", "add missing C libraries to NATIVE", "ADD FIND DRY_RUN"),
        Command("verify", "verify", "build everything again, and compare", "DOCKER DRY_RUN"),
        Command("size", "size", "size of the run image: layers, packages, wheels", "DOCKER"),
    ),
    "Run here": (
        Command("run", "run", "run the image here, as a server would", CONTAINER),
        Command("stop", "deploy", "stop what make run started, or ON=server the release", ON),
        Command("venv", "venv", "without Docker: the same pins in ./appenv", "PYTHON DRY_RUN"),
        Command("serve", "venv", "run the application from ./appenv", "PORT DRY_RUN"),
    ),
    "Deploy to servers with Docker": (
        Command("push", "push", "send the image to the registry", REGISTRY),
        Command("deploy", "deploy", "run the pushed image on DEPLOY_HOST", DEPLOYING),
        Command("rollback", "deploy", "run the previous release again", f"RELEASE {DEPLOYING}"),
        Command("start", "deploy", "ON=server: start a release that was stopped", ON),
        Command("restart", "deploy", "ON=server: stop the release and start it again", ON),
        Command("remove", "deploy", "ON=server: remove all of it but volumes", f"{ON} YES"),
        Command("status", "deploy", "what runs there, and problems", f"{SERVERS} FORMAT"),
        Command("releases", "deploy", "releases to roll back to", f"{SERVERS} FORMAT"),
        Command("logs", "deploy", "log of the release", f"{SERVERS} PROGRAM {LOGS}"),
        Command("shell", "deploy", "shell beside the application", f"{SERVERS} PROGRAM"),
        Command("exec", "deploy", "run a program beside the application", "DEPLOY_HOST SSH"),
        Command("unlock", "deploy", "end a deploy that hangs, and recover", DEPLOYING),
    ),
    "Deploy to servers without Docker": (
        Command("deploy-venv", "deploy_venv", "run the wheels under systemd", DEPLOYING),
        Command(
            "rollback-venv", "deploy_venv", "run the previous release again", f"RELEASE {DEPLOYING}"
        ),
        Command("status-venv", "deploy_venv", "what runs there, and problems", f"{SERVERS} FORMAT"),
        Command("logs-venv", "deploy_venv", "its log", f"{SERVERS} FOLLOW"),
        Command("unlock-venv", "deploy_venv", "end a deploy that hangs, and recover", DEPLOYING),
    ),
    "Registry on this machine": (
        Command("registry-up", "registry", "start the registry on 127.0.0.1", REGISTRY),
        Command("registry-down", "registry", "stop it; its images stay", REGISTRY),
        Command("registry-gc", "registry", "remove old images of this project", REGISTRY),
    ),
    "Other": (
        Command("adopt", "adopt", "read settings from this repository", "YES DRY_RUN"),
        Command("clean", "clean", "remove everything that make built here", "DRY_RUN"),
        Command("help", "help", "this list"),
    ),
}
COMMANDS = tuple(command for commands in GROUPS.values() for command in commands)
# A step without a make target of its own.
HIDDEN = (Command("tools", "build", "image with pip, a part of the builder", BUILDING),)
