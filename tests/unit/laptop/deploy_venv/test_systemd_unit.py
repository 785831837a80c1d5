"""The systemd unit of a release without a container, and the environment as systemd reads it."""

from __future__ import annotations

import shlex

import pytest

from slipway.laptop.deploy_venv import systemd_unit
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS


def lines(is_root: bool = True, **changed: str) -> list[str]:
    """Return the lines of a unit for plain settings with these changes."""
    found = settings.resolve(SETTINGS, changed)
    text: str = systemd_unit.text(found, "/var/lib/slipway/shop", is_root)
    return text.splitlines()


def test_the_first_line_of_a_unit_says_who_manages_it() -> None:
    """A unit with another first line is never overwritten."""
    assert lines()[0] == systemd_unit.MARK


@pytest.mark.parametrize("name", systemd_unit.HARDENING)
def test_unharden_removes_the_options_that_it_names(name: str) -> None:
    """As it does for a container."""
    of_it = {line.split("=")[0] for line in systemd_unit.HARDENING[name]}
    assert of_it <= {line.split("=")[0] for line in lines()}
    assert not of_it & {line.split("=")[0] for line in lines(UNHARDEN=name)}


def test_limits_are_settings() -> None:
    """In systemd's own format of sizes."""
    found = lines(MEMORY="300m", PIDS="7")
    assert {"MemoryMax=300M", "TasksMax=7"} <= set(found)
    assert "MemoryMax=1000000" in lines(MEMORY="1000000b")
    assert "TimeoutStopSec=10" in lines()
    assert "TimeoutStopSec=90" in lines(STOP_TIMEOUT="90")


def test_a_low_port_needs_one_capability() -> None:
    """In a container it needs none."""
    assert "CapabilityBoundingSet=" in lines()
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in lines(PORT="80")


def test_volumes_are_folders_that_systemd_keeps() -> None:
    """Names are kept in /var/lib, paths are the server's own."""
    found = lines(VOLUMES="files:/files /srv/x:/x:ro,z")
    assert "StateDirectory=shop/files" in found
    assert "BindPaths=%S/shop/files:/files" in found
    assert "BindReadOnlyPaths=/srv/x:/x" in found


def test_the_service_of_root_sees_its_releases_alone() -> None:
    """They are in a folder that only root can read."""
    place = "/var/lib/slipway/shop"
    assert f"TemporaryFileSystem={place}:ro" in lines()
    assert f"BindReadOnlyPaths={place}/releases {place}/current" in lines()


def test_an_account_has_a_service_of_its_own() -> None:
    """In its home directory, and without options that need root."""
    found = lines(is_root=False)
    assert 'ExecStart="%h/.slipway/shop/current/start"' in found
    assert "WantedBy=default.target" in found
    theirs = ("Dynamic", "Protect", "Capability", "Temporary", "Bind")
    assert not [line for line in found if line.startswith(theirs)]


@pytest.mark.parametrize("value", ['a "b"', "it's", "$HOME `id`", "\\n\\", "#", " x ", "ü=é", ""])
def test_each_value_arrives_unchanged(value: str) -> None:
    """systemd reads text between double quotes like a shell."""
    text = systemd_unit.environment({"NAME": value.encode()}).decode()
    name, _, quoted = text.rstrip("\n").partition("=")
    assert name == "NAME"
    assert shlex.split(quoted.replace("\\$", "$").replace("\\`", "`")) == [value]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"A.B": b"x"}, "does not accept the name A.B"),
        ({"A": b"\x1b[0m"}, "the value of A has a control character"),
        ({"A_1": "tab\tand ü".encode()}, ""),
    ],
)
def test_a_variable_that_systemd_would_leave_out_is_refused(
    values: dict[str, bytes], says: str
) -> None:
    """Otherwise the application would start without it."""
    assert says in systemd_unit.environment_problem(values)
    assert bool(says) == bool(systemd_unit.environment_problem(values))
