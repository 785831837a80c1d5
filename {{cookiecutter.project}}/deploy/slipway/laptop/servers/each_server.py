"""One job on every server that DEPLOY_HOST names, one after the other or several at a time.

The same for deploys with Docker and without.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from slipway.laptop import console
from slipway.laptop.console import Failed, warn
from slipway.laptop.servers.remote_job import Outcome
from slipway.laptop.servers.ssh import Connection, ConnectionFailed, connected

# The work on one server; returns the exit status.
Work = Callable[[str], int]

RECONNECT = 90  # seconds within which a lost server must be back
ATTEMPTS = 3


interrupted = threading.Event()


def patience(settings: Mapping[str, str]) -> int:
    """Return for how many seconds a job on a server may print nothing.

    It may wait for the lock, for a candidate, for a release and for the one before, and twice for
    an engine that starts again (ten minutes).
    """
    waits = 3 * (int(settings["HEALTH_TIMEOUT"]) + int(settings["STEADY"]))
    return int(settings["LOCK_WAIT"]) + waits + 1200


def report(host: str, message: str) -> None:
    """Print one line about a server."""
    console.show(f"{host}: {message}")


def show(settings: dict[str, str], host: str, data: dict[str, Any], lines: list[str]) -> None:
    """Print a report about a server in the requested format."""
    if settings["FORMAT"] == "json":
        text = console.visible_json(json.dumps(data, ensure_ascii=False))
    else:
        text = "\n".join([f"{host}:", *(f"    {line}" for line in lines)])
    console.show(text)


def show_plan(
    settings: dict[str, str],
    host: str,
    data: dict[str, Any],
    lines: list[str],
    commands: list[str],
) -> None:
    """Print what a job would do: the facts as comments, then the command lines."""
    if settings["FORMAT"] == "json":
        text = json.dumps({**data, "commands": commands}, ensure_ascii=False)
        text = console.visible_json(text)
    else:
        text = "\n".join([f"# {host}:", *(f"#     {line}" for line in lines), *commands])
    console.show(text)


def find_out(
    settings: dict[str, str],
    release: str,
    host: str,
    outcome: Outcome,
    ask: Callable[[Connection], tuple[Outcome, str]],
    kind: str = "",
) -> int:
    """Reconnect to a server, find out how the deploy ended, and recover if necessary.

    outcome is that of the deploy. ask returns the outcome of the recovery, and the healthy release
    that runs, if there is one. A kind of deploy has its own make targets.
    """
    cause = "connection lost" if outcome is Outcome.LOST else "the deploy was killed"
    report(host, f"{cause}; the server finishes by itself. Reconnecting to see what runs.")
    deadline = time.monotonic() + RECONNECT
    while True:
        problem = f"{host}: {cause} again."
        try:
            with connected(settings["SSH"], host) as connection:
                recovery, runs = ask(connection)
                if recovery is not Outcome.LOST:
                    break
        except ConnectionFailed as failed:
            problem = str(failed)
        if time.monotonic() > deadline or interrupted.is_set():
            raise ConnectionFailed(f"{problem} When it is back, make status{kind} shows what runs.")
        time.sleep(1)
    if not runs:
        raise ConnectionFailed(
            f"{host}: {cause}; no healthy release is running."
            f" Run make status{kind}, then make deploy{kind}."
        )
    if runs != release:
        raise ConnectionFailed(
            f"{host}: {cause}; release {runs} is still running and healthy."
            f" Run make deploy{kind} again."
        )
    report(host, f"{release} runs and is healthy")
    return 0


def hosts(settings: dict[str, str]) -> list[str]:
    """Return the servers to work on; ask for one if a person is there to answer."""
    chosen = settings["DEPLOY_HOST"].split()
    if not chosen and sys.stdin.isatty():
        chosen = input("Deploy to which server (user@host)? ").split()
    if not chosen:
        raise Failed(
            "DEPLOY_HOST is empty. Set it in deploy/settings.mk, or run make with"
            " DEPLOY_HOST=user@server."
        )
    for host in chosen:
        if host.startswith("-"):
            raise Failed(
                f"DEPLOY_HOST names {host!r}, which ssh would take for an option."
                " Write user@server, or a host of ~/.ssh/config."
            )
    return chosen


def attempt(work: Work, host: str) -> tuple[int, str]:
    """Work on one server; return the exit status, and a problem in one line."""
    try:
        return work(host), ""
    except Failed as problem:
        text = str(problem)
        return 1, text if host in text.partition(": ")[0] else f"{host}: {text}"


def at_once(work: Work, some: list[str]) -> list[tuple[int, str]]:
    """Work on several servers at the same time."""
    if len(some) == 1:  # in the main thread, which receives signals
        return [attempt(work, some[0])]
    with ThreadPoolExecutor(len(some)) as pool:
        try:
            return list(pool.map(lambda host: attempt(work, host), some))
        except BaseException:
            interrupted.set()
            raise


def everywhere(work: Work, chosen: list[str], together: int, *, summary: bool) -> int:
    """Work on all servers, some at a time; after a failure no other server is started."""
    results: dict[str, int] = {}
    for start in range(0, len(chosen), together):
        some = chosen[start : start + together]
        for host, (status, problem) in zip(some, at_once(work, some)):
            results[host] = status
            if problem:
                console.show(problem, sys.stderr)
        if any(results.values()):
            break
    if summary and len(chosen) > 1:
        for host in chosen:
            words = {None: "not started", 0: "done"}.get(results.get(host), "failed; see above")
            report(host, words)
    return next((status for status in results.values() if status), 0)


def carry_out(
    settings: dict[str, str],
    job: str,
    deploy: Callable[[int], Work],
    others: Mapping[str, Work],
) -> int:
    """Do a job on every server; return the exit status.

    deploy prepares a deploy, and receives the number of servers that are worked on at a time.
    """
    chosen = hosts(settings)
    together = min(int(settings["PARALLEL"]), len(chosen))
    # What is to be pasted, or read by a program, has no other lines.
    summary = not settings["DRY_RUN"] and settings["FORMAT"] != "json"
    try:
        work = deploy(together) if job == "deploy" else others[job]
        return everywhere(work, chosen, together, summary=summary)
    except KeyboardInterrupt:
        warn("interrupted. Run make status to see what runs.")
        raise
