"""How long a container takes to its first answer, and what it writes until then."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence

from testbed.console import HarnessError, last_lines
from testbed.engine import Engine

NAME = "bench-start"
# docker puts it there itself, for --init.
INIT = "/usr/sbin/docker-init"
SECONDS = 60
PAUSE = 0.005
# A packet to an address that is not up yet is sent again only after a second: rather connect anew.
CONNECT_SECONDS = 0.02
ANSWER_SECONDS = 5


def seconds_to_answer(
    engine: Engine, image: str, options: Sequence[str], port: int, text: str
) -> float:
    """Seconds from `docker run` to the first answer with that text in it. The container stays.

    port is the container's. It is asked at its own address: a published port takes connections for
    a container that takes none yet, and lets them wait.
    Raises HarnessError, with the container's last lines, when there is no answer.
    """
    engine.succeeds("docker", "rm", "--force", "--volumes", NAME)
    start = time.monotonic()
    engine.run("docker", "run", "--detach", "--name", NAME, *options, image)
    address = "{{.NetworkSettings.IPAddress}}"
    address = engine.run("docker", "inspect", "--format", address, NAME).strip()
    while text not in _answer(address, port):
        if not address or time.monotonic() - start > SECONDS:
            log = engine.run("sh", "-c", f"docker logs {NAME} 2>&1")
            raise HarnessError(f"bench: {image} does not answer\n{last_lines(log)}")
        time.sleep(PAUSE)
    return time.monotonic() - start


def written(engine: Engine) -> list[str]:
    """What the container has changed on its own file system, as `docker diff` says it."""
    return changes(engine.run("docker", "diff", NAME))


def changes(diff: str) -> list[str]:
    """The lines of `docker diff` without those that `docker run --init` accounts for."""
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
