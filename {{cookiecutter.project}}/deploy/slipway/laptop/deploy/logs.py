"""The log of a release on a server, without the requests of its health check."""

from __future__ import annotations

import functools
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Callable

from slipway.laptop.console import Failed
from slipway.laptop.deploy.survey import Facts
from slipway.laptop.servers.ssh import LONGEST, Connection

MORE = 20  # times the lines that are shown are read, because most may be of health checks
LOOPBACK = ("127.0.0.1", "::1")


def command(settings: Mapping[str, str]) -> str:
    """Return the words after `docker` that print a log."""
    lines = int(settings["LINES"])
    read = "all" if settings["GREP"] or settings["SINCE"] else str(MORE * lines)
    since = f" --since {settings['SINCE']}" if settings["SINCE"] else ""
    follow = " --follow" if settings["FOLLOW"] else ""
    return f"logs{follow}{since} --tail {lines if follow else read} {settings['SERVICE']}"


def checks(health: str, addresses: Sequence[str]) -> re.Pattern[bytes]:
    """Return the pattern of log lines about the health check's own requests.

    They come from the container's own addresses, by HTTP/1.0; see image/run/healthcheck.py.
    """
    own = "|".join(re.escape(each) for each in (*LOOPBACK, *addresses))
    text = rf"(?<![\w.:])(?:{own})(?![\w.]).*GET {re.escape(health)} HTTP/1\.0"
    return re.compile(text.encode())


def is_wanted(line: bytes, grep: re.Pattern[bytes] | None, check: re.Pattern[bytes]) -> bool:
    """Return whether a line is to be shown."""
    return bool(grep.search(line)) if grep else not check.search(line)


def show(
    connection: Connection,
    facts: Facts,
    settings: Mapping[str, str],
    write: Callable[[bytes], object],
) -> int:
    """Write the wanted lines of the release's log; return the status of docker logs.

    A person ends FOLLOW=1 by Ctrl-C, which is no failure.
    """
    try:
        grep = re.compile(settings["GREP"].encode()) if settings["GREP"] else None
    except re.error as problem:
        raise Failed(f"GREP is {settings['GREP']!r}, which is no pattern: {problem}") from None
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}} {{end}}"
    asked = f"{facts.docker} inspect --format '{networks}' {settings['SERVICE']}"
    check = checks(settings["HEALTH"], connection.ask(asked).stdout.split())
    remote = f"{facts.docker} {command(settings)} 2>&1"
    with subprocess.Popen(
        connection.argv(remote), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        pieces = iter(functools.partial(process.stdout.readline, LONGEST), b"")
        wanted = (line for line in pieces if is_wanted(line, grep, check))
        try:
            for line in wanted if settings["FOLLOW"] else deque(wanted, int(settings["LINES"])):
                write(line)
        except KeyboardInterrupt:
            process.terminate()
            if not settings["FOLLOW"]:
                raise
            return 0
        return process.wait()
