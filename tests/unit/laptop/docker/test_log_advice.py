"""Advice on a container that is not healthy: which setting its log asks for."""

from __future__ import annotations

import json
import subprocess
import types
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from slipway.laptop.docker import log_advice

# As run_options.py sets them, and docker by itself.
LIMITS = {"PidsLimit": 512, "Memory": 1 << 30, "ShmSize": 64 << 20}


def advice(
    log: str,
    mounts: Sequence[dict[str, Any]] = (),
    release: str = "",
    limits: Mapping[str, Any] = LIMITS,
    state: Mapping[str, Any] = types.MappingProxyType({}),
) -> str:
    """Return the advice on a container with this log, of the release `abc`."""
    config = {"User": "10001:10001", "Labels": {"slipway.release": "abc"}}
    found = [
        {"Config": config, "Mounts": list(mounts), "HostConfig": {**limits}, "State": {**state}}
    ]

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
        ("sh: 1: git: not found", "FIND=bin/git"),
        ("No such file or directory: '/etc/mime.types'", "make native FIND=/etc/mime.types"),
        ("No such file or directory: '/srv/config'", ""),
        ("libGL.so.1: cannot open shared object file: No such file", "make native FIND=libGL.so.1"),
        (
            "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify"
            " failed: unable to get local issuer certificate (_ssl.c:1032)",
            "set RUN_CA := yes in deploy/settings.mk",
        ),
        ("SSL error: certificate verify failed", "RUN_CA := yes"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired", ""),
        ("certificate verify failed: Hostname mismatch, certificate is not valid for 'db'", ""),
        ('root certificate file "/tmp/.postgresql/root.crt" does not exist', "set PGSSLROOTCERT="),
        (
            "zoneinfo._common.ZoneInfoNotFoundError: 'No time zone found with key US/Easter'",
            "US/Easter is not the name of a time zone",
        ),
        ("pytz.exceptions.UnknownTimeZoneError: 'Nowhere'", "Nowhere is not the name of a time"),
        ("locale.Error: unsupported locale setting", "NATIVE := locale:de_DE.UTF-8"),
        ("RuntimeError: can't start new thread", "its limit of 512 processes and threads: raise"),
        (
            "    self.pid = _fork_exec(\n               ~~~~^\n        args,\n        ^^^\n"
            "BlockingIOError: [Errno 11] Resource temporarily unavailable",
            "raise PIDS",
        ),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", ""),
        ("[ERROR] Worker (pid:8) was sent SIGKILL! Perhaps out of memory?", "1024 MB of memory"),
        ("MemoryError", "raise MEMORY in deploy/settings.mk"),
        ("OSError: [Errno 24] Too many open files", "RUN_OPTIONS := --ulimit nofile=65536"),
        ("OSError: [Errno 28] No space left on device: '/psm_1a2b'", "has 64 MB. To make it"),
        ("OSError: [Errno 28] No space left on device: '/dev/shm/x'", "RUN_OPTIONS := --shm-size"),
        ("OSError: [Errno 28] No space left on device: '/files/x'", "a disk is full"),
        ("OSError: [Errno 28] inotify watch limit reached", ""),
        ("sqlite3.OperationalError: database or disk is full", "a disk is full"),
        ("PermissionError: [Errno 1] Operation not permitted", "UNHARDEN := non-root capabilities"),
    ],
)
def test_a_log_leads_to_the_setting(line: str, says: str) -> None:
    """What is missing in the image, and which limit was reached; each in one line."""
    found = advice(line)
    assert says in found
    assert bool(found) == bool(says)
    assert found.count("\n") == 0
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


@pytest.mark.parametrize("log", ["can't start new thread", "MemoryError"])
def test_a_limit_that_the_container_does_not_have_is_not_named(log: str) -> None:
    """UNHARDEN may leave it out."""
    assert advice(log)
    assert advice(log, limits={}) == advice(log, limits=dict.fromkeys(LIMITS, 0)) == ""


def test_memory_that_a_child_process_used_up_is_named() -> None:
    """Docker reports it, also if the log does not; the end of the application itself was shown."""
    assert "1024 MB of memory" in advice("", state={"OOMKilled": True, "ExitCode": 0})
    assert advice("MemoryError", state={"OOMKilled": True, "ExitCode": 137}) == ""


def test_shared_memory_that_was_filled_is_named() -> None:
    """The application ends by a signal, and cannot write a word into its log."""
    assert "/dev/shm, which has 64 MB" in advice("", state={"ExitCode": 135})


def test_control_characters_of_a_log_are_not_repeated() -> None:
    """A log may have anything in it."""
    assert "\x1b" not in advice("No such file or directory: '/etc/\x1b[2Jx'")
    assert "\x1b" not in advice("Permission denied: '/data\x1b[2J'")
