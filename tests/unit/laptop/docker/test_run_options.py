"""The options with which the run image is started, here and on a server."""

from __future__ import annotations

import pytest

from slipway.laptop.docker import run_options
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS


def options(**changed: str) -> list[str]:
    """Return the options for plain settings with these changes."""
    found: list[str] = run_options.options(settings.resolve(SETTINGS, changed))
    return found


def published(address: str, **changed: str) -> list[str]:
    """Return what is published for plain settings with these changes."""
    found: list[str] = run_options.published(settings.resolve(SETTINGS, changed), address)
    assert found[::2] == ["--publish"] * (len(found) // 2)
    return found[1::2]


HARDENING = [
    ("init", ["--init"]),
    ("read-only", ["--read-only"]),
    ("read-only", ["--tmpfs", "/tmp:rw,nosuid,nodev,mode=1777"]),
    ("capabilities", ["--cap-drop", "ALL"]),
    ("privileges", ["--security-opt", "no-new-privileges"]),
    ("pids", ["--pids-limit", "512"]),
    ("memory", ["--memory", "1g"]),
    ("memory", ["--memory-swap", "1g"]),
    ("log", ["--log-opt", "max-size=10m"]),
]


def has(found: list[str], wanted: list[str]) -> bool:
    """Return whether words stand in a list one after the other."""
    return any(found[n : n + len(wanted)] == wanted for n in range(len(found)))


@pytest.mark.parametrize(("name", "wanted"), HARDENING)
def test_a_container_may_do_as_little_as_possible(name: str, wanted: list[str]) -> None:
    """Each of the hardening options is there, next to its value, and is turned off by name."""
    assert has(options(), wanted)
    assert not has(options(UNHARDEN=name), wanted)
    assert len(options(UNHARDEN=f"{name} non-root")) < len(options()) + 2


WORKER = SETTINGS + "COMMAND_worker := work\nCOMMAND_tidy := tidy\nHEALTH_tidy := ends\n"


def test_another_program_of_the_image_has_no_port_and_no_check() -> None:
    """It is started by its own start script; a job is marked as what ends."""
    found = settings.resolve(WORKER, {"PROGRAM": "worker"})
    assert has(run_options.options(found), ["--entrypoint", "/appenv/start-worker"])
    assert "--no-healthcheck" in run_options.options(found)
    assert "slipway.ends=yes" not in run_options.options(found)
    assert run_options.published(found, "0.0.0.0") == []
    job = settings.resolve(WORKER, {"PROGRAM": "tidy"})
    assert has(run_options.options(job), ["--label", "slipway.ends=yes"])
    whole = settings.resolve(SETTINGS, {"HEALTH": "ends"})
    assert "--entrypoint" not in run_options.options(whole)
    assert has(run_options.options(whole), ["--label", "slipway.ends=yes"])
    assert run_options.published(whole, "0.0.0.0") == []


def test_root_is_only_who_asks_for_it() -> None:
    """The image's own user runs it otherwise."""
    assert "--user" not in options()
    assert has(options(UNHARDEN="non-root"), ["--user", "0:0"])


def test_limits_are_settings() -> None:
    """Memory and processes."""
    found = options(MEMORY="64m", PIDS="7")
    assert has(found, ["--memory", "64m", "--memory-swap", "64m"])
    assert has(found, ["--pids-limit", "7"])


def test_volumes_and_own_options_are_passed_on() -> None:
    """Folders of the machine are not among those that docker has to make."""
    changed = {
        "VOLUMES": "shop-files:/files /srv/x:/x:ro",
        "RUN_OPTIONS": "--label 'a b=c d' --network backend",
    }
    found = options(**changed)
    assert has(found, ["--volume", "shop-files:/files", "--volume", "/srv/x:/x:ro"])
    assert found[-4:] == ["--label", "a b=c d", "--network", "backend"]
    assert run_options.volumes(settings.resolve(SETTINGS, changed)) == ["shop-files"]


def test_the_port_of_the_image_is_published_where_it_is_asked_for() -> None:
    """`make run PORT=9000` maps 9000 to the port that the application listens on."""
    assert published("127.0.0.1", PORT="9000") == ["127.0.0.1:9000:8081"]


def test_more_ports_are_published_at_the_same_address_or_at_their_own() -> None:
    """As docker's own option has them."""
    ports = published("0.0.0.0", PORTS="9000:90/udp 127.0.0.1:9001:91")
    assert ports[1:] == ["0.0.0.0:9000:90/udp", "127.0.0.1:9001:91"]


@pytest.mark.parametrize(("health", "unchecked"), [("/", False), ("tcp", False), ("none", True)])
def test_health_none_turns_the_check_off(health: str, unchecked: bool) -> None:
    """Only who asks for it goes without a health check."""
    assert ("--no-healthcheck" in options(HEALTH=health)) is unchecked


@pytest.mark.parametrize(
    ("chosen", "shared"),
    [
        (["--network", "host"], True),
        (["--network=host"], True),
        (["--net", "host"], True),
        (["--network", "backend"], False),
        (["--label", "host"], False),
    ],
)
def test_a_shared_network_is_recognised(chosen: list[str], shared: bool) -> None:
    """Nothing is published then: the ports are the machine's own."""
    assert run_options.is_on_the_host(chosen) is shared
