"""All settings: name, default, meaning and accepted values. The reference page is made of this."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from slipway.laptop.console import SettingsError

# A word of a command line as a shell reads it too: whatever only a shell would expand stands in
# single quotes, or is no part of it.
WORD = (
    r"""(?:[^\s'"\\$`;&|<>()\[\]{}*?~#\x00-\x1f]"""
    r"""|'[^'\x00-\x1f]*'|"(?:[^"\\$`\x00-\x1f]|\\[^$`\x00-\x1f])*")+"""
)
PORT = "port"
SECONDS = "seconds"
COUNT = "count"


class Setting(NamedTuple):
    """One setting.

    Attributes:
        name: as it is written in settings.mk, or on make's command line.
        group: where it is listed: application, container, deploy, laptop or command.
        summary: what it is, in one line.
        default: its value where nobody sets it.
        accepts: a regular expression of whole values, or PORT, SECONDS or COUNT.
        hint: what to write instead of a value that is not accepted.
        from_environment: whether a variable of that name in the environment counts where
            settings.mk does not set it. Words that may mean something else there do not.
        later: what to write where it is still empty, as it may be until `make adopt` or the owner
            sets it; other settings without a default cannot be empty.
        zero: whether 0 is a number for it.
        is_command_line: whether it is split as a shell would, so that blanks in quotes count.
    """

    name: str
    group: str
    summary: str
    default: str = ""
    accepts: str = ""
    hint: str = ""
    from_environment: bool = True
    later: str = ""
    zero: bool = False
    is_command_line: bool = False


SETTINGS = (
    Setting(
        "PROJECT",
        "application",
        "project name; the images are called PROJECT-base, PROJECT-builder and PROJECT-run",
        accepts=r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*",
        hint="lowercase letters and digits with single . _ or - between them, as in `deployme`",
    ),
    Setting(
        "PYTHON",
        "application",
        "interpreter: pypy3 or python3, also with a version such as python3.13",
        default="python3",
        accepts=r"(?:pypy|python)3(?:\.\d+)?",
        hint="`pypy3` or `python3`",
        later="pypy3 or python3",
    ),
    Setting(
        "NATIVE",
        "application",
        "C libraries that the Python packages need, by any common name; apt:PACKAGE; build:PACKAGE"
        " for the build only; locale:de_DE.UTF-8; auto adds what a build misses",
    ),
    Setting(
        "CHECK_IMAGE",
        "application",
        "check every new image for missing libraries and failing imports: yes or no",
        default="yes",
        accepts=r"yes|no",
        hint="`yes`, or `no` to leave that to `make check-image`",
    ),
    Setting(
        "COMMAND",
        "application",
        "console script and arguments that the container runs; COMMAND_NAME adds another program",
        accepts=rf"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:[ \t]+{WORD})*",
        hint="a console script and its arguments, as in `run-the-app` or"
        " `gunicorn -w 2 'shop:app()'`; and what only a shell can read as `sh -c '…'`",
        later="the command that starts the application",
        is_command_line=True,
    ),
    Setting(
        "FILES",
        "application",
        "files and folders to copy unchanged, for applications without a pyproject.toml",
        accepts=r"(?:(?: |^)(?!/|deploy(?: |$)|(?:\S*/)?\.\.(?:[/ ]|$))[^\s\\\"'*?]+)*",
        hint="files and folders of the application, as in `app.py templates static`, or `.` for"
        " all",
        from_environment=False,
    ),
    Setting(
        "BUILD_NETWORK",
        "application",
        "yes gives the builds of packages a network, for those that download something",
        default="no",
        accepts=r"yes|no",
        hint="`yes` if a package downloads something while it is built, or `no`",
    ),
    Setting(
        "PORT",
        "application",
        "port that the application listens on, and where it is published",
        default="8081",
        accepts=PORT,
    ),
    Setting(
        "HEALTH",
        "application",
        "health check: a path requested on PORT, tcp, none, or ends (a one-off job)",
        default="/",
        accepts=r"/[!-~]*|tcp|none|ends",
        hint="a path such as `/`, or `tcp`, `none` or `ends`",
    ),
    Setting(
        "BASE_IMAGE",
        "application",
        "image that everything starts from, with its release",
        default="debian:trixie-slim",
        accepts=r"[A-Za-z0-9][A-Za-z0-9._/:@-]*",
        hint="an image such as `debian:trixie-slim`",
    ),
    Setting(
        "RUN_CA",
        "application",
        "whether the application trusts the certificates in deploy/ca, too: yes or no",
        default="no",
        accepts=r"yes|no",
        hint="`yes`, or `no` to trust them in builds only",
    ),
    Setting(
        "TAG",
        "application",
        "tag that the image gets beside its digest, such as 1.4.0",
        accepts=r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?",
        hint="a tag such as `1.4.0`",
    ),
    Setting(
        "PORTS",
        "container",
        "more published ports: 9000:9000 or 127.0.0.1:9000:9000/udp",
        accepts=r"(?:(?: |^)(?:[0-9.]+:)?[0-9]+:[0-9]+(?:/(?:tcp|udp))?)*",
        hint="more ports than PORT, as `9000:9000` or `127.0.0.1:9000:9000/udp`",
    ),
    Setting(
        "BIND",
        "container",
        "address that a server publishes the ports on, or none behind a proxy in its network",
        default="0.0.0.0",
        accepts=r"[0-9.]+|none",
        hint="the address that the server publishes on: `0.0.0.0`, `127.0.0.1` or `none`",
    ),
    Setting(
        "VOLUMES",
        "container",
        "persistent storage: named volumes (shop-files:/files) or directories (/srv/x:/x:ro)",
        accepts=r"(?:(?: |^)(?:[A-Za-z0-9][A-Za-z0-9_.-]+|/[^:\s]*):/[^:\s]+(?::[a-zA-Z,]+)?)*",
        hint="volumes and where they are in the container, as `shop-files:/files` or"
        " `/srv/x:/x:ro`",
    ),
    Setting(
        "MEMORY",
        "container",
        "memory limit, such as 512m or 2g",
        default="1g",
        accepts=r"[1-9][0-9]*[bkmg]?",
        hint="an amount such as `512m`; to set no limit: UNHARDEN=memory",
    ),
    Setting(
        "PIDS",
        "container",
        "limit of processes and threads",
        default="512",
        accepts=COUNT,
    ),
    Setting(
        "STOP_TIMEOUT",
        "container",
        "seconds that the application has to end after SIGTERM before it is killed;"
        " STOP_TIMEOUT_NAME is that of another program",
        default="10",
        accepts=SECONDS,
        from_environment=False,
    ),
    Setting(
        "UNHARDEN",
        "container",
        "hardening to turn off: non-root read-only capabilities privileges pids memory init log",
        accepts=r"(?:(?: |^)(?:non-root|read-only|capabilities|privileges|pids|memory|init|log))*",
        hint="which of these to turn off: non-root read-only capabilities privileges pids memory"
        " init log",
    ),
    Setting(
        "RUN_OPTIONS",
        "container",
        "more options of docker run, such as --network backend",
        accepts=r"[^\x00-\x1f]*",
        hint="options of docker run, as `--network backend`",
        is_command_line=True,
    ),
    Setting(
        "DEPLOY_HOST",
        "deploy",
        "servers, as user@server or a host of ~/.ssh/config, separated by blanks",
        accepts=r"(?:[A-Za-z0-9._@:\[\]-]+(?: [A-Za-z0-9._@:\[\]-]+)*)?",
        hint="`user@server` or a host of ~/.ssh/config, with the port and keys in ~/.ssh/config",
    ),
    Setting(
        "HEALTH_TIMEOUT",
        "deploy",
        "seconds until a new release must be healthy",
        default="120",
        accepts=SECONDS,
    ),
    Setting(
        "CANDIDATE",
        "deploy",
        "try a new release that answers on a port beside the old one first: yes, or no if it must"
        " not run twice",
        default="yes",
        accepts="yes|no",
        hint="`yes`, or `no` for an application that must not run twice",
        from_environment=False,
    ),
    Setting(
        "STEADY",
        "deploy",
        "seconds that a new release must stay healthy before it replaces the old one",
        default="5",
        accepts=SECONDS,
        from_environment=False,
        zero=True,
    ),
    Setting(
        "WATCH",
        "deploy",
        "seconds after the switch in which a failing release is rolled back",
        default="30",
        accepts=SECONDS,
        from_environment=False,
        zero=True,
    ),
    Setting(
        "KEEP",
        "deploy",
        "number of releases that a server keeps for rollbacks",
        default="3",
        accepts=COUNT,
        from_environment=False,
    ),
    Setting(
        "LOCK_WAIT",
        "deploy",
        "seconds to wait for another deploy to finish",
        default="60",
        accepts=SECONDS,
        zero=True,
    ),
    Setting(
        "PARALLEL",
        "deploy",
        "number of servers to deploy to at a time",
        default="1",
        accepts=COUNT,
        from_environment=False,
    ),
    Setting(
        "DOCKER",
        "laptop",
        "docker command: docker, podman or sudo docker",
        default="docker",
        accepts=r"[ !#-&(-\[\]-~]+",  # split at blanks, without quotes
        hint="the docker command, as in `docker` or `podman`",
    ),
    Setting(
        "SSH",
        "laptop",
        "ssh command with its options, such as ssh -F file",
        default="ssh",
        accepts=r"[ -~]+",
        hint="the ssh command, as in `ssh` or `ssh -F file`",
        is_command_line=True,
    ),
    Setting(
        "PLATFORM",
        "laptop",
        "platform of the image if it is not this machine's, such as linux/arm64",
        accepts=r"(?:linux/[a-z0-9]+(?:/v\d)?)?",
        hint="empty, or such as `linux/arm64`",
    ),
    Setting(
        "BUILD_MEMORY",
        "laptop",
        "memory limit of the builds of packages, such as 2g; none if it is empty",
        accepts=r"(?:[1-9][0-9]*[bkmg]?)?",
        hint="an amount such as `2g`, or nothing for no limit",
    ),
    Setting(
        "REGISTRY_PORT",
        "laptop",
        "port of the registry on 127.0.0.1 here; servers do not see it",
        default="5051",
        accepts=PORT,
    ),
    Setting(
        "PROGRAM",
        "command",
        "another program of the image, which COMMAND_NAME defines",
        from_environment=False,
    ),
    Setting(
        "ON",
        "command",
        "where start, stop, restart and remove work: here or server",
        default="here",
        accepts="here|server",
        hint="`server`, or `here`",
        from_environment=False,
    ),
    Setting(
        "RELEASE",
        "command",
        "release to roll back to, as make releases lists it",
        accepts=r"[0-9a-f]*(?:-[0-9a-f]*)?",
        hint="a release as make releases lists them",
        from_environment=False,
    ),
    Setting(
        "DRY_RUN",
        "command",
        "1 prints the commands that would run, and changes nothing",
    ),
    Setting(
        "FORMAT",
        "command",
        "format of status and releases: text or json",
        default="text",
        accepts="text|json",
        hint="`text` or `json`",
        from_environment=False,
    ),
    Setting("FOLLOW", "command", "1 makes logs continue until Ctrl-C"),
    Setting(
        "LINES",
        "command",
        "number of lines that logs shows",
        default="200",
        accepts=COUNT,
        from_environment=False,
    ),
    Setting(
        "SINCE",
        "command",
        "logs shows lines since then: 10m, 2h or 2026-01-31T12:00:00",
        accepts=r"(?:(?:\d+[smh])+|\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:\d\d)?)?)?",
        hint="a time such as `10m`, `2h` or `2026-01-31T12:00:00`",
        from_environment=False,
    ),
    Setting(
        "GREP",
        "command",
        "regular expression of the lines that logs shows; without it all but health checks",
        from_environment=False,
    ),
)
# Titles of the groups, in the order in which they are listed.
TITLES = {
    "application": "The application and its image",
    "container": "The container",
    "deploy": "Deploys",
    "laptop": "This machine",
    "command": "Single commands",
}
BY_NAME = {setting.name: setting for setting in SETTINGS}
DEFAULTS = {setting.name: setting.default for setting in SETTINGS}

# Variables of single commands that are no settings: they are read from the environment.
VARIABLES = {
    "ADD": "library names to add to NATIVE",
    "FIND": "a missing header, library or program whose Debian package is looked up",
    "YES": "1 writes what make adopt found, or removes what make remove lists, without a question",
    "VERBOSE": "1 shows everything that docker and the builder print",
}

# Names of the image's other programs, such as COMMAND_worker. A container is named after them, and
# these are the names of a release's other containers.
PROGRAM = re.compile(
    r"COMMAND_(?!(?:next|back|try|previous|failed|volumes|local)$)([a-z][a-z0-9_]*)"
)

# Options of docker run that have a setting of their own, or that a deploy sets itself.
OWN_OPTIONS = re.compile(
    r"(?:--(?:name|rm|detach|restart|publish|publish-all|env-file|cidfile)(?:=.*)?|-[dpP].*)"
)


def accepts(name: str, value: str) -> bool:
    """Return whether a setting can have a value, as far as its form goes."""
    return bool(re.fullmatch(BY_NAME[name].accepts, value))


def check(name: str, value: str, where: str) -> None:
    """Raise SettingsError when a value would break a later step; where names its place."""
    setting = BY_NAME[name]
    if setting.accepts == PORT:
        if not re.fullmatch(r"[1-9][0-9]{0,4}", value) or int(value) > 65535:
            raise SettingsError(f"{where} is {value!r}: write a port from 1 to 65535")
    elif setting.accepts in (SECONDS, COUNT):
        least = "0" if setting.zero else "1"
        if not re.fullmatch(rf"[{least}-9]|[1-9][0-9]{{1,5}}", value):
            unit = " of seconds" if setting.accepts == SECONDS else ""
            raise SettingsError(f"{where} is {value!r}: write a whole number{unit}")
    elif setting.accepts:
        if not re.fullmatch(setting.accepts, value):
            raise SettingsError(f"{where} is {value!r}: write {setting.hint}")
        if setting.is_command_line:
            _check_command_line(setting, value, where)


def _check_command_line(setting: Setting, value: str, where: str) -> None:
    try:
        words = shlex.split(value)
    except ValueError:
        raise SettingsError(
            f"{where} is {value!r}: close its quote, or write {setting.hint}"
        ) from None
    own = [word for word in words if OWN_OPTIONS.fullmatch(word)]
    if setting.name == "RUN_OPTIONS" and own:
        raise SettingsError(
            f"{where} has {own[0]}, which a deploy sets itself: use PORT, PORTS, BIND or"
            " deploy/run.env, or leave it out"
        )
