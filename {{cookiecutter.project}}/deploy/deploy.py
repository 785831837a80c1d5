#!/usr/bin/env python3
"""Put the pushed image on servers, by its digest, through a tunnel to the registry here.

    deploy.py [deploy|rollback|status|releases|logs|shell|unlock]

One ssh connection does it all for a server: what is there (server.py), what is to be done and
whether that can be (plan.py), the pull (tunnel.py), and server.sh, which is sent over it and comes
to an end by itself whatever happens to this side. The server keeps it, and is not sent it again.
"""

from __future__ import annotations

import getpass
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import engine
import plan as plans
import reports
import tunnel
from plan import NotReady, Plan, Wanted
from server import Facts, survey, whole_script
from settings import die, load
from ssh import Connection, ConnectionFailed, assignments, connected

RECONNECT = 90  # seconds in which a server must be back that was lost in the middle
LOST = (255, 129, 137, 141, 143)  # ssh's own status, and those of a shell that was killed
GONE = 4  # another deploy has removed the image that was pulled for this one
ATTEMPTS = 3
SETTLED = 3  # the part on the server was killed, and what it left is in order

# What the server does first: it keeps the script, since it may have to start it again, and the
# environment, which no process list shows and nobody else may read.
UNPACK = """\
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
RUN = """\
$(command -v setsid || true) sh "$folder/{name}" {job} </dev/null &
wait $!
"""


interrupted = threading.Event()


def say(message: str) -> None:
    """Print one line about what is being done."""
    # in one piece: other servers may be spoken of at the same time
    sys.stdout.write(f"deploy: {message}\n")
    sys.stdout.flush()


def perform(
    connection: Connection, facts: Facts, settings: dict[str, str], job: str, **more: str
) -> int:
    """Let server.sh do a job; gives its exit status."""
    variables = {
        "DOCKER": facts.docker,
        "JOB": job,
        "BY": f"{getpass.getuser()}@{socket.gethostname()}".replace(" ", "_"),
        **{name: settings[name] for name in ("PROJECT", "RELEASE", "CANDIDATE")},
        **{name: settings[name] for name in ("HEALTH_TIMEOUT", "KEEP", "WATCH", "LOCK_WAIT")},
        **more,
    }
    secret = assignments({"ENVIRONMENT": variables.pop("ENVIRONMENT", "")})
    exported = f"{assignments(variables)}export {' '.join(variables)}\n"
    script, name = whole_script()
    keep = "" if facts.has_script else KEEP.format(script=script, name=name)
    run = RUN.format(name=name, job="unlock" if job == "unlock" else "guard")
    text = exported + secret + UNPACK + keep + run
    return connection.script(text, f"{connection.host}: ", has_gzip=facts.has_gzip)


def deploy(settings: dict[str, str], wanted: Wanted, host: str, alone: bool) -> int:
    """Bring the pushed image to one server and run it; gives the exit status."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["PROJECT"])
        plan = Plan(host, wanted, facts)
        plan.check()
        if settings["DRY_RUN"]:
            show(settings, plan.data(), [f"{host}:", *(f"    {line}" for line in plan.lines())])
            return 0
        if plan.nothing_to_do:
            say(f"{host}: nothing to do: {wanted.release} runs and is healthy")
            return 0
        if plan.running:
            say(f"{host}: {plan.running.label('release')} is to become {wanted.release}")
        for _ in range(ATTEMPTS):
            status = send(connection, plan, settings, alone)
            if status != GONE:
                break
        address = connection.address()
    if status in (*LOST, SETTLED):
        status = find_out(settings, wanted, host)
    if status == 0:
        say(f"{host}: http://{address}:{settings['PORT']}")
    return status


def send(connection: Connection, plan: Plan, settings: dict[str, str], alone: bool) -> int:
    """Let a server pull the image and run it; gives the exit status."""
    wanted = plan.wanted
    reference = tunnel.fetch(connection, plan, int(settings["REGISTRY_PORT"]), alone=alone)
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
        OPTIONS_SUM=wanted.options_sum,
        PUBLISHED=wanted.published,
        VOLUMES=wanted.volumes,
        ENVIRONMENT=wanted.environment.decode(),
    )


def find_out(settings: dict[str, str], wanted: Wanted, host: str) -> int:
    """Ask a server that was lost what came of it, and let it settle that if need be."""
    say(f"{host}: lost in the middle; the server goes on by itself: asks what came of it")
    deadline = time.monotonic() + RECONNECT
    while True:
        try:
            with connected(settings["SSH"], host) as connection:
                facts = survey(connection, settings["PROJECT"])
                status = perform(connection, facts, settings, "settle")
                if status not in LOST:
                    runs = survey(connection, settings["PROJECT"]).container(settings["PROJECT"])
                    break
        except ConnectionFailed as problem:
            if time.monotonic() > deadline or interrupted.is_set():
                raise ConnectionFailed(
                    f"{problem} (make status says what runs, when it is back)"
                ) from None
        time.sleep(1)
    if runs is None or not runs.is_well:
        raise ConnectionFailed(f"{host}: no healthy release runs: make status, then make deploy")
    if runs.label("release") != wanted.release:
        raise ConnectionFailed(
            f"{host}: cut off; {runs.label('release')} runs and is healthy: run make deploy again"
        )
    say(f"{host}: {wanted.release} runs and is healthy")
    return 0


def show(settings: dict[str, str], data: dict[str, Any], lines: list[str]) -> None:
    """Print a report in the format that was asked for."""
    text = json.dumps(data, ensure_ascii=False) if settings["FORMAT"] == "json" else None
    sys.stdout.write((text or "\n".join(lines)) + "\n")
    sys.stdout.flush()


def report(settings: dict[str, str], host: str, lines: Callable[..., list[str]]) -> int:
    """Say what a server has; status 1 when something is the matter."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["PROJECT"])
    found = reports.of(facts, host, settings["PROJECT"])
    show(settings, found, [f"{host}:", *(f"    {line}" for line in lines(found))])
    if found["matter"]:
        print(f"deploy.py: {host}: {found['matter']}", file=sys.stderr, flush=True)
    return 1 if found["matter"] and not facts.lock_is_alive else 0


def attach(settings: dict[str, str], host: str, job: str) -> int:
    """Show the release's log, or give a shell beside the application."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["PROJECT"])
        name = settings["PROJECT"]
        if facts.container(name) is None:
            raise ConnectionFailed(f"{host}: {reports.matter(facts, name)}")
        if job == "logs":
            follow = "--follow " if settings["FOLLOW"] else ""
            command = f"{facts.docker} logs {follow}--tail 200 {name}"
            return subprocess.call(connection.argv(command), stdin=subprocess.DEVNULL)
        terminal = sys.stdin.isatty()
        flags, options = ("-it", ("-o", "RequestTTY=force")) if terminal else ("-i", ())
        command = f"{facts.docker} exec {flags} {name} /bin/sh"
        return subprocess.call(connection.argv(command, *options))


def on_server(settings: dict[str, str], host: str, job: str) -> int:
    """Let a server do a job that needs no tunnel; gives the exit status."""
    with connected(settings["SSH"], host) as connection:
        facts = survey(connection, settings["PROJECT"])
        say(f"{host}: {job}")
        return perform(connection, facts, settings, job)


def hosts(settings: dict[str, str]) -> list[str]:
    """Give the servers to work on, asking for one where there is somebody to ask."""
    chosen = settings["DEPLOY_HOST"].split()
    if not chosen and sys.stdin.isatty():
        chosen = input("Deploy to which server (user@host)? ").split()
    if not chosen:
        die("no server is named: make deploy DEPLOY_HOST=user@server, or set it in settings.mk")
    for host in chosen:
        if host.startswith("-"):
            die(f"DEPLOY_HOST names {host!r}, which ssh would take for an option")
    return chosen


def attempt(work: Callable[[str], int], host: str) -> tuple[int, str]:
    """Work on one server; gives the exit status, and what is wrong in a line."""
    try:
        return work(host), ""
    except (ConnectionFailed, engine.EngineError) as problem:
        return 1, str(problem)


def at_once(work: Callable[[str], int], some: list[str]) -> list[tuple[int, str]]:
    """Work on some servers at the same time."""
    if len(some) == 1:  # in the main thread, which signals reach
        return [attempt(work, some[0])]
    with ThreadPoolExecutor(len(some)) as pool:
        try:
            return list(pool.map(lambda host: attempt(work, host), some))
        except BaseException:
            interrupted.set()
            raise


def everywhere(work: Callable[[str], int], chosen: list[str], together: int) -> int:
    """Work on all servers, so many at a time; after one that fails no other is begun."""
    results: dict[str, int] = {}
    for start in range(0, len(chosen), together):
        some = chosen[start : start + together]
        for host, (status, problem) in zip(some, at_once(work, some)):
            results[host] = status
            if problem:
                print(f"deploy.py: {problem}", file=sys.stderr, flush=True)
        if any(results.values()):
            break
    if len(chosen) > 1:
        for host in chosen:
            words = {None: "not begun", 0: "done"}.get(results.get(host), "failed; see above")
            say(f"{host}: {words}")
    return next((status for status in results.values() if status), 0)


def main(arguments: list[str]) -> int:
    """Do one job on every server; gives the exit status."""
    job = arguments[0] if arguments else "deploy"
    settings = load()
    jobs: dict[str, Callable[[str], int]] = {
        "deploy": lambda host: deploy(settings, wanted, host, alone=together == 1),
        "rollback": lambda host: on_server(settings, host, job),
        "unlock": lambda host: on_server(settings, host, job),
        "status": lambda host: report(settings, host, reports.status),
        "releases": lambda host: report(settings, host, reports.releases),
        "logs": lambda host: attach(settings, host, job),
        "shell": lambda host: attach(settings, host, job),
    }
    if job not in jobs:
        die(f"there is no job {job}: use {', '.join(jobs)}")
    for number in (signal.SIGTERM, signal.SIGHUP):  # what was made is removed then as well
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    chosen = hosts(settings)
    together = min(int(settings["PARALLEL"]), len(chosen))
    try:
        if job == "deploy":
            wanted = plans.wanted(settings)
        return everywhere(jobs[job], chosen, together)
    except (NotReady, engine.EngineError) as problem:
        die(str(problem))
    except KeyboardInterrupt:
        die("interrupted; make status says what runs")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
