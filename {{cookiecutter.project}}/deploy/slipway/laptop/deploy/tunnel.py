"""The usual way of an image to a server: it pulls from this machine's registry, through ssh -R."""

from __future__ import annotations

import shlex
import subprocess
import sys

from slipway.laptop.deploy.plan import Plan
from slipway.laptop.docker import engine, registry
from slipway.laptop.servers.each_server import report
from slipway.laptop.servers.ssh import Connection, ConnectionFailed


def fetch(connection: Connection, plan: Plan, registry_port: int, *, alone: bool) -> str:
    """Pull the image on the server by its digest, and return the reference that was pulled.

    The server chooses the port at its end. A terminal shows progress if this server is worked on
    alone.
    """
    name, digest = plan.wanted.repository, plan.wanted.digest
    port = connection.forward(registry_port)
    prove(connection, port, name, digest)
    report(plan.host, f"pulls {name}@{digest[:19]} through its 127.0.0.1:{port}")
    reference = f"127.0.0.1:{port}/{name}@{digest}"
    pull(connection, plan, reference, terminal=alone and sys.stdout.isatty())
    return reference


def prove(connection: Connection, port: int, name: str, digest: str) -> None:
    """Raise ConnectionFailed unless the tunnel leads to this machine's registry."""
    request = (
        f"HEAD /v2/{name}/manifests/{digest} HTTP/1.0\r\n"
        f"Host: 127.0.0.1\r\nAccept: {registry.ACCEPT}\r\n\r\n"
    )
    answer = connection.through(port, request.encode("ascii")).decode("latin-1")
    status, _, headers = answer.partition("\r\n")
    if " 200" not in status or f"docker-content-digest: {digest}" not in headers.lower():
        raise ConnectionFailed(
            f"{connection.host}: cannot reach the registry through the tunnel"
            f" ({status or 'no answer'}). Check that sshd_config there contains"
            ' "AllowTcpForwarding yes".'
        )


def pull(connection: Connection, plan: Plan, reference: str, *, terminal: bool) -> None:
    """Pull a reference on the server; raise ConnectionFailed if that fails."""
    quiet = "" if terminal else "--quiet "
    command = f"{plan.facts.docker} pull {quiet}{shlex.quote(reference)}"
    if terminal:
        status = subprocess.call(connection.argv(command), stdin=subprocess.DEVNULL)
        output = ""
    else:
        done = connection.ask(command)
        status, output = done.returncode, done.stderr
    if not status:
        return
    problem = engine.explain("docker", output) if output else "see above"
    raise ConnectionFailed(
        f"{connection.host}: the image could not be pulled: {problem}. Nothing was changed, and"
        " layers that have arrived are kept. Run make deploy again."
    )
