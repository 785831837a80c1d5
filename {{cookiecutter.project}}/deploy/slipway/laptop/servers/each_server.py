"""One job on every server that DEPLOY_HOST names, one after the other or some at a time.

What is the same for a release in a container (deploy.py) and in a virtualenv (appenv.py).
"""

from __future__ import annotations

import getpass
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

from slipway.laptop.console import die
from slipway.laptop.docker import engine
from slipway.laptop.servers.ssh import Connection, ConnectionFailed, assignments, connected
from slipway.laptop.servers.survey import NotReady

# What is done on one server; gives the exit status.
Work = Callable[[str], int]

RECONNECT = 90  # seconds in which a server must be back that was lost in the middle
LOST = (255, 129, 137, 141, 143)  # ssh's own status, and those of a shell that was killed
GONE = 4  # another deploy has removed the image that was pulled for this one
ATTEMPTS = 3
SETTLED = 3  # the part on the server was killed, and what it left is in order

# How the part of a job that a server does is started there: it ends by itself, whatever becomes of
# the shell that ssh started.
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


def account() -> str:
    """Name who deploys, in one word, as a server's lock and log have it."""
    return f"{getpass.getuser()}@{socket.gethostname()}".replace(" ", "_")


def exported(variables: dict[str, str]) -> str:
    """Write variables for a shell and all that it starts."""
    return f"{assignments(variables)}export {' '.join(variables)}\n"


def show(settings: dict[str, str], host: str, data: dict[str, Any], lines: list[str]) -> None:
    """Print a report of a server in the format that was asked for."""
    if settings["FORMAT"] == "json":
        text = json.dumps(data, ensure_ascii=False)
    else:
        text = "\n".join([f"{host}:", *(f"    {line}" for line in lines)])
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def find_out(
    settings: dict[str, str],
    release: str,
    host: str,
    ask: Callable[[Connection], tuple[int, str]],
    kind: str = "",
) -> int:
    """Ask a server that was lost what came of it, and let it settle that if need be.

    ask gives the status of that, and the release that runs and is healthy, if there is one. A kind
    of deploy has make targets of its own.
    """
    say(f"{host}: lost in the middle; the server goes on by itself: asks what came of it")
    deadline = time.monotonic() + RECONNECT
    while True:
        try:
            with connected(settings["SSH"], host) as connection:
                status, runs = ask(connection)
                if status not in LOST:
                    break
        except ConnectionFailed as problem:
            if time.monotonic() > deadline or interrupted.is_set():
                raise ConnectionFailed(
                    f"{problem} (make status{kind} says what runs, when it is back)"
                ) from None
        time.sleep(1)
    if not runs:
        raise ConnectionFailed(
            f"{host}: no healthy release runs: make status{kind}, then make deploy{kind}"
        )
    if runs != release:
        raise ConnectionFailed(
            f"{host}: cut off; {runs} runs and is healthy: run make deploy{kind} again"
        )
    say(f"{host}: {release} runs and is healthy")
    return 0


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


def attempt(work: Work, host: str) -> tuple[int, str]:
    """Work on one server; gives the exit status, and what is wrong in a line."""
    try:
        return work(host), ""
    except (ConnectionFailed, engine.EngineError) as problem:
        return 1, str(problem)


def at_once(work: Work, some: list[str]) -> list[tuple[int, str]]:
    """Work on some servers at the same time."""
    if len(some) == 1:  # in the main thread, which signals reach
        return [attempt(work, some[0])]
    with ThreadPoolExecutor(len(some)) as pool:
        try:
            return list(pool.map(lambda host: attempt(work, host), some))
        except BaseException:
            interrupted.set()
            raise


def everywhere(work: Work, chosen: list[str], together: int) -> int:
    """Work on all servers, so many at a time; after one that fails no other is begun."""
    results: dict[str, int] = {}
    for start in range(0, len(chosen), together):
        some = chosen[start : start + together]
        for host, (status, problem) in zip(some, at_once(work, some)):
            results[host] = status
            if problem:
                print(f"{Path(sys.argv[0]).name}: {problem}", file=sys.stderr, flush=True)
        if any(results.values()):
            break
    if len(chosen) > 1:
        for host in chosen:
            words = {None: "not begun", 0: "done"}.get(results.get(host), "failed; see above")
            say(f"{host}: {words}")
    return next((status for status in results.values() if status), 0)


def carry_out(
    settings: dict[str, str],
    job: str,
    deploy: Callable[[int], Work],
    others: Mapping[str, Work],
) -> int:
    """Do a job on every server; gives the exit status.

    To deploy takes preparing: deploy is told how many servers are worked on at a time.
    """
    if job not in ("deploy", *others):
        die(f"there is no job {job}: use {', '.join(('deploy', *others))}")
    for number in (signal.SIGTERM, signal.SIGHUP):  # what was made is removed then as well
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    chosen = hosts(settings)
    together = min(int(settings["PARALLEL"]), len(chosen))
    try:
        return everywhere(deploy(together) if job == "deploy" else others[job], chosen, together)
    except (NotReady, engine.EngineError) as problem:
        die(str(problem))
    except KeyboardInterrupt:
        die("interrupted; make status says what runs")
