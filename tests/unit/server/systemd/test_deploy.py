"""The server's part of a deploy without Docker, with a systemd that only records calls."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.commands import deploy_venv
from slipway.laptop.deploy_venv import bundle, commands, survey
from slipway.laptop.servers import remote_job
from slipway.laptop.settings import load as settings
from slipway.server.systemd import deploy as service
from slipway.server.systemd.systemctl import Failed
from tests.unit.conftest import SETTINGS, Program

# It runs the current release; a release named `bad` ends at once.
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
    """A server on which a release is healthy at once, or never."""
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
        **{"MANAGER": "systemctl", "MARK": "# managed", "PROJECT": "shop", "KEEP": "3"},
        **{"HEALTH_TIMEOUT": "1", "STEADY": "1", "RELEASE": "", "BY": "ann", "PYTHON": "python3"},
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(service, "health_problem", lambda *_: "")
    return service.Server(environment)


def keep(server: Any, name: str, **manifest: Any) -> str:
    """Create a complete release, with a wheel of that name."""
    folder = server.releases.folder(name)
    folder.mkdir(parents=True)
    (folder / "unit").write_text(f"# managed\n{name}\n")
    wheel = server.place / "wheels" / f"sum-{name}"
    wheel.mkdir(parents=True)
    found = {"port": "1", "health": "/", "bind": "0.0.0.0", "wheels": {"app": {wheel.name: "x"}}}
    (folder / "release.json").write_text(json.dumps({**found, **manifest}))
    return name


def runs(server: Any) -> str:
    """Return the release that systemd runs."""
    path = Path(os.environ["NOTES"], "runs")
    return path.read_text().strip() if path.exists() else ""


def test_a_switch_keeps_the_release_before(server: Any) -> None:
    """Links point to both, and the unit is that of the release."""
    for name in ("one", "two"):
        server.switch(keep(server, name))
    assert (server.releases.named("current"), server.releases.named("previous")) == ("two", "one")
    assert (server.place.parent / "units/shop.service").read_text() == "# managed\ntwo\n"
    assert runs(server) == "releases/two"
    assert not server.trying.exists()


def test_a_release_that_ends_is_rolled_back(
    server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The end of its log is shown; the release before runs again."""
    server.switch(keep(server, "one"))
    with pytest.raises(Failed, match="it ended with status 7"):
        server.switch(keep(server, "bad"))
    assert "    its last words" in capsys.readouterr().err
    assert server.recover() == ""
    assert (server.releases.named("current"), runs(server)) == ("one", "releases/one")


def test_a_first_release_that_ends_leaves_no_service(server: Any) -> None:
    """The server is as it was before the deploy."""
    with pytest.raises(Failed):
        server.switch(keep(server, "bad"))
    assert server.recover() == ""
    assert (server.releases.named("current"), runs(server)) == ("", "")
    assert not (server.place.parent / "units/shop.service").exists()


@pytest.mark.parametrize("step", ["put", "point", "stop", "start", "wait_healthy"])
def test_a_server_recovers_from_a_kill_at_any_step(
    server: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The release before runs again."""
    server.switch(keep(server, "one"))
    owner = {"point": server.releases, "wait_healthy": server}.get(step, server.unit)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            server.switch(keep(server, "two"))
    after = service.Server(server.environment)
    assert after.recover() == ""
    assert (after.releases.named("current"), runs(after)) == ("one", "releases/one")


def test_only_root_reads_releases_that_the_unit_shows_to_the_service(server: Any) -> None:
    """A release of a version before has a unit that reads them like any account."""
    keep(server, "old")
    folder = server.releases.folder(keep(server, "new"))
    (folder / "unit").write_text("# managed\nTemporaryFileSystem=/place:ro\n")
    modes = []
    for release in ("old", "new", "old"):
        server.switch(release)
        modes.append(server.place.stat().st_mode & 0o777)
    assert modes == [0o755, 0o700, 0o755]


def test_a_unit_of_the_user_says_itself_whether_others_must_read(server: Any) -> None:
    """It is not written, whatever the release's own unit says."""
    folder = server.releases.folder(keep(server, "new"))
    (folder / "unit").write_text("# managed\nTemporaryFileSystem=/place:ro\n")
    own = server.place.parent / "units/own.service"
    (server.place.parent / "notes/path").write_text(str(own))
    for text, mode in (("[Service]\n", 0o755), ("[Service]\nTemporaryFileSystem=/x\n", 0o700)):
        own.write_text(text)
        server.switch("new")
        assert server.place.stat().st_mode & 0o777 == mode
        assert own.read_text() == text


@pytest.mark.parametrize("health", ["/", "none"])
def test_a_release_that_ends_within_its_steady_time_has_failed(
    server: Any, monkeypatch: pytest.MonkeyPatch, health: str
) -> None:
    """With STEADY=0 it is trusted before that."""
    asked: list[int] = []

    def answer(port: int, _: str) -> str:
        asked.append(port)
        return ""

    def state() -> dict[str, str]:
        return {"ActiveState": "failed" if len(asked) > 1 else "active", "ExecMainStatus": "7"}

    monkeypatch.setattr(service, "health_problem", answer)
    monkeypatch.setattr(server.unit, "state", state)
    server.steady = 0
    server.switch(keep(server, "trusted", health=health), server.steady)
    asked.clear()
    server.steady = 1
    with pytest.raises(Failed, match="it ended with status 7"):
        server.switch(keep(server, "late", health=health), server.steady)


def test_a_unit_that_is_managed_by_the_user_is_not_written(server: Any) -> None:
    """It is restarted."""
    path = server.place.parent / "units/shop.service"
    path.write_text("[Service]\n")
    Path(os.environ["NOTES"], "path").write_text(str(path))
    server.switch(keep(server, "one"))
    assert path.read_text() == "[Service]\n"
    assert runs(server) == "releases/one"
    assert "enable" not in Path(os.environ["NOTES"], "calls").read_text()


def test_a_rollback_goes_to_the_one_before_or_a_named_one(server: Any) -> None:
    """The beginning of its name is enough."""
    for name in ("one", "two", "three"):
        server.switch(keep(server, name))
    assert server.rollback() == "two"
    server.environment["RELEASE"] = "o"
    assert server.rollback() == "one"
    assert server.rollback() == ""
    server.environment["RELEASE"] = "x"
    with pytest.raises(Failed, match=r"no release x is kept here\. Run make status"):
        server.rollback()


def test_old_releases_and_their_wheels_are_removed(server: Any) -> None:
    """KEEP releases stay, the running and the previous one among them, and files being sent."""
    for number, name in enumerate(("one", "two", "three", "four", "five")):
        server.switch(keep(server, name))
        os.utime(server.releases.folder(name) / "release.json", (number, number))
    for left, age in ((".new-a", 10), (".new-b", 2 * service.STALE)):
        (server.place / left).mkdir()
        then = time.time() - age
        os.utime(server.place / left, (then, then))
    server.rollback()
    server.tidy()
    assert sorted(server.releases.complete()) == ["five", "four", "three"]
    wheels = sorted(path.name for path in (server.place / "wheels").iterdir())
    assert wheels == ["sum-five", "sum-four", "sum-three"]
    assert [path.name for path in server.place.glob(".new-*")] == [".new-a"]


def test_wheels_that_another_deploy_has_removed_are_requested_again(
    server: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome says so."""
    sent = server.place / "sent"
    sent.write_text(json.dumps({"release": "one", "wheels": {"app": {"gone": "x.whl"}}}))
    ended: list[str] = []
    monkeypatch.setenv("SENT", str(sent))
    monkeypatch.setattr(service, "end", ended.append)
    assert service.main(["deploy"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "slipway outcome=wheels-gone"
    assert ended == [""]
    assert not sent.exists()


def test_a_port_that_everybody_can_reach_is_a_problem() -> None:
    """A container is published on BIND; without one the application decides."""
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


def systemctl_calls() -> list[str]:
    """Return the recorded systemctl commands that change something, and forget them."""
    path = Path(os.environ["NOTES"], "calls")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line for line in lines if not line.startswith("show")]


@pytest.mark.parametrize("unit", ["slipway", "user"])
def test_a_dry_run_shows_the_systemctl_commands_of_a_switch(server: Any, unit: str) -> None:
    """They are those that the server runs, in the same order."""
    if unit == "user":
        path = server.place.parent / "units/shop.service"
        path.write_text("[Service]\n")
        Path(os.environ["NOTES"], "path").write_text(str(path))
    server.switch(keep(server, "one"))
    keep(server, "two")
    systemctl_calls()
    facts = survey.Facts(place=str(server.place), is_root=True, account="root", unit=unit)
    facts.current, facts.previous = "one", ""
    facts.releases = {each: {"release": each} for each in ("two", "one")}
    found = {**settings.resolve(SETTINGS, {}), "RELEASE": "two"}
    shown = [shlex.split(line) for line in commands.rollback(found, "server", facts)]
    dry = [words[-1] for words in shown if words[:3] == ["ssh", "-n", "server"]]
    server.switch("two")
    begin = "systemctl "
    assert [line[len(begin) :] for line in dry if line.startswith(begin)] == systemctl_calls()


def receive(place: Path, files: dict[str, bytes], cut: int | None = None) -> int:
    """Send files to a folder like to a server's; return the status."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w|") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    script = deploy_venv.RECEIVE.format(place=f"'{place}'")
    sent = data.getvalue()[:cut]
    done = subprocess.run(["sh", "-c", script], input=sent, capture_output=True)
    return done.returncode


def test_only_complete_and_correct_files_arrive(tmp_path: Path) -> None:
    """An interrupted transfer keeps the files that had arrived, and no part of a file."""
    place = tmp_path / "a place"
    content = {name: os.urandom(30_000) for name in ("a", "b")}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    files = {f"{sums[name]}/{name}.whl": data for name, data in content.items()}
    assert receive(place, files, cut=50_000) != 0
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*.whl"))
    assert found == [f"wheels/{sums['a']}/a.whl"]
    assert receive(place, files) == 0
    assert receive(place, {f"{sums['a']}/a.whl": b"other"}) != 0
    assert (place / "wheels" / sums["a"] / "a.whl").read_bytes() == content["a"]
    assert sorted(path.name for path in place.iterdir()) == ["wheels"]


@pytest.fixture
def collected(program: Program, tmp_path: Path) -> bundle.Bundle:
    """A bundle, from a docker whose image has one file of a library."""
    archive = tmp_path / "collected.tar"
    with tarfile.open(archive, "w") as target:
        for name, content in (("installer/x.py", b""), ("var/lib/dpkg/asked", b"python3 libpq5\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            target.addfile(entry, io.BytesIO(content))
    docker = program("docker", f"cat '{archive}'")
    found = [bundle.collect({"DOCKER": f"'{docker}'", "IMAGES": "shop"}) for _ in range(2)]
    assert found[0] == found[1]  # so that it is sent once
    return found[0]


def test_a_bundle_is_whole_folders(collected: bundle.Bundle) -> None:
    """It has what installs wheels and runs them, and nothing of the laptop or the builder."""
    assert collected.packages == ("python3", "libpq5")
    with tarfile.open(fileobj=io.BytesIO(collected.data)) as packed:
        names = set(packed.getnames())
    for name in (
        "installer/x.py",
        "slipway/__init__.py",
        "slipway/image/run/install_wheelhouse.py",
        "slipway/image/run/healthcheck.py",
        "slipway/image/base/compile_bytecode.py",
        "slipway/server/lock.sh",
        "slipway/server/systemd/deploy.sh",
        "slipway/server/systemd/deploy.py",
        "slipway/shared/lockfile.py",
    ):
        assert name in names
    rooms = {name.split("/")[1] for name in names if name.startswith("slipway/")}
    assert rooms == {"__init__.py", "image", "server", "shared"}
    assert not [name for name in names if "native" in name or "/docker/" in name or ".pyc" in name]


def run_bundle(
    place: Path, sent: str, job: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> subprocess.CompletedProcess[str]:
    """Run the script that travels for a job, where a bundle of this checksum was received."""
    for name in ("PATH", "HOME"):
        monkeypatch.setenv(name, os.environ[name])
    program("sudo", "exit 1")
    variables = {"PROJECT": "shop", "PLACE": str(place), "KIT": sent, "PYTHON": sys.executable}
    variables |= {"MARK": "# managed", "RELEASE": "", "KEEP": "3", "LOCK_WAIT": "1"}
    variables |= {"HEALTH_TIMEOUT": "1", "STEADY": "0"}
    text = remote_job.for_systemd(job, variables, "")
    return subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True, timeout=60)


def test_a_bundle_runs_on_a_server(
    collected: bundle.Bundle,
    server: Any,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its files are found relative to it, and its last line is the outcome."""
    place = Path(os.environ["PLACE"])
    folder = place / "wheels" / collected.sha256
    folder.mkdir(parents=True)
    (folder / collected.name).write_bytes(collected.data)
    done = run_bundle(place, collected.sha256, "rollback", program, monkeypatch)
    assert done.stdout.splitlines()[-1:] == ["slipway outcome=failed"], done
    assert "there is no previous release here" in done.stderr
    done = run_bundle(place, collected.sha256, "recover", program, monkeypatch)
    assert done.stdout.splitlines()[-1:] == ["slipway outcome=done"], done
    assert (place / "kit" / collected.sha256 / "slipway/server/systemd/deploy.sh").exists()


@pytest.mark.parametrize(("status", "outcome"), [(0, ""), (3, "recovered"), (4, "wheels-gone")])
def test_a_bundle_of_an_earlier_template_still_works(
    server: Any,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    outcome: str,
) -> None:
    """It has another entry, knows `recover` as `settle`, and reports by its exit status."""
    place = Path(os.environ["PLACE"])
    (place / "kit/old").mkdir(parents=True)
    (place / "kit/old/service.sh").write_text(f'echo "$1 $JOB $PROJECT"; exit {status}\n')
    done = run_bundle(place, "old", "recover", program, monkeypatch)
    said = ["guard settle shop", *([f"slipway outcome={outcome}"] if outcome else [])]
    assert (done.returncode, done.stdout.splitlines()) == (status, said), done
