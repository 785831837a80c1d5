"""Put the wheels on servers without Docker, in a virtualenv that systemd runs.

The wheels that a server does not have go over the one ssh connection, and with them the bundle that
installs them. There server/systemd/deploy.py installs them without a package index.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Sequence

from slipway.laptop import console
from slipway.laptop.console import Failed
from slipway.laptop.deploy_venv import commands as server_commands
from slipway.laptop.deploy_venv import plan as plans
from slipway.laptop.deploy_venv import status_report, systemd_unit
from slipway.laptop.deploy_venv.plan import Plan, Wanted
from slipway.laptop.deploy_venv.survey import ASK, Facts, survey
from slipway.laptop.servers import each_server, remote_job
from slipway.laptop.servers.each_server import Work, report
from slipway.laptop.servers.remote_job import Outcome
from slipway.laptop.servers.ssh import Connection, ConnectionFailed, connected
from slipway.laptop.settings.load import load, require

NAMES = ("PROJECT", "PYTHON", "RELEASE", "HEALTH_TIMEOUT", "STEADY", "KEEP", "LOCK_WAIT")

# Only complete files whose content matches the name of their folder are moved to the other wheels.
RECEIVE = """\
umask 022
mkdir -p {place}/wheels && cd {place} || exit 1
new=$(mktemp -d .new-XXXXXX) || exit 1
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT PIPE TERM
chmod 755 "$new"
tar -xf - -C "$new"
status=$?
for file in "$new"/*/*; do
    [ -f "$file" ] || continue
    sum=$(sha256sum <"$file")
    to=wheels/${{sum%% *}}
    [ "$to" = "wheels/$(basename "${{file%/*}}")" ] || {{ status=1; continue; }}
    mv -T "${{file%/*}}" "$to" 2>/dev/null || [ -e "$to" ] || status=1
done
exit "$status"
"""


def send(connection: Connection, plan: Plan) -> None:
    """Send the files that the server does not have; raise ConnectionFailed if that fails."""
    if not plan.bytes_sent:
        return
    report(plan.host, f"sends {plan.sends}")
    command = RECEIVE.format(place=shlex.quote(plan.facts.place))
    status, problem = connection.archive(
        f"{plan.facts.as_root}sh -c {shlex.quote(command)}",
        ((name, len(data), io.BytesIO(data)) for name, data in plan.files()),
    )
    if status:
        raise ConnectionFailed(
            f"{plan.host}: the wheels did not arrive: {problem}. Nothing was changed, and wheels"
            " that have arrived are kept. Run make deploy-venv again."
        )


def perform(
    connection: Connection, facts: Facts, settings: dict[str, str], job: str, **more: str
) -> Outcome:
    """Do a job on a server by its own part of the work, and return the outcome."""
    manifest = more.pop("MANIFEST", "")
    variables = {
        "PLACE": facts.place,
        "KIT": facts.bundle,
        "MARK": systemd_unit.MARK,
        **{name: settings[name] for name in NAMES},
        **more,
    }
    if not variables["KIT"]:
        raise ConnectionFailed(
            f"{connection.host}: nothing was deployed here. Run make deploy-venv."
        )
    text = remote_job.for_systemd(job, variables, manifest)
    silence = each_server.patience(settings)
    return remote_job.perform(connection, text, has_gzip=facts.has_gzip, silence=silence)


def deploy(settings: dict[str, str], wanted: Wanted, host: str) -> int:
    """Bring the wheels to one server and run them; return the exit status."""
    with connected(settings["SSH"], host) as connection:
        for _ in range(each_server.ATTEMPTS):
            facts = survey(connection, settings, wanted.packages)
            plan = Plan(host, wanted, facts)
            plan.check()
            if settings["DRY_RUN"]:
                commands = server_commands.deploy(settings, plan)
                each_server.show_plan(settings, host, plan.data(), plan.lines(), commands)
                return 0
            send(connection, plan)
            outcome = perform(
                connection,
                facts,
                {**settings, "RELEASE": wanted.release},
                "deploy",
                KIT=wanted.bundle.sha256,
                MANIFEST=json.dumps(wanted.manifest(facts)),
            )
            if not outcome.is_gone:
                break
        address = connection.address()
    status = 0 if outcome is Outcome.DONE else 1
    if outcome.is_unknown:

        def ask(again: Connection) -> tuple[Outcome, str]:
            facts = survey(again, settings)
            outcome = perform(again, facts, settings, "recover")
            done = outcome is Outcome.DONE
            return outcome, survey(again, settings).current if done else ""

        status = each_server.find_out(settings, wanted.release, host, outcome, ask, "-venv")
    if status == 0:
        report(host, f"http://{address}:{settings['PORT']}")
    return status


def on_server(settings: dict[str, str], host: str, job: str) -> int:
    """Do a job on a server that needs no files from here; return the exit status."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings)
        if settings["DRY_RUN"]:
            show = server_commands.rollback if job == "rollback" else server_commands.unlock
            commands = show(settings, host, facts)
            each_server.show_plan(settings, host, {"host": host}, [], commands)
            return 0
        report(host, job)
        outcome = perform(connection, facts, settings, job)
    return 0 if outcome is Outcome.DONE else 1


def show_report(settings: dict[str, str], host: str) -> int:
    """Print what a server has; return 1 if it has a problem."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings, ask=ASK)
    found = status_report.state(facts, host, settings["PROJECT"])
    each_server.show(settings, host, found, status_report.status(found))
    if found["problem"]:
        console.show(f"{host}: {found['problem']}", sys.stderr)
    return 1 if found["problem"] and not facts.lock_is_alive else 0


def logs(settings: dict[str, str], host: str) -> int:
    """Show the service's log."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings)
        options = "--no-pager --lines 200" + " --follow" * bool(settings["FOLLOW"])
        options += "" if facts.is_root else " --user"
        command = f"{facts.as_root}journalctl {options} --unit {settings['PROJECT']}"
        return connection.show(command)


def run(command: str, arguments: Sequence[str]) -> int:
    """Do one command on every server; return the exit status."""
    job = command.partition("-venv")[0]
    settings = load()
    if job == "deploy":
        require(settings, "PYTHON", "COMMAND")
    if settings["PROGRAM"] or settings["ENDS"]:
        raise Failed(
            f"{command} supports neither one-off jobs (HEALTH := ends) nor other programs"
            " (PROGRAM). Use a server with Docker for them."
        )

    def prepared(_: int) -> Work:
        wanted = plans.wanted(settings)
        return lambda host: deploy(settings, wanted, host)

    others: dict[str, Work] = {
        "rollback": lambda host: on_server(settings, host, job),
        "unlock": lambda host: on_server(settings, host, job),
        "status": lambda host: show_report(settings, host),
        "logs": lambda host: logs(settings, host),
    }
    return each_server.carry_out(settings, job, prepared, others)
