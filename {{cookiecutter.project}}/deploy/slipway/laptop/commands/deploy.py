"""Put the pushed image on servers, by its digest, through a tunnel to this machine.

One ssh connection does all of it for a server: the survey of what is there, the plan and its
checks, the pull, and the server's part, which finishes by itself whatever happens to this machine.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Callable

from slipway.laptop import console
from slipway.laptop.console import Failed
from slipway.laptop.deploy import docker_commands, docker_load, logs, status_report, tunnel
from slipway.laptop.deploy import plan as plans
from slipway.laptop.deploy.docker_commands import Step
from slipway.laptop.deploy.plan import Plan, Wanted
from slipway.laptop.deploy.survey import Facts, survey
from slipway.laptop.docker import local_container, log_advice, run_options
from slipway.laptop.servers import each_server, remote_job
from slipway.laptop.servers.each_server import Work, report
from slipway.laptop.servers.remote_job import Outcome
from slipway.laptop.servers.ssh import Connection, ConnectionFailed, Copy, connected
from slipway.laptop.settings import advice
from slipway.laptop.settings.load import load

LARGEST_LOG = 200_000  # bytes of a log in which advice is looked for
NAMES = ("RELEASE", "CANDIDATE", "KEEP", "HEALTH_TIMEOUT", "STEADY", "WATCH", "LOCK_WAIT")

# The jobs of the server's script behind these commands, and what is printed when they are done.
JOBS = {"start": "recover", "stop": "stop_all", "restart": "restart", "remove": "remove_all"}
DONE = {
    "start": "{} runs",
    "stop": "{} is stopped, also after a reboot. Start it: make start ON=server",
    "restart": "{} runs",
    "remove": "{} is removed; its volumes stay",
}


def perform(
    connection: Connection, facts: Facts, settings: dict[str, str], job: str, **more: str
) -> Outcome:
    """Do a job on a server by its own part of the work, and return the outcome."""
    environment = more.pop("ENVIRONMENT", "")
    variables = {
        "DOCKER": facts.docker,
        "PROJECT": settings["SERVICE"],
        **{name: settings[name] for name in NAMES},
        "STOP_HINT": run_options.stop_hint(settings["PROGRAM_COMMAND"]),
        **more,
    }
    text = remote_job.for_docker(job, variables, environment, is_kept=facts.has_script)
    silence = each_server.patience(settings)
    return remote_job.perform(connection, text, has_gzip=facts.has_gzip, silence=silence)


def deploy(settings: dict[str, str], wanted: Wanted, host: str, alone: bool) -> int:
    """Bring the pushed image to one server and run it; return the exit status."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["SERVICE"])
        plan = Plan(host, wanted, facts)
        plan.check()
        if settings["DRY_RUN"]:
            commands = deploy_commands(settings, plan)
            each_server.show_plan(settings, host, plan.data(), plan.lines(), commands)
            return 0
        if plan.nothing_to_do:
            ended = plan.running and plan.running.health == "ended"
            what = "has finished" if ended else "runs and is healthy"
            report(host, f"nothing to do: {wanted.release} {what}")
            return 0
        if plan.running:
            report(host, f"replacing {plan.running.label('release')} with {wanted.release}")
        for _ in range(each_server.ATTEMPTS):
            outcome = send(connection, plan, settings, alone)
            if not outcome.is_gone:
                break
        if outcome is Outcome.FAILED:
            advise(connection, plan)
        address = connection.address()
    status = 0 if outcome is Outcome.DONE else 1
    if outcome.is_unknown:
        status = each_server.find_out(
            settings, wanted.release, host, outcome, lambda again: recovered(settings, again)
        )
    if status == 0 and wanted.published and settings["BIND"] != "none":
        report(host, f"http://{address}:{settings['PORT']}")
    return status


def send(connection: Connection, plan: Plan, settings: dict[str, str], alone: bool) -> Outcome:
    """Pull the image on a server and run it; return the outcome."""
    wanted = plan.wanted
    port = int(settings["REGISTRY_PORT"])
    if plan.facts.rootless:
        reference = docker_load.fetch(connection, plan, port)
    else:
        reference = tunnel.fetch(connection, plan, port, alone=alone)
    return perform(
        connection,
        plan.facts,
        {**settings, "RELEASE": wanted.release},
        "deploy",
        IMAGE=reference,
        DIGEST=wanted.digest,
        REVISION=wanted.revision,
        CANDIDATE="yes" if wanted.candidate else "no",
        CANDIDATE_OPTIONS=remote_job.one_word_a_line(wanted.candidate_options),
        HIDDEN="|".join(wanted.hidden),
        OPTIONS=remote_job.one_word_a_line(wanted.options),
        EARLY=plan.early,
        OPTIONS_SUM=wanted.options_sum,
        PUBLISHED=remote_job.one_word_a_line(wanted.published),
        VOLUMES=wanted.volumes,
        ENVIRONMENT=wanted.environment.decode(),
    )


def advise(connection: Connection, plan: Plan) -> None:
    """Print advice on a release that has failed and is kept stopped."""
    project = plan.wanted.project

    def docker(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = f"{plan.facts.docker} {shlex.join(words)}"
        return connection.ask(command, largest=LARGEST_LOG)

    try:
        lines = log_advice.of_container(docker, f"{project}-failed", project, plan.wanted.release)
    except (Failed, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # A login script has printed something, or the server makes no sense. Advice is not needed.
        return
    for line in lines:
        console.show(f"{plan.host}: {line}", sys.stderr)


def recovered(settings: dict[str, str], connection: Connection) -> tuple[Outcome, str]:
    """Recover on a server; return the outcome, and the healthy release that runs."""
    facts = survey(connection, settings["SERVICE"])
    outcome = perform(connection, facts, settings, "recover")
    if outcome is Outcome.LOST:
        return outcome, ""
    runs = survey(connection, settings["SERVICE"]).container(settings["SERVICE"])
    return outcome, runs.label("release") if runs and runs.is_healthy else ""


def command_lines(
    settings: dict[str, str], host: str, facts: Facts, steps: list[Step]
) -> list[str]:
    """Return steps on a server as lines for a shell on this machine."""
    ssh = shlex.split(settings["SSH"])
    lines = []
    for step in steps:
        if step.note:
            lines.append(f"# {step.note}")
        if step.words or step.other:
            # -n: or else ssh would read the other lines that are pasted
            lines.append(shlex.join([*ssh, "-n", host, step.remote(facts.docker)]))
    return lines


def deploy_commands(settings: dict[str, str], plan: Plan) -> list[str]:
    """Return the command lines of a deploy to one server, which can be pasted into a shell."""
    wanted, facts, host = plan.wanted, plan.facts, plan.host
    if plan.nothing_to_do:
        return ["# nothing to do: this release is running and healthy"]
    ssh = shlex.split(settings["SSH"])
    folder = f".slipway/{wanted.project}"
    file = f"{folder}/env-{wanted.options_sum}"
    keep = shlex.join([*ssh, host, f"umask 077; mkdir -p {folder}; cat >{file}"])
    given = "deploy/run.env" if wanted.environment else "/dev/null"
    lines = ["# the environment", f"{keep} <{given}"]
    # The tunnel needs this program at its end, and one to the registry would show all of it.
    way = "sends only the layers that are missing"
    if not facts.rootless:
        way = "lets the server pull it by its digest, through a tunnel that shows this image alone"
    reference = wanted.repository
    save = shlex.join([*shlex.split(settings["DOCKER"]), "save", reference])
    load = shlex.join([*ssh, host, f"{facts.docker} load"])
    lines += [f"# the image; slipway {way}", f"{save} | {load}"]
    steps = docker_commands.deploy(
        plan,
        reference,
        by=remote_job.account(),
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        steady=int(settings["STEADY"]),
        keep=int(settings["KEEP"]),
    )
    return [*lines, *command_lines(settings, host, facts, steps)]


def show_report(settings: dict[str, str], host: str, lines: Callable[..., list[str]]) -> int:
    """Print what a server has; return 1 if it has a problem."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["SERVICE"])
    found = status_report.state(facts, host, settings["SERVICE"])
    each_server.show(settings, host, found, lines(found))
    if found["problem"]:
        console.show(f"{host}: {found['problem']}", sys.stderr)
    return 1 if found["problem"] and not facts.lock_is_alive else 0


def attach(settings: dict[str, str], host: str, job: str, program: Sequence[str] = ()) -> int:
    """Show the release's log, or run a shell or a program beside the application."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["SERVICE"])
        name = settings["SERVICE"]
        if facts.container(name) is None:
            raise ConnectionFailed(f"{host}: {status_report.problem(facts, name)}")
        if job == "logs":
            return logs.show(connection, facts, settings, Copy(sys.stdout).add)
        if job == "exec":
            return run_there(connection, f"{facts.docker} exec -i {name} {shlex.join(program)}")
        terminal = sys.stdin.isatty()
        flags, options = ("-it", ("-o", "RequestTTY=force")) if terminal else ("-i", ())
        command = f"{facts.docker} exec {flags} {name} /bin/sh"
        return subprocess.call(connection.argv(command, *options))


def run_there(connection: Connection, command: str) -> int:
    """Run a command on the server with this process's input and output, without login scripts."""
    begin = "slipway begins"
    remote = f"exec sh -c {shlex.quote(f'echo; echo {begin}; exec {command}')}"
    return connection.show(remote, begin=begin.encode(), has_input=True)


def on_server(settings: dict[str, str], host: str, job: str) -> int:
    """Do a job on a server that needs no image from here; return the exit status."""
    project = settings["SERVICE"]
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, project)
        if settings["DRY_RUN"]:
            if job == "rollback":
                keep = int(settings["KEEP"])
                steps = docker_commands.rollback(facts, project, settings["RELEASE"], keep=keep)
            else:
                steps = docker_commands.unlock(facts, project)
            commands = command_lines(settings, host, facts, steps)
            each_server.show_plan(settings, host, {"host": host}, [], commands)
            return 0
        report(host, job)
        outcome = perform(connection, facts, settings, job)
    return 0 if outcome is Outcome.DONE else 1


def change(settings: dict[str, str], host: str, command: str) -> int:
    """Start, stop, restart or remove the release on a server; return the exit status."""
    project = settings["SERVICE"]
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, project)
        if settings["DRY_RUN"]:
            steps = docker_commands.change(facts, project, command)
            commands = command_lines(settings, host, facts, steps)
            each_server.show_plan(settings, host, {"host": host}, [], commands)
            return 0
        found = facts.releases(project)
        if not found:
            raise ConnectionFailed(f"{host}: there is no release of {project} here.")
        if command == "remove":
            names = " ".join(each.name for each in found)
            report(host, f"removes the containers {names}, their images and logs; volumes stay")
            confirm(host)
        outcome = perform(connection, facts, settings, JOBS[command])
        if outcome is Outcome.DONE:
            report(host, DONE[command].format(project))
    return 0 if outcome is Outcome.DONE else 1


def confirm(host: str) -> None:
    """Ask whether to remove what was listed; raise Failed if the answer is not yes."""
    typed = os.environ.get("DEPLOY_OVERRIDES")
    if os.environ.get("YES") and (typed is None or "YES" in typed.split()):
        return
    if not sys.stdin.isatty():
        raise Failed(f"{host}: nothing was removed. To remove it: make remove ON=server YES=1")
    if input("Remove it (yes or no)? ").strip().lower() not in ("y", "yes"):
        raise Failed(f"{host}: nothing was removed")


def run(command: str, arguments: Sequence[str]) -> int:
    """Do one command on every server; return the exit status."""
    settings = load()
    if command in JOBS and settings["ON"] != "server":
        if command != "stop":
            raise Failed(f"{command} is for servers: make {command} ON=server (here: make run)")
        local_container.stop(settings)
        return 0

    def prepared(together: int) -> Work:
        wanted = plans.wanted(settings)
        if not settings["DRY_RUN"]:
            for line in advice.before_a_start(settings):
                console.warn(line)
        return lambda host: deploy(settings, wanted, host, alone=together == 1)

    others: dict[str, Work] = {
        "rollback": lambda host: on_server(settings, host, command),
        "unlock": lambda host: on_server(settings, host, command),
        **dict.fromkeys(JOBS, lambda host: change(settings, host, command)),
        "status": lambda host: show_report(settings, host, status_report.status),
        "releases": lambda host: show_report(settings, host, status_report.releases),
        "logs": lambda host: attach(settings, host, command),
        "shell": lambda host: attach(settings, host, command),
        "exec": lambda host: attach(settings, host, command, arguments),
    }
    if command == "exec":
        if not arguments:
            raise Failed("exec needs a program: python3 deploy/slipway exec PROGRAM [ARGUMENT…]")
        hosts = settings["DEPLOY_HOST"].split()
        if not hosts:
            return local_container.execute(settings, arguments)
        if len(hosts) > 1:
            raise Failed(f"exec works on one server at a time: set DEPLOY_HOST={hosts[0]}")
    return each_server.carry_out(settings, command, prepared, others)
