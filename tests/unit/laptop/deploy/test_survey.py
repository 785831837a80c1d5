"""The facts of a server, in spite of the output of login scripts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway.laptop.deploy import survey as server
from slipway.laptop.servers import remote_job, ssh
from slipway.laptop.servers import survey as basic
from tests.unit.conftest import Program

RELEASE = {
    "name": "/shop",
    "labels": {"slipway.project": "shop", "slipway.release": "abc-1"},
    "image": "sha256:1",
    "running": True,
    "status": "running",
    "health": "healthy",
    "started": "2026-01-02T03:04:05.678Z",
    "exit": 0,
    "restarts": 0,
    "policy": "always",
    "ports": {"8081/tcp": [{"HostIp": "", "HostPort": "8081"}], "90/udp": [{"HostPort": "90"}]},
}


def surveyed(*lines: str) -> Any:
    """Parse the lines of a survey."""
    return server.parse("".join(f"slipway {line}\n" for line in lines))


def container(**changed: Any) -> Any:
    """Return a container with these changes."""
    return surveyed(f"container {json.dumps({**RELEASE, **changed})}").containers[0]


@pytest.mark.parametrize(
    ("docker", "sudo", "expected"),
    [
        ("echo 26.1 amd64", "exit 1", ("docker", "amd64")),
        ("echo denied >&2; exit 1", "echo 27.0 arm64", ("sudo -n docker", "arm64")),
    ],
)
def test_docker_is_used_directly_or_by_sudo(
    here: Any, program: Program, docker: str, sudo: str, expected: tuple[str, str]
) -> None:
    """By sudo only where that needs no password."""
    version = 'case "$*" in *"version --format"*) {} ;; esac'
    program("docker", version.format(docker))
    program("sudo", version.format(sudo))
    facts = server.survey(here, "shop")
    assert (facts.docker, facts.architecture) == expected


@pytest.mark.parametrize(
    ("docker", "says"),
    [
        ("echo 'sh: 1: docker: not found' >&2; exit 127", "docker is not installed there"),
        (
            "echo 'permission denied while trying to connect to the Docker daemon socket at"
            " unix:///var/run/docker.sock' >&2; exit 1",
            "this account may not use docker there. Run: sudo usermod -aG docker ACCOUNT",
        ),
        (
            "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the"
            " docker daemon running?' >&2; exit 1",
            "its Docker engine is stopped. Run: sudo systemctl start docker",
        ),
        (
            "echo podman version 5.4",
            "its docker is podman, which starts no container after a reboot",
        ),
    ],
)
def test_each_reason_for_a_docker_that_does_not_work_has_its_advice(
    here: Any, program: Program, docker: str, says: str
) -> None:
    """Docker's own output counts, not that of sudo."""
    program("docker", docker)
    program("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    with pytest.raises(ssh.ConnectionFailed, match=f"^server: {says}"):
        server.survey(here, "shop")


def test_the_output_of_a_login_script_is_skipped() -> None:
    """Only lines that begin with the word are facts."""
    facts = server.parse("mind slipway docker\nslipway docker docker\n slipway \nslipway gzip\n")
    assert (facts.docker, facts.has_gzip) == ("docker", True)


def test_every_fact_is_parsed() -> None:
    """These are lines that survey.sh prints."""
    facts = surveyed(
        "docker sudo -n docker",
        "engine 26.1.5+dfsg1 amd64 1.45",
        "security [name=seccomp,profile=builtin name=rootless]",
        "free /dev/vda 100 50 40 60% /",
        'layers ["sha256:a","sha256:b"]',
        "layers null",
        "listens 0100007F:1F91",
        "listens 00000000000000000000000000000000:0016",
        "lock dead 16 2 b 0 you@here 2026-01-01T03:04:05Z abc-0",
        "lock alive 17 3 b 0 me@here 2026-01-02T03:04:05Z abc-1",
        "lock alive 18 4 b 0 you@here 2026-01-03T03:04:05Z abc-2",
        "log one",
        "log two",
        "locked /home",
    )
    assert (facts.docker, facts.version, facts.architecture) == (
        "sudo -n docker",
        "26.1.5+dfsg1",
        "amd64",
    )
    assert facts.rootless
    assert facts.free == 40 * 1024
    assert facts.images == [["sha256:a", "sha256:b"], []]
    assert facts.listening == {8081, 22}
    assert facts.lock_is_alive
    assert facts.log == ["one", "two"]
    assert "may not write in /home there" in facts.storage_problem
    assert basic.describe_lock(facts.lock) == (
        "me@here, since 2026-01-02T03:04:05Z, for abc-1 (process 17 on the server)"
    )


@pytest.mark.parametrize(
    ("changed", "health", "is_healthy"),
    [
        ({}, "healthy", True),
        ({"health": ""}, "steady", True),
        ({"health": "starting"}, "starting", False),
        ({"health": "unhealthy"}, "unhealthy", False),
        ({"running": False, "status": "exited", "health": "healthy"}, "exited", False),
        ({"status": "restarting", "health": ""}, "restarting", False),
    ],
)
def test_health_is_one_word(changed: dict[str, Any], health: str, is_healthy: bool) -> None:
    """A container without a check is steady while it runs."""
    found = container(**changed)
    assert (found.health, found.is_healthy) == (health, is_healthy)


def test_published_tcp_ports_are_known() -> None:
    """UDP ports cause no conflict."""
    assert container().ports == (("", 8081),)
    assert container(ports=None).ports == ()


def test_releases_are_in_the_order_of_a_report() -> None:
    """Running, previous, older, failed, unfinished."""
    names = ["shop-next", "shop-failed", "shop-abc-1", "shop-previous", "shop", "shop-abc-2"]
    listed = [f"container {json.dumps({**RELEASE, 'name': f'/{name}'})}" for name in names]
    other = {**RELEASE, "name": "/other", "labels": None}
    facts = surveyed(*listed, f"container {json.dumps(other)}")
    assert [each.name for each in facts.releases("shop")] == [
        "shop",
        "shop-previous",
        "shop-abc-1",
        "shop-abc-2",
        "shop-failed",
        "shop-next",
    ]


def test_a_full_disk_is_a_fact(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the home directory does not exist, the first folder above it counts."""
    monkeypatch.setenv("HOME", "/proc/no/home")
    parts = [remote_job.SERVER / name for name in ("lock.sh", "survey.sh")]
    text = "".join(part.read_text("utf-8") for part in parts)
    variables = remote_job.assignments({"PROJECT": "shop", "BY": "me"})
    said = here.ask_script(f"{variables}{text}\nset +eu\nsurvey_machine\n").stdout
    # a disk of no size
    assert "slipway full /proc\n" in said
