"""How the run image is started: one list of options, the same here and on a server.

The environment comes beside them, from deploy/run.env; see settings/run_env.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable

# What UNHARDEN can turn off, and the options that are left out then.
HARDENING = {
    # passes SIGTERM on to an application that forgot to handle it, and reaps its children
    "init": ["--init"],
    # no local mutable files: what an application may write is gone with the container
    "read-only": ["--read-only", "--tmpfs", "/tmp:rw,nosuid,nodev,mode=1777"],
    "capabilities": ["--cap-drop", "ALL"],
    "privileges": ["--security-opt", "no-new-privileges"],
    "pids": ["--pids-limit", "{PIDS}"],
    # no swap beyond it: an application that leaks ends, and does not slow down the whole server
    "memory": ["--memory", "{MEMORY}", "--memory-swap", "{MEMORY}"],
    # a log that grows for ever fills the server's disk
    "log": ["--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=3"],
}
ROOT_USER = ["--user", "0:0"]

# What others find a container by, or what a second container cannot have as well. A candidate has
# none of these options.
FOUND_BY = frozenset(
    "--network-alias --net-alias --label --label-file --hostname --domainname --ip --ip6"
    " --link-local-ip --mac-address --publish".split()
)
SHORT_FOUND_BY = ("-l", "-h", "-p")
# The same as parts of one value: --network name=backend,alias=api
FOUND_BY_PARTS = ("alias", "ip", "ip6", "link-local-ip", "mac-address")
# Variables by which proxies find a container (nginx-proxy and its acme-companion).
FOUND_BY_VARIABLE = re.compile(
    "VIRTUAL_(?:HOST|HOST_MULTIPORTS|PORT|PATH|DEST|PROTO|ROOT)|LETSENCRYPT_[A-Z_]+"
)
NETWORK = ("--network", "--net")


def options(settings: dict[str, str]) -> list[str]:
    """Return the options of `docker run`, without the ports."""
    without = settings["UNHARDEN"].split()
    chosen = ROOT_USER[:] if "non-root" in without else []
    for name, words in HARDENING.items():
        if name not in without:
            chosen += [word.format_map(settings) for word in words]
    chosen += ["--stop-timeout", settings["STOP_TIMEOUT"]]
    for volume in settings["VOLUMES"].split():
        if not volume.startswith("/"):
            # Docker would copy the image's folder into an empty volume each time, as root's.
            volume += ("," if volume.count(":") > 1 else ":") + "nocopy"
        chosen += ["--volume", volume]
    if settings["HEALTH"] == "none" or not listens(settings):
        chosen.append("--no-healthcheck")
    if settings["ENDS"]:
        chosen += ["--label", "slipway.ends=yes"]
    if settings["PROGRAM"]:
        chosen += ["--entrypoint", f"/appenv/start-{settings['PROGRAM']}"]
    return [*chosen, *shlex.split(settings["RUN_OPTIONS"])]


def listens(settings: dict[str, str]) -> bool:
    """Return whether the application listens on PORT: other programs and one-off jobs do not."""
    return not settings["PROGRAM"] and not settings["ENDS"]


def published(settings: dict[str, str], address: str) -> list[str]:
    """Return the options that publish the ports at an address of the machine, or at `none`."""
    if not listens(settings):
        return []
    found = [f"{address}:{settings['PORT']}:{settings['IMAGE_PORT']}"]
    for port in settings["PORTS"].split():
        found.append(port if port.count(":") == 2 else f"{address}:{port}")
    chosen = (port for port in found if not port.startswith("none:"))
    return [word for port in chosen for word in ("--publish", port)]


def networks(chosen: list[str]) -> list[str]:
    """Return the values of --network in options of docker run."""
    return [
        word.partition("=")[2] if word.startswith(tuple(f"{name}=" for name in NETWORK)) else word
        for before, word in zip(["", *chosen], chosen)
        if before in NETWORK or word.startswith(tuple(f"{name}=" for name in NETWORK))
    ]


def shares_a_network(chosen: list[str]) -> bool:
    """Return whether the container has the network, and so the ports, of something else."""
    return any(name == "host" or name.startswith("container:") for name in networks(chosen))


def may_have_a_candidate(settings: dict[str, str]) -> bool:
    """Return whether a second container may run for a moment, and a check would prove it.

    A program without a port may take work from a queue as soon as it runs.
    """
    return (
        settings["CANDIDATE"] == "yes"
        and listens(settings)
        and settings["HEALTH"] != "none"
        and not shares_a_network(shlex.split(settings["RUN_OPTIONS"]))
    )


def overlapping(settings: dict[str, str], chosen: list[str]) -> list[str]:
    """Return options for a release that publishes no port, so that it need not wait for another.

    It is started before the release that it replaces is stopped. Others find it in its network by
    the name of its container, which it gets later: the alias is there from the start.
    """
    own = [name for name in networks(chosen) if name not in ("none", "bridge", "default")]
    named = own and not any("=" in name for name in own)  # the extended form takes no other alias
    alias = ["--network-alias", settings["SERVICE"]] if named else []
    return ["--label", "slipway.overlaps=yes", *alias]


def hidden(names: Iterable[str]) -> list[str]:
    """Return those of some variables by which others would find a candidate."""
    return [name for name in names if FOUND_BY_VARIABLE.fullmatch(name)]


def of_candidate(chosen: list[str]) -> list[str]:
    """Return options of docker run without those by which others find the container."""
    found: list[str] = []
    words = iter(chosen)
    for word in words:
        name, has_value, value = word.partition("=")
        if name in FOUND_BY or word in SHORT_FOUND_BY:
            if not has_value:
                next(words, "")
        elif word.startswith(SHORT_FOUND_BY) or (
            word.startswith("-e") and hidden([name.partition("-e")[2]])
        ):
            continue
        elif name in (*NETWORK, "--env", "-e"):
            value = value if has_value else next(words, "")
            if name in NETWORK:
                found += [name, _without(value, FOUND_BY_PARTS)]
            elif not hidden([value.partition("=")[0]]):
                found += [name, value]
        else:
            found.append(word)
    return found


def _without(value: str, names: Collection[str]) -> str:
    return ",".join(part for part in value.split(",") if part.partition("=")[0] not in names)


def stop_hint(command: str) -> str:
    """Return the option of a known server that limits how long it waits for open requests."""
    words = shlex.split(command.replace("'", " ").replace('"', " "))
    if "uvicorn" in words:
        return "add --timeout-graceful-shutdown 5 to uvicorn's options"
    if "gunicorn" in words:
        return "add --graceful-timeout 5 to gunicorn's options"
    return ""


def volumes(settings: dict[str, str]) -> list[str]:
    """Return the volumes that docker keeps, as NAME:PLACE, without folders of the machine."""
    found = [volume.split(":")[:2] for volume in settings["VOLUMES"].split()]
    return [f"{name}:{place}" for name, place in found if not name.startswith("/")]
