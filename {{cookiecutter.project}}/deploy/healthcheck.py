#!/usr/bin/env python3
"""Say whether the application answers: the run image's HEALTHCHECK.

HEALTH is a path that must answer over HTTP with a status below 500, or `tcp` when a connection is
enough, or `none`. A bare socket, since an HTTP library would cost more start-up than the check.
"""

from __future__ import annotations

import os
import socket
import sys

TIMEOUT = 4.0  # seconds; the HEALTHCHECK instruction gives up after 5


def connect(port: int) -> socket.socket:
    """Connect to the application inside this container; OSError when nothing listens."""
    try:
        return socket.create_connection(("127.0.0.1", port), TIMEOUT)
    except OSError:
        return socket.create_connection(("::1", port), TIMEOUT)


def check(port: int, health: str) -> str:
    """Give a line that says what was seen; OSError or ValueError when that is not healthy."""
    if health == "none":
        return "not checked (HEALTH is none)"
    with connect(port) as connection:
        if health == "tcp":
            return f"port {port} accepts connections"
        request = f"GET {health} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("ascii"))
        status_line = connection.makefile("rb").readline(200).decode("latin-1").strip()
    words = status_line.split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError(f"port {port} does not speak HTTP: {status_line!r}")
    if int(words[1]) >= 500:
        raise ValueError(f"GET {health} answers {status_line}")
    return f"GET {health} answers {status_line}"


def main() -> int:
    """Print one line; status 0 means healthy."""
    try:
        print(check(int(os.environ["PORT"]), os.environ.get("HEALTH", "tcp")))
    except (OSError, ValueError) as problem:
        print(f"unhealthy: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
