#!/usr/bin/env python3
"""How the run image is started: one list of options, the same here and on a server.

`container.py PUBLISH` prints the options of `docker run`, quoted for a shell.
"""

from __future__ import annotations

import shlex
import sys

from settings import load


def options(settings: dict[str, str], publish: str) -> list[str]:
    """Give the options of `docker run`; publish is `address:port` on the machine that runs it."""
    chosen = [
        # passes SIGTERM on to an application that forgot to handle it, and reaps its children
        "--init",
        # no local mutable files: what an application may write is gone with the container
        "--read-only",
        *("--tmpfs", "/tmp:rw,nosuid,nodev,mode=1777"),
        *("--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges"),
        *("--pids-limit", "512"),
        # a log that grows for ever fills the server's disk
        *("--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=3"),
        *("--publish", f"{publish}:{settings['IMAGE_PORT']}"),
    ]
    if settings["HEALTH"] == "none":
        chosen.append("--no-healthcheck")
    return chosen


if __name__ == "__main__":
    print(shlex.join(options(load(), sys.argv[1])))
