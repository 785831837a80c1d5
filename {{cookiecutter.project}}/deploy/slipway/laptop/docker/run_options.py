"""How the run image is started: one list of options, the same here and on a server.

The environment comes beside them, from deploy/run.env; see settings/run_env.py.
"""

from __future__ import annotations

import shlex

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


def options(settings: dict[str, str]) -> list[str]:
    """Return the options of `docker run`, without the ports."""
    without = settings["UNHARDEN"].split()
    chosen = ROOT_USER[:] if "non-root" in without else []
    for name, words in HARDENING.items():
        if name not in without:
            chosen += [word.format_map(settings) for word in words]
    for volume in settings["VOLUMES"].split():
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
    """Return the options that publish the ports at an address of the machine."""
    if not listens(settings):
        return []
    found = ["--publish", f"{address}:{settings['PORT']}:{settings['IMAGE_PORT']}"]
    for port in settings["PORTS"].split():
        own = port.count(":") == 2
        found += ["--publish", port if own else f"{address}:{port}"]
    return found


def is_on_the_host(chosen: list[str]) -> bool:
    """Return whether options of docker run share the machine's network, and so its ports."""
    return any(
        word in ("--network=host", "--net=host")
        or (word == "host" and before in ("--network", "--net"))
        for before, word in zip(["", *chosen], chosen)
    )


def volumes(settings: dict[str, str]) -> list[str]:
    """Return the names of the volumes that docker keeps, without folders of the machine."""
    names = [volume.partition(":")[0] for volume in settings["VOLUMES"].split()]
    return [name for name in names if not name.startswith("/")]
