"""The password of the registry on loopback: other accounts of this machine neither push nor pull.

It is a folder of this account for each port. Docker's push takes the password from it, in the form
of Docker's own configuration. The registry gets a bcrypt hash of it (htpasswd), which Perl of the
base image makes, because Python's standard library has no bcrypt. The password is new each time
that the registry is started, since another program may have listened on the port meanwhile.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import string
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slipway.laptop.docker import engine
from slipway.shared import files

ADDRESS = "127.0.0.1"  # never `localhost`, which may be ::1
USER = "slipway"
# The password has 256 random bits, so that bcrypt's least cost is enough. Each request pays it.
HASH = 'print crypt(<STDIN>, "\\$2b\\$04\\$$ARGV[0]")'
HASHED = re.compile(r"\$2b\$04\$[./A-Za-z0-9]{53}")
SALT = "./" + string.ascii_letters + string.digits
# What a user's configuration of Docker has for other registries.
OTHERS = ("auths", "credsStore", "credHelpers")


def folder(port: int | str) -> Path:
    """Return the folder that has the password of the registry on a port."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "slipway", f"registry-{port}")


def htpasswd(port: int | str) -> Path:
    """Return the file with the hash, which the registry reads."""
    return folder(port) / "htpasswd"


def configuration(port: int | str) -> Path:
    """Return the file with the password, in the form of Docker's configuration."""
    return folder(port) / "config.json"


def authorization(port: int) -> dict[str, str]:
    """Return the header field that a request to the registry needs; empty without a password."""
    entry = _read(configuration(port)).get("auths", {}).get(f"{ADDRESS}:{port}", {})
    return {"Authorization": f"Basic {entry['auth']}"} if "auth" in entry else {}


def basic(password: str) -> str:
    """Return what follows `Basic` in the header field for a password (RFC 7617)."""
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


def for_docker(address: str, auth: str) -> dict[str, Any]:
    """Return the part of Docker's configuration that has the password for an address."""
    return {"auths": {address: {"auth": auth}}}


def renew(settings: dict[str, str]) -> None:
    """Make a new password; raise EngineError if the base image cannot be run."""
    port = settings["REGISTRY_PORT"]
    password = secrets.token_urlsafe(32)
    salt = "".join(secrets.choice(SALT) for _ in range(22))
    words = ("run", "--rm", "--interactive", "--network", "none", "--entrypoint", "perl")
    image = f"{settings['IMAGES']}-base"
    done = subprocess.run(
        engine.command(settings["DOCKER"], *words, image, "-e", HASH, salt),
        input=password,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not HASHED.fullmatch(done.stdout):
        raise engine.EngineError(
            "no password for the registry could be made in the base image:"
            f" {engine.explain(settings['DOCKER'], done.stderr)}"
        )
    # The registry may run without the right to read other accounts' private files.
    files.write(htpasswd(port), f"{USER}:{done.stdout}\n")
    keep(port, basic(password))


def use_docker_settings(port: int | str) -> None:
    """Copy the user's settings of Docker, beside the password, for docker's --config."""
    keep(port, authorization(int(port)).get("Authorization", "").partition(" ")[2])
    # Docker looks up there how to reach the engine.
    contexts = folder(port) / "contexts"
    if not contexts.is_symlink():
        contexts.symlink_to(_users_folder() / "contexts")


def forget(port: int | str) -> None:
    """Remove the password of a registry that was stopped."""
    shutil.rmtree(folder(port), ignore_errors=True)


@contextlib.contextmanager
def locked(port: int | str) -> Iterator[None]:
    """Hold the lock of the registry on a port, which one process at a time starts."""
    folder(port).parent.mkdir(parents=True, exist_ok=True)
    folder(port).mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder(port), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def keep(port: int | str, auth: str) -> None:
    """Write the password, as `basic` returns it, beside the user's settings of Docker."""
    own = _read(_users_folder() / "config.json")
    found = {name: value for name, value in own.items() if name not in OTHERS}
    text = json.dumps({**found, **for_docker(f"{ADDRESS}:{port}", auth)}, indent=1)
    path = configuration(port)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        files.write(path, text, 0o600)


def _users_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
