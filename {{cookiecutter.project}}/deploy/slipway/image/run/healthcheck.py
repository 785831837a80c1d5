"""Check whether the application is healthy: the run image's HEALTHCHECK.

    healthcheck               connect to a loopback address
    healthcheck ADDRESS       connect to this address; deploys without Docker use it
    healthcheck --published   connect to the container's own address
    healthcheck --debug       print which page shows a debug mode to anybody, if one does

Published ports lead to the container's own address. An application that listens only on 127.0.0.1
cannot be reached there.

HEALTH is a path that must answer over HTTP with a status below 500; `tcp` (PORT accepts
connections); `none`; or `ends` (a one-off job). The check uses a bare socket, because importing an
HTTP library would take longer than the check.
"""

from __future__ import annotations

import os
import socket
import sys

TIMEOUT = 4.0  # seconds; the HEALTHCHECK instruction gives up after 5
LOOPBACK = ("127.0.0.1", "::1")
# Django's page for an address that does not exist, and Werkzeug's console, with words that only a
# debug mode sends.
DEBUG_PAGES = (("/there-is-no-such-page", b"DEBUG = True"), ("/console", b"EVALEX"))
LARGEST = 1 << 20  # bytes of a page that are read


def own_addresses() -> tuple[str, ...]:
    """Return the container's address in its network; loopback addresses if it has none."""
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        return LOOPBACK
    return LOOPBACK if address.startswith("127.") else (address,)


def connect(port: int, addresses: tuple[str, ...] = LOOPBACK) -> socket.socket:
    """Return a connection to the application; raise OSError if nothing listens."""
    problem = OSError(f"no address to connect to port {port}")
    for address in addresses:
        try:
            return socket.create_connection((address, port), TIMEOUT)
        except OSError as refused:
            problem = refused
    if addresses != LOOPBACK:
        with connect(port) as inside:
            only = "IPv6" if ":" in inside.getpeername()[0] else "127.0.0.1"
        raise OSError(f"port {port} listens on {only} only: let it listen on 0.0.0.0")
    raise problem


def elsewhere(port: int) -> str:
    """Return advice that names other ports with a listener; empty if there are none."""
    found = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name, encoding="ascii") as table:
                lines = table.readlines()
        except OSError:
            continue
        for line in lines:
            local, state = line.split()[1:4:2]
            address, _, number = local.partition(":")
            # 0A means LISTEN; 127.0.0.11 is the name server of the Docker engine
            if state == "0A" and address != "0B00007F":
                found.add(int(number, 16))
    if not found or port in found:
        return ""
    ports = ", ".join(map(str, sorted(found)))
    return f"; it listens on {ports}: set PORT, or the port that COMMAND names"


def request(path: str) -> bytes:
    """Return the request for a page."""
    return f"GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("ascii")


def debug_page(port: int) -> str:
    """Return the path of a page that shows a debug mode; empty if there is none."""
    for path, words in DEBUG_PAGES:
        with connect(port) as connection:
            connection.sendall(request(path))
            if words in connection.makefile("rb").read(LARGEST):
                return path
    return ""


def check(port: int, health: str, addresses: tuple[str, ...] = LOOPBACK) -> str:
    """Return a line about a healthy application; raise OSError or ValueError for any other."""
    if health in ("none", "ends"):
        return f"not checked (HEALTH is {health})"
    with connect(port, addresses) as connection:
        if health == "tcp":
            return f"port {port} accepts connections"
        connection.sendall(request(health))
        status_line = connection.makefile("rb").readline(200).decode("latin-1").strip()
    words = status_line.split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError(f"port {port} does not speak HTTP: {status_line!r}")
    if int(words[1]) >= 500:
        raise ValueError(f"GET {health} answers {status_line}")
    return f"GET {health} answers {status_line}"


def point_out_debug_mode(port: int, health: str) -> int:
    """Print one line about a debug mode if there is one, and return 0."""
    try:
        path = debug_page(port) if health.startswith("/") else ""
    except OSError:  # what answered its check may not answer everything
        return 0
    if path:
        print(f"GET {path} shows code and settings to anybody: turn off the debug mode")
    return 0


def main(arguments: list[str]) -> int:
    """Print one line; return 0 if the application is healthy, else 1."""
    addresses = tuple(arguments) or LOOPBACK
    if arguments == ["--debug"]:
        return point_out_debug_mode(int(os.environ["PORT"]), os.environ.get("HEALTH", "tcp"))
    if arguments == ["--published"]:
        addresses = own_addresses()
    try:
        print(check(int(os.environ["PORT"]), os.environ.get("HEALTH", "tcp"), addresses))
    except (OSError, ValueError) as problem:
        more = elsewhere(int(os.environ["PORT"])) if arguments == ["--published"] else ""
        print(f"unhealthy: {problem}{more}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
