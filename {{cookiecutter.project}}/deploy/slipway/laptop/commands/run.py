"""Run the image on this machine as a server would: make run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

from slipway.laptop import console
from slipway.laptop.building import pipeline
from slipway.laptop.docker import engine, local_container, log_advice, run_options, time_zone
from slipway.laptop.settings import advice, run_env
from slipway.laptop.settings.load import load


def run(command: str, arguments: Sequence[str]) -> int:
    """Start the container, in place of one that runs; return the exit status."""
    start(load())
    return 0


def start(settings: dict[str, str]) -> None:
    """Start the container and wait until it is healthy; run a one-off job to its end."""
    pipeline.make(settings, ["image"], quiet=True)
    container = local_container.name(settings)
    image = f"{settings['PROJECT']}-run"
    variables = run_env.load()  # docker would misread some files without a message
    words = docker_run(settings, container, image)
    for line in advice.before_a_start(settings):
        console.warn(line)
    functions = local_container.ServerFunctions(settings)
    if settings["DRY_RUN"]:
        show(settings, functions, container, image, words)
        return
    problem = time_zone.problem(settings["DOCKER"], image, variables)
    if problem:
        raise console.Failed(problem)
    local_container.remove(settings)
    if not functions.call("make_volumes", image):
        raise console.Failed(f"the volumes of {container} could not be created; see above")
    if settings["ENDS"]:
        status = wait_for(words)
        if status:
            raise console.Failed(f"{container} ended with status {status}")
        console.say(f"{container} has finished")
        return
    started = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    problem = started.stderr.decode(errors="replace")
    sys.stderr.write(problem)
    if started.returncode:
        local_container.remove(settings)
        raise console.Failed(
            f"the container does not start; see above{why_not(problem, settings['PORT'])}"
        )
    if not functions.call("wait_healthy", container):
        advise(settings, container)
        raise console.Failed(
            f"{container} is not healthy; it was left for inspection: docker logs {container}"
        )
    functions.call("point_out", container)
    if settings["PROGRAM"]:
        console.say(
            f"{container} is running. Show its log: docker logs {container}."
            f" Stop it: make stop PROGRAM={settings['PROGRAM']}"
        )
    else:
        console.say(f"http://127.0.0.1:{settings['PORT']} answers; stop it with: make stop")


def why_not(problem: str, port: str) -> str:
    """Return what to do about docker's message that a container cannot be started."""
    if "docker-init" in problem:
        return (
            ". Install docker-init beside the engine (in Debian and Ubuntu: sudo apt install tini),"
            " or set UNHARDEN := init"
        )
    if re.search("port is already allocated|address already in use", problem):
        return f". Port {port} is in use: run make run PORT=…"
    return ""


def advise(settings: dict[str, str], container: str) -> None:
    """Print advice on what the container's log shows to be missing."""

    def docker(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = engine.command(settings["DOCKER"], *words)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for line in log_advice.of_container(docker, container, settings["PROJECT"]):
        console.warn(line)


def docker_run(settings: dict[str, str], container: str, image: str) -> list[str]:
    """Return the command line that starts the container."""
    how = "--rm" if settings["ENDS"] else "--detach"
    options = [*run_options.options(settings), *run_options.published(settings, "127.0.0.1")]
    if run_env.PATH.exists():
        options += ["--env-file", str(run_env.PATH)]
    return engine.command(settings["DOCKER"], "run", how, "--name", container, *options, image)


def wait_for(words: Sequence[str]) -> int:
    """Run a one-off job, whose output is shown; return its exit status."""
    with subprocess.Popen(words) as job:
        while True:
            try:
                return job.wait()
            except KeyboardInterrupt:  # docker received it as well, and stops the job
                continue


def show(
    settings: dict[str, str],
    functions: local_container.ServerFunctions,
    container: str,
    image: str,
    words: Sequence[str],
) -> None:
    """Print the command lines that start the container."""
    note = "stop and remove the present container"
    for each in local_container.removal(settings):
        console.show_command(each, note)
        note = ""
    if run_options.volumes(settings):
        functions.show("make_volumes", image, "create the volumes that are missing")
    if settings["ENDS"]:
        console.show_command(words, "run the one-off job")
        return
    console.show_command(words, "start the container")
    functions.show("wait_healthy", container, "wait until the container is healthy")
