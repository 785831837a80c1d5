"""The image's way to a server: it pulls from the registry of this machine, through ssh -R."""

from __future__ import annotations

import shlex
import subprocess
import sys

from slipway.laptop.deploy.plan import Plan
from slipway.laptop.docker import engine, registry
from slipway.laptop.servers.ssh import Connection, ConnectionFailed


def fetch(connection: Connection, plan: Plan, registry_port: int, *, alone: bool) -> str:
    """Let the server pull the image by its digest; gives the reference that it was pulled by.

    The server chooses the port at its end. When it is worked on alone, a terminal shows progress.
    """
    name, digest = plan.wanted.repository, plan.wanted.digest
    port = connection.forward(registry_port)
    prove(connection, port, name, digest)
    print(
        f"deploy: {plan.host}: pulls {name}@{digest[:19]} through its 127.0.0.1:{port}", flush=True
    )
    reference = f"127.0.0.1:{port}/{name}@{digest}"
    pull(connection, plan, reference, terminal=alone and sys.stdout.isatty())
    return reference


def prove(connection: Connection, port: int, name: str, digest: str) -> None:
    """See that the server's end of the tunnel answers as our registry; ConnectionFailed if not."""
    request = (
        f"HEAD /v2/{name}/manifests/{digest} HTTP/1.0\r\n"
        f"Host: 127.0.0.1\r\nAccept: {registry.ACCEPT}\r\n\r\n"
    )
    answer = connection.through(port, request.encode("ascii")).decode("latin-1")
    status, _, headers = answer.partition("\r\n")
    if " 200" not in status or f"docker-content-digest: {digest}" not in headers.lower():
        raise ConnectionFailed(
            f"{connection.host}: the tunnel's end does not answer as our registry"
            f" ({status or 'no answer'}): is sshd set to AllowTcpForwarding yes?"
        )


def pull(connection: Connection, plan: Plan, reference: str, *, terminal: bool) -> None:
    """Let the server's docker pull a reference; ConnectionFailed says why it cannot."""
    quiet = "" if terminal else "--quiet "
    command = f"{plan.facts.docker} pull {quiet}{shlex.quote(reference)}"
    if terminal:
        status = subprocess.call(connection.argv(command), stdin=subprocess.DEVNULL)
        said = ""
    else:
        done = connection.ask(command)
        status, said = done.returncode, done.stderr
    if not status:
        return
    why = engine.explain("docker", said) if said else "see above"
    raise ConnectionFailed(
        f"{connection.host}: the image could not be pulled: {why}; nothing was changed, and layers"
        " that have arrived are kept: run make deploy again"
    )
