"""Advice on a container that is not healthy: which setting its log asks for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from slipway.laptop.docker import log_advice


def advice(log: str, mounts: Sequence[dict[str, Any]] = (), release: str = "") -> str:
    """Return the advice on a container with this log, of the release `abc`."""
    labels = {"slipway.release": "abc"}
    found = [{"Config": {"User": "10001:10001", "Labels": labels}, "Mounts": list(mounts)}]

    def docker(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if words[0] == "logs":
            return subprocess.CompletedProcess(words, 0, "starts\n", f"{log}\nends\n")
        return subprocess.CompletedProcess(words, 0, json.dumps(found), "")

    return "\n".join(log_advice.of_container(docker, "shop-failed", "shop", release))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("OSError: [Errno 30] Read-only file system: 'mlruns'", "may not write to mlruns. It"),
        ('PermissionError: [Errno 13] Permission denied: "/data"', "may not write to /data. It"),
        ("sqlite3.OperationalError: unable to open database file", "may not write to a file. It"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'git'", "FIND=bin/git"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'config.json'", ""),
        ("KeyError: 'SECRET_KEY'", "if SECRET_KEY is an environment variable"),
        ("KeyError: 'name'", ""),
        ("socket.gaierror: [Errno -2] Name or service not known", "RUN_OPTIONS := --network NAME"),
    ],
)
def test_a_log_leads_to_the_setting(line: str, says: str) -> None:
    """A place that may be written to, a program's package, a variable or a network."""
    found = advice(line)
    assert says in found
    assert bool(found) == bool(says)
    assert ("VOLUMES := shop-files:/files" in found) == ("may not" in says)


@pytest.mark.parametrize(
    ("may_write", "says"),
    [(True, "sudo chown -R 10001:10001 /srv/its files"), (False, "makes /data read-only")],
)
def test_a_volume_that_may_not_be_written_to_is_named(may_write: bool, says: str) -> None:
    """The advice has the owner that it needs, or says that it is read-only."""
    mount = {"RW": may_write, "Destination": "/data", "Source": "/srv/its files"}
    found = advice("PermissionError: [Errno 13] Permission denied: '/data/x'", [mount])
    assert "may not write to /data/x: " in found
    assert says in found
    assert "/files" not in found


def test_a_container_of_another_release_is_not_looked_at() -> None:
    """It may be left from an earlier deploy."""
    assert advice("KeyError: 'SECRET_KEY'", release="other") == ""
    assert advice("KeyError: 'SECRET_KEY'", release="abc") != ""
