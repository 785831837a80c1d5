"""The usual way of an image to a server: it pulls from this machine, through ssh -R.

What the server sees is not the registry but a proxy for this one image; see image_proxy.py.
"""

from __future__ import annotations

import json
import shlex
import sys
from typing import Callable

from slipway.laptop.deploy import image_proxy
from slipway.laptop.deploy.plan import Plan
from slipway.laptop.docker import engine, registry, registry_password
from slipway.laptop.servers.each_server import report
from slipway.laptop.servers.ssh import TRANSFER, Connection, ConnectionFailed
from slipway.laptop.servers.survey import facts

# Loopback addresses as the kernel writes them in /proc/net/tcp and tcp6: 32-bit words in the
# machine's own byte order, so little-endian and big-endian for each of 127.0.0.1, ::1 and
# ::ffff:127.0.0.1.
LOOPBACK = (
    *("0100007F", "7F000001"),
    *(f"{'0' * 24}01000000", f"{'0' * 24}00000001"),
    *(f"{'0' * 16}FFFF00000100007F", f"{'0' * 16}0000FFFF7F000001"),
)
# 0A is LISTEN, as in server/survey.sh. The server compares the port, because it may have thousands
# of connections.
LISTENS = (
    "exec sh -c 'echo; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |"
    " while read -r _ address _ state _; do"
    ' case $address:$state in *:{port:04X}:0A) echo "slipway listens $address" ;; esac; done\''
)

# Docker reads the password from a folder that no other account can enter. Where the engine is, it
# would read in the account's own folder.
PULL = """\
umask 077
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$folder/config.json" <<'END'
{configuration}
END
host=$({docker} context inspect --format '{{{{.Endpoints.docker.Host}}}}' 2>/dev/null)
{docker} ${{host:+--host "$host"}} --config "$folder" pull {quiet}{reference}
"""


def fetch(connection: Connection, plan: Plan, registry_port: int, *, alone: bool) -> str:
    """Pull the image on the server by its digest, and return the reference that was pulled.

    The server chooses the port at its end. A terminal shows progress if this server is worked on
    alone.
    """
    name, digest = plan.wanted.repository, plan.wanted.digest
    with image_proxy.serving(registry_port, name, digest) as proxy:
        port = connection.forward(proxy.port)
        try:
            check_address(connection, port)
            prove(connection, port, proxy.repository, digest, proxy.authorization)
            report(plan.host, f"pulls {name}@{digest[:19]} through its 127.0.0.1:{port}")
            reference = f"127.0.0.1:{port}/{proxy.repository}@{digest}"
            terminal = alone and sys.stdout.isatty()
            pull(
                connection,
                plan,
                reference,
                proxy.authorization,
                lambda: proxy.last_used,
                terminal=terminal,
            )
        finally:
            # Before the proxy ends, because another program may get its port.
            connection.end_forward(proxy.port)
    return reference


def check_address(connection: Connection, port: int) -> None:
    """Raise ConnectionFailed unless the server's end of the tunnel listens on loopback only."""
    output = connection.ask(LISTENS.format(port=port)).stdout
    found = {value.partition(":")[0] for key, value, _ in facts(output) if key == "listens"}
    if found and found.issubset(LOOPBACK):
        return
    if not found:
        raise ConnectionFailed(
            f"{connection.host}: cannot check in /proc/net/tcp there that the tunnel listens on"
            " loopback only. Nothing was changed."
        )
    raise ConnectionFailed(
        f"{connection.host}: sshd opens the tunnel to the network, and not on loopback only. Set"
        " GatewayPorts no in /etc/ssh/sshd_config there. Nothing was changed."
    )


def prove(connection: Connection, port: int, name: str, digest: str, authorization: str) -> None:
    """Raise ConnectionFailed unless the tunnel leads to this image on this machine."""
    request = (
        f"HEAD /v2/{name}/manifests/{digest} HTTP/1.0\r\n"
        f"Host: 127.0.0.1\r\nAccept: {registry.ACCEPT}\r\n"
        f"Authorization: Basic {authorization}\r\n\r\n"
    )
    answer = connection.through(port, request.encode("ascii")).decode("latin-1")
    status, _, headers = answer.partition("\r\n")
    if " 200" not in status or f"docker-content-digest: {digest}" not in headers.lower():
        raise ConnectionFailed(
            f"{connection.host}: cannot reach this machine through the tunnel"
            f" ({status[:100] or 'no answer'}). Check that sshd_config there contains"
            ' "AllowTcpForwarding yes".'
        )


def pull(
    connection: Connection,
    plan: Plan,
    reference: str,
    authorization: str,
    last_used: Callable[[], float] = lambda: 0.0,
    *,
    terminal: bool,
) -> None:
    """Pull a reference on the server; raise ConnectionFailed if that fails.

    last_used returns when the proxy has sent something, which is a sign that the pull goes on.
    """
    address = reference.partition("/")[0]
    script = PULL.format(
        configuration=json.dumps(registry_password.for_docker(address, authorization)),
        docker=plan.facts.docker,
        quiet="" if terminal else "--quiet ",
        reference=shlex.quote(reference),
    ).encode()
    # The script is the input, so that no list of processes has the password.
    if terminal:
        status = connection.show("sh -s", sent=script, silence=TRANSFER, sign=last_used)
        output = ""
    else:
        done = connection.ask("sh -s", sent=script, silence=TRANSFER, sign=last_used)
        status, output = done.returncode, done.stderr
    if not status:
        return
    problem = engine.explain("docker", output[-2000:]) if output else "see above"
    raise ConnectionFailed(
        f"{connection.host}: the image could not be pulled: {problem}. Nothing was changed, and"
        " layers that have arrived are kept. Run make deploy again."
    )
