#!/usr/bin/env python3
"""Put the pushed image on servers, by its digest, through a tunnel to the registry here.

    deploy.py [deploy|rollback|status|releases|logs|shell|exec PROGRAM…|unlock]

One ssh connection does it all for a server: what is there (server.py), what is to be done and
whether that can be (plan.py), the pull (tunnel.py, or archive.py where that cannot be), and
server.sh, which is sent over it and comes to an end by itself whatever happens to this side. The
server keeps it, and is not sent it again.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Callable

from slipway.laptop.deploy import docker_load as archive
from slipway.laptop.deploy import plan as plans
from slipway.laptop.deploy import status_report as reports
from slipway.laptop.deploy import tunnel
from slipway.laptop.deploy.plan import Plan, Wanted
from slipway.laptop.deploy.survey import Facts, survey, whole_script
from slipway.laptop.servers import each_server as jobs
from slipway.laptop.servers.each_server import Work, say
from slipway.laptop.servers.ssh import Connection, ConnectionFailed, assignments, connected
from slipway.laptop.settings.load import load

# What the server does first: it keeps the script, since it may have to start it again, and the
# environment, which no process list shows and nobody else may read. On a full disk it ends here.
UNPACK = """\
set -e
umask 077
folder=$HOME/.slipway/$PROJECT
mkdir -p "$folder"
if [ -n "${OPTIONS_SUM:-}" ]; then
    printf '%s' "$ENVIRONMENT" >"$folder/env.$$"
    mv -f "$folder/env.$$" "$folder/env-$OPTIONS_SUM"
fi
unset ENVIRONMENT
"""
KEEP = """\
cat >"$folder/server.$$" <<'END OF SERVER'
{script}
END OF SERVER
mv -f "$folder/server.$$" "$folder/{name}"
"""


def perform(
    connection: Connection, facts: Facts, settings: dict[str, str], job: str, **more: str
) -> int:
    """Let server.sh do a job; gives its exit status."""
    variables = {
        "DOCKER": facts.docker,
        "JOB": job,
        "BY": jobs.account(),
        "PROJECT": settings["SERVICE"],
        **{name: settings[name] for name in ("RELEASE", "CANDIDATE", "KEEP")},
        **{name: settings[name] for name in ("HEALTH_TIMEOUT", "STEADY", "WATCH", "LOCK_WAIT")},
        **more,
    }
    secret = assignments({"ENVIRONMENT": variables.pop("ENVIRONMENT", "")})
    script, name = whole_script()
    keep = "" if facts.has_script else KEEP.format(script=script, name=name)
    run = jobs.RUN.format(name=name, job="unlock" if job == "unlock" else "guard")
    text = jobs.exported(variables) + secret + UNPACK + keep + run
    return connection.script(text, f"{connection.host}: ", has_gzip=facts.has_gzip)


def deploy(settings: dict[str, str], wanted: Wanted, host: str, alone: bool) -> int:
    """Bring the pushed image to one server and run it; gives the exit status."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["SERVICE"])
        plan = Plan(host, wanted, facts)
        plan.check()
        if settings["DRY_RUN"]:
            jobs.show(settings, host, plan.data(), plan.lines())
            return 0
        if plan.nothing_to_do:
            ended = plan.running and plan.running.health == "ended"
            what = "has ended well" if ended else "runs and is healthy"
            say(f"{host}: nothing to do: {wanted.release} {what}")
            return 0
        if plan.running:
            say(f"{host}: {plan.running.label('release')} is to become {wanted.release}")
        for _ in range(jobs.ATTEMPTS):
            status = send(connection, plan, settings, alone)
            if status != jobs.GONE:
                break
        address = connection.address()
    if status in (*jobs.LOST, jobs.SETTLED):
        status = jobs.find_out(
            settings, wanted.release, host, lambda again: settled(settings, again)
        )
    if status == 0 and wanted.published:
        say(f"{host}: http://{address}:{settings['PORT']}")
    return status


def send(connection: Connection, plan: Plan, settings: dict[str, str], alone: bool) -> int:
    """Let a server pull the image and run it; gives the exit status."""
    wanted = plan.wanted
    port = int(settings["REGISTRY_PORT"])
    if plan.facts.rootless:
        reference = archive.fetch(connection, plan, port)
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
        OPTIONS=wanted.options,
        EARLY=plan.early,
        OPTIONS_SUM=wanted.options_sum,
        PUBLISHED=wanted.published,
        VOLUMES=wanted.volumes,
        ENVIRONMENT=wanted.environment.decode(),
    )


def settled(settings: dict[str, str], connection: Connection) -> tuple[int, str]:
    """Let a server settle what was cut off; gives the status, and the healthy release that runs."""
    facts = survey(connection, settings["SERVICE"])
    status = perform(connection, facts, settings, "settle")
    if status in jobs.LOST:
        return status, ""
    runs = survey(connection, settings["SERVICE"]).container(settings["SERVICE"])
    return status, runs.label("release") if runs and runs.is_well else ""


def report(settings: dict[str, str], host: str, lines: Callable[..., list[str]]) -> int:
    """Say what a server has; status 1 when something is the matter."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["SERVICE"])
    found = reports.of(facts, host, settings["SERVICE"])
    jobs.show(settings, host, found, lines(found))
    if found["matter"]:
        print(f"deploy.py: {host}: {found['matter']}", file=sys.stderr, flush=True)
    return 1 if found["matter"] and not facts.lock_is_alive else 0


def attach(settings: dict[str, str], host: str, job: str, program: Sequence[str] = ()) -> int:
    """Show the release's log, or give a shell or run a program beside the application."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["SERVICE"])
        name = settings["SERVICE"]
        if facts.container(name) is None:
            raise ConnectionFailed(f"{host}: {reports.matter(facts, name)}")
        if job == "logs":
            follow = "--follow " if settings["FOLLOW"] else ""
            command = f"{facts.docker} logs {follow}--tail 200 {name}"
            return subprocess.call(connection.argv(command), stdin=subprocess.DEVNULL)
        if job == "exec":
            return run(connection, f"{facts.docker} exec -i {name} {shlex.join(program)}")
        terminal = sys.stdin.isatty()
        flags, options = ("-it", ("-o", "RequestTTY=force")) if terminal else ("-i", ())
        command = f"{facts.docker} exec {flags} {name} /bin/sh"
        return subprocess.call(connection.argv(command, *options))


def run(connection: Connection, command: str) -> int:
    """Run a command there with input and output of this process, and nothing of a login script."""
    begin = "slipway begins"
    remote = f"exec sh -c {shlex.quote(f'echo; echo {begin}; exec {command}')}"
    with subprocess.Popen(connection.argv(remote), stdout=subprocess.PIPE) as process:
        assert process.stdout
        for line in process.stdout:
            if line.decode(errors="replace").strip() == begin:
                shutil.copyfileobj(process.stdout, sys.stdout.buffer)
        sys.stdout.flush()
    return process.returncode


def on_server(settings: dict[str, str], host: str, job: str) -> int:
    """Let a server do a job that needs no tunnel; gives the exit status."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["SERVICE"])
        say(f"{host}: {job}")
        return perform(connection, facts, settings, job)


def main(arguments: list[str]) -> int:
    """Do one job on every server; gives the exit status."""
    job = arguments[0] if arguments else "deploy"
    settings = load()

    def prepared(together: int) -> Work:
        wanted = plans.wanted(settings)
        return lambda host: deploy(settings, wanted, host, alone=together == 1)

    others: dict[str, Work] = {
        "rollback": lambda host: on_server(settings, host, job),
        "unlock": lambda host: on_server(settings, host, job),
        "status": lambda host: report(settings, host, reports.status),
        "releases": lambda host: report(settings, host, reports.releases),
        "logs": lambda host: attach(settings, host, job),
        "shell": lambda host: attach(settings, host, job),
        "exec": lambda host: attach(settings, host, job, arguments[1:]),
    }
    return jobs.carry_out(settings, job, prepared, others)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
