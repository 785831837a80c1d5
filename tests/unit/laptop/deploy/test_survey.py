"""What a server has: asked in one go, and read in spite of what login scripts print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway.laptop.deploy import survey as server
from slipway.laptop.servers import ssh
from slipway.laptop.servers import survey as server_survey
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


def told(*lines: str) -> Any:
    """Parse what a survey says."""
    return server.parse("".join(f"slipway {line}\n" for line in lines))


def container(**changed: Any) -> Any:
    """Give a container as a survey says it."""
    return told(f"container {json.dumps({**RELEASE, **changed})}").containers[0]


@pytest.mark.parametrize(
    ("docker", "sudo", "expected"),
    [
        ("echo 26.1 amd64", "exit 1", ("docker", "amd64")),
        ("echo denied >&2; exit 1", "echo 27.0 arm64", ("sudo -n docker", "arm64")),
    ],
)
def test_docker_is_used_as_the_account_may(
    here: Any, program: Program, docker: str, sudo: str, expected: tuple[str, str]
) -> None:
    """Directly, or by sudo where that asks for no password."""
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
            "this account may not use docker there: sudo usermod -aG docker ACCOUNT",
        ),
        (
            "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the"
            " docker daemon running?' >&2; exit 1",
            "its Docker engine is stopped: sudo systemctl start docker",
        ),
        ("echo podman version 5.4", "its docker is podman, which brings no container back"),
    ],
)
def test_a_server_without_a_working_docker_is_told_apart(
    here: Any, program: Program, docker: str, says: str
) -> None:
    """What docker itself says counts, not what sudo adds to it."""
    program("docker", docker)
    program("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    with pytest.raises(ssh.ConnectionFailed, match=f"^server: {says}"):
        server.survey(here, "shop")


def test_what_a_login_script_prints_is_no_answer() -> None:
    """Whatever it says."""
    facts = server.parse("mind slipway docker\nslipway docker docker\n slipway \nslipway gzip\n")
    assert (facts.docker, facts.has_gzip) == ("docker", True)


def test_everything_that_is_told_is_understood() -> None:
    """Lines that server-survey.sh writes."""
    facts = told(
        "docker sudo -n docker",
        "engine 26.1.5+dfsg1 amd64 1.45",
        "security [name=seccomp,profile=builtin name=rootless]",
        "free /dev/vda 100 50 40 60% /",
        'layers ["sha256:a","sha256:b"]',
        "layers null",
        "listens 0100007F:1F91",
        "listens 00000000000000000000000000000000:0016",
        "lock alive 17 3 b me@here 2026-01-02T03:04:05Z abc-1",
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
    assert "may not write in /home there" in facts.closed
    assert server_survey.describe_lock(facts.lock) == (
        "me@here, since 2026-01-02T03:04:05Z, for abc-1 (process 17 on the server)"
    )


@pytest.mark.parametrize(
    ("changed", "health", "well"),
    [
        ({}, "healthy", True),
        ({"health": ""}, "steady", True),
        ({"health": "starting"}, "starting", False),
        ({"health": "unhealthy"}, "unhealthy", False),
        ({"running": False, "status": "exited", "health": "healthy"}, "exited", False),
        ({"status": "restarting", "health": ""}, "restarting", False),
    ],
)
def test_health_is_one_word(changed: dict[str, Any], health: str, well: bool) -> None:
    """A container without a check is steady while it runs."""
    found = container(**changed)
    assert (found.health, found.is_well) == (health, well)


def test_published_tcp_ports_are_known() -> None:
    """Those of UDP are no conflict."""
    assert container().ports == (("", 8081),)
    assert container(ports=None).ports == ()


def test_releases_are_in_the_order_of_a_report() -> None:
    """What runs, the previous one, older ones, what failed, what is unfinished."""
    names = ["shop-next", "shop-failed", "shop-abc-1", "shop-previous", "shop", "shop-abc-2"]
    listed = [f"container {json.dumps({**RELEASE, 'name': f'/{name}'})}" for name in names]
    other = {**RELEASE, "name": "/other", "labels": None}
    facts = told(*listed, f"container {json.dumps(other)}")
    assert [each.name for each in facts.releases("shop")] == [
        "shop",
        "shop-previous",
        "shop-abc-1",
        "shop-abc-2",
        "shop-failed",
        "shop-next",
    ]


def test_a_disk_without_room_is_told(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a home directory that is not there the first folder above it counts."""
    monkeypatch.setenv("HOME", "/proc/no/home")
    text = server_survey.script("server-lock.sh", "server-survey.sh")
    variables = ssh.assignments({"PROJECT": "shop", "BY": "me"})
    said = here.ask_script(f"{variables}{text}\nset +eu\nsurvey_machine\n").stdout
    assert "slipway full /tmp\n" not in said
    # a disk of no size
    assert "slipway full /proc\n" in said
