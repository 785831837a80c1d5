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
        "VOLUMES": "shop-files:/files shop-old:/old:ro /srv/x:/x:ro",
        "RUN_OPTIONS": "--label 'a b=c d' --network backend",
    }
    found = options(**changed)
    assert has(found, ["--volume", "shop-files:/files:nocopy"])
    assert has(found, ["--volume", "shop-old:/old:ro,nocopy", "--volume", "/srv/x:/x:ro"])
    assert found[-4:] == ["--label", "a b=c d", "--network", "backend"]
    kept = ["shop-files:/files", "shop-old:/old"]
    assert run_options.volumes(settings.resolve(SETTINGS, changed)) == kept


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
        (["--network", "container:vpn"], True),
        (["--net=name=host"], False),
        (["--network", "host"], True),
        (["--network=host"], True),
        (["--net", "host"], True),
        (["--network", "backend"], False),
        (["--label", "host"], False),
    ],
)
def test_a_shared_network_is_recognised(chosen: list[str], shared: bool) -> None:
    """Nothing is published then: the ports are the machine's own."""
    assert run_options.shares_a_network(chosen) is shared


def test_the_time_to_end_is_a_setting() -> None:
    """Docker kills what has not ended then."""
    assert has(options(), ["--stop-timeout", "10"])
    assert has(options(STOP_TIMEOUT="90"), ["--stop-timeout", "90"])
    own = WORKER + "STOP_TIMEOUT_worker := 300\n"
    found = settings.resolve(own, {"PROGRAM": "worker"})
    assert has(run_options.options(found), ["--stop-timeout", "300"])
    assert has(run_options.options(settings.resolve(own, {})), ["--stop-timeout", "10"])
    typed = {"PROGRAM": "worker", "STOP_TIMEOUT": "5"}
    found = settings.resolve(own, typed)
    assert has(run_options.options(found), ["--stop-timeout", "5"])


@pytest.mark.parametrize(
    ("changed", "has_one"),
    [
        ({}, True),
        ({"HEALTH": "tcp"}, True),
        ({"RUN_OPTIONS": "--network backend"}, True),
        ({"CANDIDATE": "no"}, False),
        ({"PROGRAM": "worker"}, False),
        ({"PROGRAM": "tidy"}, False),
        ({"HEALTH": "ends"}, False),
        ({"HEALTH": "none"}, False),
        ({"RUN_OPTIONS": "--network host"}, False),
    ],
)
def test_only_what_answers_on_a_port_has_a_candidate(
    changed: dict[str, str], has_one: bool
) -> None:
    """A second worker would take jobs."""
    found = settings.resolve(WORKER, changed)
    assert run_options.may_have_a_candidate(found) is has_one


@pytest.mark.parametrize(
    "words",
    [
        "--network-alias api",
        "--network-alias=api",
        "--net-alias api",
        "--label traefik.enable=true",
        "-l caddy=shop.example.org",
        "-lcaddy=shop.example.org",
        "--label-file labels",
        "--hostname shop",
        "-h shop",
        "--ip 172.30.0.9",
        "--ip6=fd00::9",
        "--mac-address 02:42:ac:11:00:02",
        "--env VIRTUAL_HOST=shop.example.org",
        "--env=VIRTUAL_PORT=80",
        "-e LETSENCRYPT_HOST=shop.example.org",
        "-eVIRTUAL_HOST=shop.example.org",
        "-e VIRTUAL_HOST",
    ],
)
def test_nobody_finds_a_candidate(words: str) -> None:
    """All other options are as those of the release."""
    rest = ["--init", "--network", "backend", "--env", "VIRTUAL_ENV=/x", "--memory=1g"]
    assert run_options.of_candidate([*rest[:3], *words.split(), *rest[3:]]) == rest


def test_nobody_finds_a_candidate_by_a_part_of_a_value() -> None:
    """The network option has an extended form."""
    found = run_options.of_candidate(["--network=name=backend,alias=api,ip=172.30.0.9"])
    assert found == ["--network", "name=backend"]


def test_a_release_without_a_published_port_has_its_name_as_an_alias() -> None:
    """Its container has the name only later. Networks that know no aliases get none."""
    found = settings.resolve(SETTINGS, {"BIND": "none"})
    assert run_options.published(found, "none") == []
    label = ["--label", "slipway.overlaps=yes"]
    for network, alias in (
        ("--network backend", ["--network-alias", "shop"]),
        ("--network bridge", []),
        ("--network name=backend", []),
        ("", []),
    ):
        assert run_options.overlapping(found, network.split()) == label + alias


def test_a_port_with_an_address_of_its_own_is_published_in_any_case() -> None:
    """BIND is that of the others."""
    ports = "9000:90 127.0.0.1:9001:91"
    assert published("none", PORTS=ports) == ["127.0.0.1:9001:91"]


def test_known_servers_have_an_option_of_their_own() -> None:
    """Within a shell's command line as well."""
    assert "--timeout-graceful-shutdown 5" in run_options.stop_hint("uvicorn shop:app")
    assert "--graceful-timeout 5" in run_options.stop_hint("sh -c 'migrate && exec gunicorn shop'")
    assert run_options.stop_hint("serve-the-shop") == ""
