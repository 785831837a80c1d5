"""make logs: which lines of a release's log are shown."""

from __future__ import annotations

import io
from typing import Any

import pytest

from slipway.laptop.console import Failed, SettingsError
from slipway.laptop.deploy import logs, survey
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS, Program

LOG = """\
started
INFO: 172.18.0.3:40000 - "GET / HTTP/1.0" 200 OK
INFO: 172.18.0.9:40000 - "GET / HTTP/1.0" 200 OK
127.0.0.1 - - [01/Jan/2026] "GET / HTTP/1.0" 200 -
172.18.0.33 - - [01/Jan/2026] "GET / HTTP/1.0" 200 -
INFO: 172.18.0.3:40000 - "GET /page HTTP/1.0" 200 OK
KeyError: 'total'
"""
DOCKER = f"""\
echo "$*" >>"$0.log"
case "$1" in
inspect) echo "172.18.0.3  " ;;
logs) cat <<'END'
{LOG}END
;;
esac
"""


def shown(here: Any, program: Program, **changed: str) -> tuple[list[str], str]:
    """Return the lines that are shown, and the docker command that printed the log."""
    docker = program("docker", DOCKER)
    output = io.BytesIO()
    found = settings.resolve(SETTINGS, changed)
    assert logs.show(here, survey.Facts(docker="docker"), found, output.write) == 0
    asked = docker.with_name("docker.log").read_text().splitlines()
    return output.getvalue().decode().splitlines(), asked[-1]


def test_requests_of_the_health_check_are_left_out(here: Any, program: Program) -> None:
    """Those of a proxy stay, which may ask by HTTP/1.0 as well."""
    lines, asked = shown(here, program)
    assert lines == [line for n, line in enumerate(LOG.splitlines()) if n not in (1, 3)]
    assert asked == "logs --tail 4000 shop"


def test_the_last_lines_are_shown(here: Any, program: Program) -> None:
    """More are read, because health checks are not counted."""
    lines, asked = shown(here, program, LINES="2")
    assert lines == LOG.splitlines()[-2:]
    assert asked == "logs --tail 40 shop"


def test_a_pattern_and_a_time_look_at_all_lines(here: Any, program: Program) -> None:
    """Health checks are shown if the pattern fits them."""
    assert shown(here, program, GREP="Error: '|started")[0] == ["started", "KeyError: 'total'"]
    assert len(shown(here, program, GREP="GET / H")[0]) == 4
    assert shown(here, program, SINCE="10m")[1] == "logs --since 10m --tail all shop"
    assert shown(here, program, FOLLOW="1", LINES="7")[1] == "logs --follow --tail 7 shop"
    with pytest.raises(Failed, match=r"GREP is '\(', which is no pattern"):
        shown(here, program, GREP="(")


@pytest.mark.parametrize("since", ["yesterday", "10 m", "$(reboot)", "-5m"])
def test_other_times_are_refused(since: str) -> None:
    """The value goes to a shell on the server."""
    with pytest.raises(SettingsError, match="SINCE on the command line"):
        settings.resolve(SETTINGS, {"SINCE": since})


class Interrupted(io.BytesIO):
    """A terminal on which somebody types Ctrl-C when the first line comes."""

    def write(self, _: Any) -> int:
        """Behave as if the signal came now."""
        raise KeyboardInterrupt


def test_ctrl_c_ends_a_log_that_is_followed(here: Any, program: Program) -> None:
    """Nothing has failed; the command on the server is ended."""
    program("docker", f"{DOCKER}\n[ $1 != logs ] || exec sleep 60")
    facts = survey.Facts(docker="docker")
    found = settings.resolve(SETTINGS, {"FOLLOW": "1"})
    assert logs.show(here, facts, found, Interrupted().write) == 0
    program("docker", DOCKER)
    with pytest.raises(KeyboardInterrupt):
        logs.show(here, facts, settings.resolve(SETTINGS, {}), Interrupted().write)
