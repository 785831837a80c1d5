"""The part of a deploy without Docker that a server does, with a systemd that only takes notes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.commands import deploy_venv as appenv
from slipway.laptop.deploy_venv import bundle as kit
from slipway.server.systemd import deploy as service
from tests.unit.conftest import Program

# What runs is what is current; a release named `bad` ends at once.
SYSTEMCTL = """\
echo "$@" >>"$NOTES/calls"
case "$1" in
start) readlink "$PLACE/current" >"$NOTES/runs" ;;
stop) rm -f "$NOTES/runs" ;;
show)
    case $(cat "$NOTES/runs" 2>/dev/null) in
    *bad*) echo ActiveState=activating; echo SubState=auto-restart; echo ExecMainStatus=7 ;;
    ?*) echo ActiveState=active; echo NRestarts=0 ;;
    *) echo ActiveState=inactive ;;
    esac
    echo "FragmentPath=$(cat "$NOTES/path" 2>/dev/null)" ;;
esac
"""


@pytest.fixture
def server(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server on which releases are healthy at once, if they are."""
    for name in ("place", "units", "notes"):
        (tmp_path / name).mkdir()
    program("journalctl", "echo its last words")
    systemctl = program("systemctl", SYSTEMCTL)
    environment = {
        **os.environ,
        "PATH": f"{systemctl.parent}:{os.environ['PATH']}",
        "NOTES": str(tmp_path / "notes"),
        "PLACE": str(tmp_path / "place"),
        "UNITS": str(tmp_path / "units"),
        **{"MANAGER": "systemctl", "MARK": "# ours", "PROJECT": "shop", "KEEP": "3"},
        **{"HEALTH_TIMEOUT": "1", "STEADY": "1", "RELEASE": "", "BY": "ann", "PYTHON": "python3"},
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(service, "asked", lambda *_: "")
    return service.Server(environment)


def keep(server: Any, name: str, **manifest: Any) -> str:
    """Put a whole release there, of a wheel of that name."""
    folder = server.releases.folder(name)
    folder.mkdir(parents=True)
    (folder / "unit").write_text(f"# ours\n{name}\n")
    wheel = server.place / "wheels" / f"sum-{name}"
    wheel.mkdir(parents=True)
    found = {"port": "1", "health": "/", "bind": "0.0.0.0", "wheels": {"app": {wheel.name: "x"}}}
    (folder / "release.json").write_text(json.dumps({**found, **manifest}))
    return name


def runs(server: Any) -> str:
    """Say what systemd runs."""
    path = Path(os.environ["NOTES"], "runs")
    return path.read_text().strip() if path.exists() else ""


def test_a_switch_keeps_the_release_before(server: Any) -> None:
    """Links say which is which, and the unit is that of the release."""
    for name in ("one", "two"):
        server.switch(keep(server, name))
    assert (server.releases.named("current"), server.releases.named("previous")) == ("two", "one")
    assert (server.place.parent / "units/shop.service").read_text() == "# ours\ntwo\n"
    assert runs(server) == "releases/two"
    assert not server.trying.exists()


def test_a_release_that_ends_is_gone_back_from(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last words are shown; what was current is settled on."""
    server.switch(keep(server, "one"))
    with pytest.raises(service.Failed, match="it ended with status 7"):
        server.switch(keep(server, "bad"))
    assert "    its last words" in capsys.readouterr().err
    assert server.settle() == ""
    assert (server.releases.named("current"), runs(server)) == ("one", "releases/one")


def test_a_first_release_that_ends_leaves_no_service(server: Any) -> None:
    """As before the deploy."""
    with pytest.raises(service.Failed):
        server.switch(keep(server, "bad"))
    assert server.settle() == ""
    assert (server.releases.named("current"), runs(server)) == ("", "")
    assert not (server.place.parent / "units/shop.service").exists()


@pytest.mark.parametrize("step", ["put", "point", "restart", "wait_healthy"])
def test_a_kill_at_any_step_is_settled(
    server: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What ran before runs again."""
    server.switch(keep(server, "one"))
    owner = {"put": server.unit, "restart": server.unit, "point": server.releases}.get(step, server)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            server.switch(keep(server, "two"))
    after = service.Server(server.environment)
    assert after.settle() == ""
    assert (after.releases.named("current"), runs(after)) == ("one", "releases/one")


@pytest.mark.parametrize("health", ["/", "none"])
def test_a_release_that_ends_while_it_is_held_to_be_steady_has_failed(
    server: Any, monkeypatch: pytest.MonkeyPatch, health: str
) -> None:
    """STEADY is a setting; with 0 it is trusted before that."""
    asked: list[int] = []

    def answer(port: int, _: str) -> str:
        asked.append(port)
        return ""

    def state() -> dict[str, str]:
        return {"ActiveState": "failed" if len(asked) > 1 else "active", "ExecMainStatus": "7"}

    monkeypatch.setattr(service, "asked", answer)
    monkeypatch.setattr(server.unit, "state", state)
    server.steady = 0
    server.switch(keep(server, "trusted", health=health), server.steady)
    asked.clear()
    server.steady = 1
    with pytest.raises(service.Failed, match="it ended with status 7"):
        server.switch(keep(server, "late", health=health), server.steady)


def test_a_unit_of_its_owner_is_not_written(server: Any) -> None:
    """It is restarted all the same."""
    path = server.place.parent / "units/shop.service"
    path.write_text("[Service]\n")
    Path(os.environ["NOTES"], "path").write_text(str(path))
    server.switch(keep(server, "one"))
    assert path.read_text() == "[Service]\n"
    assert runs(server) == "releases/one"
    assert "enable" not in Path(os.environ["NOTES"], "calls").read_text()


def test_a_rollback_goes_to_the_one_before_or_a_named_one(server: Any) -> None:
    """By the beginning of its name."""
    for name in ("one", "two", "three"):
        server.switch(keep(server, name))
    assert server.rollback() == "two"
    server.environment["RELEASE"] = "o"
    assert server.rollback() == "one"
    assert server.rollback() == ""
    server.environment["RELEASE"] = "x"
    with pytest.raises(service.Failed, match="no release x is kept here: make status-venv"):
        server.rollback()


def test_old_releases_and_their_wheels_go(server: Any) -> None:
    """KEEP stay, the running and the previous one among them, and what is being sent now."""
    for number, name in enumerate(("one", "two", "three", "four", "five")):
        server.switch(keep(server, name))
        os.utime(server.releases.folder(name) / "release.json", (number, number))
    for left, age in ((".new-a", 10), (".new-b", 2 * service.STALE)):
        (server.place / left).mkdir()
        then = service.time.time() - age
        os.utime(server.place / left, (then, then))
    server.rollback()
    server.tidy()
    assert sorted(server.releases.whole()) == ["five", "four", "three"]
    wheels = sorted(path.name for path in (server.place / "wheels").iterdir())
    assert wheels == ["sum-five", "sum-four", "sum-three"]
    assert [path.name for path in server.place.glob(".new-*")] == [".new-a"]


def test_wheels_that_were_tidied_away_are_asked_for_again(server: Any) -> None:
    """By a status of its own."""
    sent = server.place / "sent"
    sent.write_text(json.dumps({"release": "one", "wheels": {"app": {"gone": "x.whl"}}}))
    server.environment["SENT"] = str(sent)
    with pytest.raises(SystemExit) as end:
        server.deploy()
    assert end.value.code == service.GONE
    assert not sent.exists()


def test_a_port_that_everybody_reaches_is_told() -> None:
    """A container publishes where BIND says; without one the application decides."""
    with contextlib.closing(socket.socket()) as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        port = everywhere.getsockname()[1]
        assert "it listens on all addresses, and BIND is" in service.exposed(port, "127.0.0.1")
        assert service.exposed(port, "0.0.0.0") == ""
    with contextlib.closing(socket.socket()) as here:
        here.bind(("127.0.0.1", 0))
        here.listen()
        assert service.exposed(here.getsockname()[1], "127.0.0.1") == ""


def receive(place: Path, files: dict[str, bytes], cut: int | None = None) -> int:
    """Send files to a folder as to a server's; gives the status."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w|") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    script = appenv.RECEIVE.format(place=f"'{place}'")
    sent = data.getvalue()[:cut]
    done = subprocess.run(["sh", "-c", script], input=sent, capture_output=True)
    return done.returncode


def test_only_what_is_whole_and_true_arrives(tmp_path: Path) -> None:
    """A transfer that is cut off keeps what had arrived, and nothing half."""
    place = tmp_path / "a place"
    content = {name: os.urandom(30_000) for name in ("a", "b")}
    sums = {name: kit.hashlib.sha256(data).hexdigest() for name, data in content.items()}
    files = {f"{sums[name]}/{name}.whl": data for name, data in content.items()}
    assert receive(place, files, cut=50_000) != 0
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*.whl"))
    assert found == [f"wheels/{sums['a']}/a.whl"]
    assert receive(place, files) == 0
    assert receive(place, {f"{sums['a']}/a.whl": b"other"}) != 0
    assert (place / "wheels" / sums["a"] / "a.whl").read_bytes() == content["a"]
    assert sorted(path.name for path in place.iterdir()) == ["wheels"]


def test_what_installs_is_the_same_archive_every_time(program: Program, tmp_path: Path) -> None:
    """So that it is sent once; the packages of the base image come with it."""
    archive = tmp_path / "collected.tar"
    with tarfile.open(archive, "w") as target:
        for name, content in (("installer/x.py", b""), ("var/lib/dpkg/asked", b"python3 libpq5\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            target.addfile(entry, io.BytesIO(content))
    docker = program("docker", f"cat '{archive}'")
    found = [kit.collect({"DOCKER": f"'{docker}'", "IMAGES": "shop"}) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].packages == ("python3", "libpq5")
    with tarfile.open(fileobj=io.BytesIO(found[0].data)) as packed:
        assert set(packed.getnames()) == {*kit.MODULES, "service.sh", "installer/x.py"}
