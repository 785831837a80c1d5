"""The time until a container's first answer, and the files that it writes until then."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence

from testbed.console import HarnessError, last_lines
from testbed.engine import Engine

NAME = "bench-start"
# docker adds this file itself, because of --init.
INIT = "/usr/sbin/docker-init"
SECONDS = 60
PAUSE = 0.005
# A packet to an address that is not up yet is repeated only after a second. A new connection is
# quicker.
CONNECT_SECONDS = 0.02
ANSWER_SECONDS = 5


def seconds_to_answer(
    engine: Engine, image: str, options: Sequence[str], port: int, text: str
) -> float:
    """Start a container; return the seconds until its first answer that contains the text.

    The request goes to the container's own address and port: a published port accepts connections
    before the container does, and lets them wait. The container keeps running.
    Raises HarnessError, with the container's last lines, if there is no answer.
    """
    engine.succeeds("docker", "rm", "--force", "--volumes", NAME)
    start = time.monotonic()
    engine.run("docker", "run", "--detach", "--name", NAME, *options, image)
    address = "{{.NetworkSettings.IPAddress}}"
    address = engine.run("docker", "inspect", "--format", address, NAME).strip()
    while text not in _answer(address, port):
        if not address or time.monotonic() - start > SECONDS:
            log = engine.run("sh", "-c", f"docker logs {NAME} 2>&1")
            raise HarnessError(
                f"bench: {image} does not answer within {SECONDS} seconds\n{last_lines(log)}"
            )
        time.sleep(PAUSE)
    return time.monotonic() - start


def written(engine: Engine) -> list[str]:
    """Return the container's changes of its own file system, as lines of `docker diff`."""
    return changes(engine.run("docker", "diff", NAME))


def changes(diff: str) -> list[str]:
    """Return the lines of `docker diff` without those that `docker run --init` causes."""
    return [
        line for line in diff.splitlines() if not f"{INIT}/".startswith(f"{line.split(' ', 1)[1]}/")
    ]


def end(engine: Engine) -> None:
    """Remove the container."""
    engine.succeeds("docker", "rm", "--force", "--volumes", NAME)


def _answer(address: str, port: int) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=CONNECT_SECONDS)
    try:
        connection.connect()
        connection.sock.settimeout(ANSWER_SECONDS)
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.read().decode(errors="replace") if response.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
