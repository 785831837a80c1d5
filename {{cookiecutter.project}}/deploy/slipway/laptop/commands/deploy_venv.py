#!/usr/bin/env python3
"""Put the wheels that the builder made on servers that have no Docker, in a virtualenv.

    appenv.py [deploy|rollback|status|logs|unlock]

What a server lacks of the wheels goes over the one ssh connection, and with it what installs them
in the run image (kit.py). There service.py installs them with the index off, and lets systemd run
the release (unit.py): all that is the same in both kinds of deploy is jobs.py's.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys

from slipway.laptop.console import die
from slipway.laptop.deploy_venv import bundle as kits
from slipway.laptop.deploy_venv import plan as plans
from slipway.laptop.deploy_venv import status_report as servicereports
from slipway.laptop.deploy_venv import systemd_unit as unit
from slipway.laptop.deploy_venv.plan import Facts, Plan, Wanted
from slipway.laptop.servers import each_server as jobs
from slipway.laptop.servers.each_server import Work, say
from slipway.laptop.servers.ssh import Connection, ConnectionFailed, assignments, connected
from slipway.laptop.servers.survey import script
from slipway.laptop.settings.load import load

# What is done as root where that is allowed without a password.
AS_ROOT = """\
as=
[ "$(id -u)" = 0 ] || ! sudo -n true 2>/dev/null || as='sudo -n'
exec $as sh -s {arguments} <<'END OF SERVICE'
{text}
END OF SERVICE
"""

# A file that is cut off, or is not what its folder says, never comes to lie among the others.
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

# What the server does first: it unpacks what installs, and keeps the manifest, with the secrets of
# the environment, where no process list shows it and nobody else may read it.
UNPACK = """\
umask 022
cd "$PLACE"
if ! [ -d "kit/$KIT" ]; then
    mkdir -p kit
    new=$(mktemp -d .new-XXXXXX)
    chmod 755 "$new"
    tar -xzf "wheels/$KIT/kit.tar.gz" -C "$new"
    mv -T "$new" "kit/$KIT"
fi
if [ -n "$MANIFEST" ]; then
    export SENT="$PLACE/.new-sent-$$"
    (umask 077 && printf '%s' "$MANIFEST" >"$SENT")
fi
unset MANIFEST
folder=$PLACE/kit/$KIT
"""


def survey(
    connection: Connection,
    settings: dict[str, str],
    wanted: Wanted | None = None,
    ask: str = "",
) -> Facts:
    """Ask a server what it has, and what runs whether it is well; nothing is changed."""
    variables = assignments(
        {
            "PROJECT": settings["PROJECT"],
            "BY": "survey",
            "ASK": ask,
            "PYTHON": settings["PYTHON"],
            "MARK": unit.MARK,
            "SYSTEM": plans.SYSTEM,
            "PACKAGES": " ".join(wanted.packages if wanted else ()),
        }
    )
    text = f"{variables}{script(*kits.SURVEY)}"
    done = connection.ask_script(AS_ROOT.format(arguments="survey", text=text))
    facts = plans.parse(done.stdout)
    if not facts.place:
        raise ConnectionFailed(
            f"{connection.host}: it says nothing of itself: {done.stderr[-200:]}"
        )
    return facts


def send(connection: Connection, plan: Plan) -> None:
    """Send what the server lacks; ConnectionFailed says why it did not arrive."""
    if not plan.bytes_sent:
        return
    say(f"{plan.host}: sends {plan.sends}")
    command = RECEIVE.format(place=shlex.quote(plan.facts.place))
    status, why = connection.archive(
        f"{plan.facts.as_root}sh -c {shlex.quote(command)}",
        ((name, len(data), io.BytesIO(data)) for name, data in plan.files()),
    )
    if status:
        raise ConnectionFailed(
            f"{plan.host}: the wheels did not arrive: {why}; nothing was changed, and those that"
            " have arrived are kept: run make deploy-venv again"
        )


def perform(
    connection: Connection, facts: Facts, settings: dict[str, str], job: str, **more: str
) -> int:
    """Let service.sh do a job; gives its exit status."""
    variables = {
        "JOB": job,
        "BY": jobs.account(),
        "PLACE": facts.place,
        "KIT": facts.kit,
        "MARK": unit.MARK,
        "MANIFEST": "",
        **{name: settings[name] for name in ("PROJECT", "PYTHON", "RELEASE")},
        **{name: settings[name] for name in ("HEALTH_TIMEOUT", "STEADY", "KEEP", "LOCK_WAIT")},
        **more,
    }
    if not variables["KIT"]:
        raise ConnectionFailed(f"{connection.host}: nothing was deployed here: make deploy-venv")
    secret = assignments({"MANIFEST": variables.pop("MANIFEST")})
    run = jobs.RUN.format(name="service.sh", job="unlock" if job == "unlock" else "guard")
    sent = f"{jobs.exported(variables)}{secret}set -e\n{UNPACK}{run}"
    text = AS_ROOT.format(arguments="", text=sent)
    return connection.script(text, f"{connection.host}: ", has_gzip=facts.has_gzip)


def put(settings: dict[str, str], wanted: Wanted, host: str) -> int:
    """Bring the wheels to one server and run them; gives the exit status."""
    with connected(settings["SSH"], host) as connection:
        for _ in range(jobs.ATTEMPTS):
            facts = survey(connection, settings, wanted)
            plan = Plan(host, wanted, facts)
            plan.check()
            if settings["DRY_RUN"]:
                jobs.show(settings, host, plan.data(), plan.lines())
                return 0
            send(connection, plan)
            status = perform(
                connection,
                facts,
                {**settings, "RELEASE": wanted.release},
                "deploy",
                KIT=wanted.kit.sum,
                MANIFEST=json.dumps(wanted.manifest(facts)),
            )
            if status != jobs.GONE:
                break
        address = connection.address()
    if status in (*jobs.LOST, jobs.SETTLED):

        def ask(again: Connection) -> tuple[int, str]:
            facts = survey(again, settings)
            status = perform(again, facts, settings, "settle")
            return status, survey(again, settings).current if status == 0 else ""

        status = jobs.find_out(settings, wanted.release, host, ask, "-venv")
    if status == 0:
        say(f"{host}: http://{address}:{settings['PORT']}")
    return status


def on_server(settings: dict[str, str], host: str, job: str) -> int:
    """Let a server do a job that sends nothing; gives the exit status."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings)
        say(f"{host}: {job}")
        return perform(connection, facts, settings, job)


def report(settings: dict[str, str], host: str) -> int:
    """Say what a server has; status 1 when something is the matter."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings, ask=plans.ASK)
    found = servicereports.state(facts, host, settings["PROJECT"])
    jobs.show(settings, host, found, servicereports.status(found))
    if found["matter"]:
        print(f"appenv.py: {host}: {found['matter']}", file=sys.stderr, flush=True)
    return 1 if found["matter"] and not facts.lock_is_alive else 0


def logs(settings: dict[str, str], host: str) -> int:
    """Show the service's log."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings)
        options = "--no-pager --lines 200" + " --follow" * bool(settings["FOLLOW"])
        options += "" if facts.is_root else " --user"
        command = f"{facts.as_root}journalctl {options} --unit {settings['PROJECT']}"
        return subprocess.call(connection.argv(command), stdin=subprocess.DEVNULL)


def main(arguments: list[str]) -> int:
    """Do one job on every server; gives the exit status."""
    job = arguments[0] if arguments else "deploy"
    settings = load(*(("PYTHON", "COMMAND") if job == "deploy" else ()))
    if settings["PROGRAM"] or settings["ENDS"]:
        die("without Docker there are no jobs (HEALTH := ends) and no other programs (PROGRAM)")

    def prepared(_: int) -> Work:
        wanted = plans.wanted(settings)
        return lambda host: put(settings, wanted, host)

    others: dict[str, Work] = {
        "rollback": lambda host: on_server(settings, host, job),
        "unlock": lambda host: on_server(settings, host, job),
        "status": lambda host: report(settings, host),
        "logs": lambda host: logs(settings, host),
    }
    return jobs.carry_out(settings, job, prepared, others)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
