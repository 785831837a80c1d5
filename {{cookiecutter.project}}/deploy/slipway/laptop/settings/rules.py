"""Names, defaults and accepted values of all settings."""

from __future__ import annotations

import re
import shlex

from slipway.laptop.console import SettingsError

DEFAULTS = {
    "PROJECT": "",
    "PYTHON": "python3",
    "NATIVE": "",
    "CHECK_IMAGE": "yes",
    "COMMAND": "",
    "FILES": "",
    "PORT": "8081",
    "HEALTH": "/",
    "HEALTH_TIMEOUT": "120",
    "BASE_IMAGE": "debian:trixie-slim",
    "DEPLOY_HOST": "",
    "BIND": "0.0.0.0",
    "PORTS": "",
    "VOLUMES": "",
    "MEMORY": "1g",
    "PIDS": "512",
    "UNHARDEN": "",
    "RUN_OPTIONS": "",
    "REGISTRY_PORT": "5051",
    "DOCKER": "docker",
    "SSH": "ssh",
    "PLATFORM": "",
    "TAG": "",
    "CANDIDATE": "yes",
    "KEEP": "3",
    "STEADY": "5",
    "WATCH": "30",
    "LOCK_WAIT": "60",
    "PARALLEL": "1",
    "RELEASE": "",
    "DRY_RUN": "",
    "FORMAT": "text",
    "FOLLOW": "",
    "PROGRAM": "",
}

# A word of a command line as a shell reads it too: what only a shell would do something with stands
# in single quotes, or is no part of it.
WORD = (
    r"""(?:[^\s'"\\$`;&|<>()\[\]{}*?~#\x00-\x1f]"""
    r"""|'[^'\x00-\x1f]*'|"(?:[^"\\$`\x00-\x1f]|\\[^$`\x00-\x1f])*")+"""
)

# What a value may look like, and what to say when it does not.
RULES = {
    "PROJECT": (
        r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*",
        "lowercase letters and digits with single . _ or - between them, as in `deployme`",
    ),
    "PYTHON": (r"(?:pypy|python)3(?:\.\d+)?", "`pypy3` or `python3`"),
    "COMMAND": (
        rf"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:[ \t]+{WORD})*",
        "a console script and its arguments, as in `run-the-app` or `gunicorn -w 2 'shop:app()'`;"
        " and what only a shell can read as `sh -c '…'`",
    ),
    "FILES": (
        r"(?:(?: |^)(?!/|deploy(?: |$)|(?:\S*/)?\.\.(?:[/ ]|$))[^\s\\\"'*?]+)*",
        "files and folders of the application, as in `app.py templates static`, or `.` for all",
    ),
    "CHECK_IMAGE": (r"yes|no", "`yes`, or `no` to leave that to `make check-image`"),
    "HEALTH": (r"/[!-~]*|tcp|none|ends", "a path such as `/`, or `tcp`, `none` or `ends`"),
    "BASE_IMAGE": (r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", "an image such as `debian:trixie-slim`"),
    "DEPLOY_HOST": (
        r"(?:[A-Za-z0-9._@:\[\]-]+(?: [A-Za-z0-9._@:\[\]-]+)*)?",
        "`user@server` or a host of ~/.ssh/config, with the port and keys in ~/.ssh/config",
    ),
    "BIND": (r"[0-9.]+", "the address that the server publishes on: `0.0.0.0` or `127.0.0.1`"),
    "PORTS": (
        r"(?:(?: |^)(?:[0-9.]+:)?[0-9]+:[0-9]+(?:/(?:tcp|udp))?)*",
        "more ports than PORT, as `9000:9000` or `127.0.0.1:9000:9000/udp`",
    ),
    "VOLUMES": (
        r"(?:(?: |^)(?:[A-Za-z0-9][A-Za-z0-9_.-]+|/[^:\s]*):/[^:\s]+(?::[a-zA-Z,]+)?)*",
        "volumes and where they are in the container, as `shop-files:/files` or `/srv/x:/x:ro`",
    ),
    "MEMORY": (r"[1-9][0-9]*[bkmg]?", "an amount such as `512m`; to set no limit: UNHARDEN=memory"),
    "UNHARDEN": (
        r"(?:(?: |^)(?:non-root|read-only|capabilities|privileges|pids|memory|init|log))*",
        "which of these to turn off: non-root read-only capabilities privileges pids memory init"
        " log",
    ),
    "CANDIDATE": ("yes|no", "`yes`, or `no` for an application that must not run twice"),
    "RELEASE": (r"[0-9a-f]*(?:-[0-9a-f]*)?", "a release as make releases lists them"),
    "FORMAT": ("text|json", "`text` or `json`"),
    "PLATFORM": (r"(?:linux/[a-z0-9]+(?:/v\d)?)?", "empty, or such as `linux/arm64`"),
    "TAG": (r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?", "a tag such as `1.4.0`"),
    # the shell scripts split it at blanks, without a thought for quotes
    "DOCKER": (r"[ !#-&(-\[\]-~]+", "the docker command, as in `docker` or `podman`"),
    "SSH": (r"[ -~]+", "the ssh command, as in `ssh` or `ssh -F file`"),
    "RUN_OPTIONS": (r"[^\x00-\x1f]*", "options of docker run, as `--network backend`"),
}
PORTS = ("PORT", "REGISTRY_PORT")
SECONDS = ("HEALTH_TIMEOUT", "STEADY", "WATCH", "LOCK_WAIT")
COUNTS = ("PIDS", "KEEP", "PARALLEL")
# Words that may stand in an environment for something else.
TYPED = (
    "FILES",
    "CANDIDATE",
    "KEEP",
    "STEADY",
    "WATCH",
    "PARALLEL",
    "RELEASE",
    "DRY_RUN",
    "FORMAT",
    "PROGRAM",
)
WORDS = ("COMMAND", "SSH", "RUN_OPTIONS")  # as a shell would read them

# What other commands of the image are called, as COMMAND_worker; a container has its name, and the
# names of a release's other containers are taken.
PROGRAM = re.compile(
    r"COMMAND_(?!(?:next|back|try|previous|failed|volumes|local)$)([a-z][a-z0-9_]*)"
)

# Options of docker run that a deploy has settings for, or sets itself.
OWN_OPTIONS = re.compile(
    r"(?:--(?:name|rm|detach|restart|publish|publish-all|env-file|cidfile)(?:=.*)?|-[dpP].*)"
)


def check(name: str, value: str, where: str) -> None:
    """Raise SettingsError when a value would break a later step."""
    if name in PORTS:
        if not re.fullmatch(r"[1-9][0-9]{0,4}", value) or int(value) > 65535:
            raise SettingsError(f"{where} is {value!r}: write a port from 1 to 65535")
    elif name in (*SECONDS, *COUNTS):
        least = "0" if name in ("STEADY", "WATCH", "LOCK_WAIT") else "1"
        if not re.fullmatch(rf"[{least}-9]|[1-9][0-9]{{1,5}}", value):
            unit = " of seconds" if name in SECONDS else ""
            raise SettingsError(f"{where} is {value!r}: write a whole number{unit}")
    elif name in RULES:
        pattern, say = RULES[name]
        if not re.fullmatch(pattern, value):
            raise SettingsError(f"{where} is {value!r}: write {say}")
        if name in WORDS:
            try:
                words = shlex.split(value)
            except ValueError:
                raise SettingsError(
                    f"{where} is {value!r}: close its quote, or write {say}"
                ) from None
            own = [word for word in words if OWN_OPTIONS.fullmatch(word)]
            if name == "RUN_OPTIONS" and own:
                raise SettingsError(
                    f"{where} has {own[0]}, which a deploy sets itself: use PORT, PORTS, BIND or"
                    " deploy/run.env, or leave it out"
                )
