"""`make deploy-venv`: the wheels of the builder, on a server that has systemd and no Docker."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import testbed
from tests.conftest import Baker
from tests.containers import faulty_application
from tests.containers.laptop import (
    BRIEFLY,
    PORTS,
    SESSION,
    Laptop,
    answer_of,
    commit,
    write,
)
from tests.containers.workshop import Workshop

WITHIN = 60  # seconds in which a server is in order again, whatever was killed
VALUE = """Ünïcode "double" 'single' $HOME ${HOME} `id` \\n \\" #no comment; 100%h  two  blanks """


@dataclass(frozen=True)
class Service:
    """An application on its way to a server without Docker."""

    workshop: Workshop
    server: testbed.Systemd
    name: str
    first: str = ""  # its first release

    @property
    def place(self) -> str:
        """Where its releases are."""
        return f"/var/lib/slipway/{self.name}"

    def make(self, *words: str, user: str = "root") -> str:
        """Run make for an account of the server; the test fails when make fails."""
        return self.workshop.make(BRIEFLY, *self._there(user), *words)

    def make_fails(self, *words: str, user: str = "root") -> str:
        """Run make, which must fail, and return its output."""
        return self.workshop.make_fails(*self._there(user), *words)

    def _there(self, user: str) -> tuple[str, str]:
        return (f"DEPLOY_HOST={self.server.host}", f"SSH={self.server.by(user)}")

    def release(self, **variables: str) -> None:
        """Write the environment that the next release runs with."""
        text = "".join(f"{name}={value}\n" for name, value in variables.items())
        (self.workshop.project.path / "deploy" / "run.env").write_text(text, encoding="utf-8")

    @property
    def answer(self) -> str:
        """What the server answers now."""
        return answer_of(self.server.address(faulty_application.PORT))

    def show(self, name: str) -> str:
        """A property of the service, as systemd has it."""
        return self.server.run(
            "systemctl", "show", "--value", "--property", name, self.name
        ).strip()

    @property
    def status(self) -> dict[str, Any]:
        """What `make status-venv` knows."""
        found: dict[str, Any] = json.loads(self.make("status-venv", "FORMAT=json"))
        return found

    @property
    def received(self) -> int:
        """The bytes that have come in over the server's network."""
        return int(self.server.run("cat", "/sys/class/net/eth0/statistics/rx_bytes"))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something; fail with the server's log when it does not come."""
        end = time.monotonic() + WITHIN
        while not is_so():
            assert time.monotonic() < end, self.server.run("journalctl", "--lines", "50")
            time.sleep(0.1)

    @property
    def is_locked(self) -> bool:
        """Whether a deploy is at work there."""
        return bool(self.server.run("sh", "-c", f"ls {self.place}/lock/* 2>/dev/null || :"))

    @property
    def is_trying(self) -> bool:
        """Whether a release runs there that is not proven."""
        return "trying" in self.server.run("ls", self.place).split()


@pytest.fixture(scope="module")
def deployed(
    bare: testbed.Systemd,
    generate: Baker,
    laptop: Laptop,
    tmp_path_factory: pytest.TempPathFactory,
) -> Service:
    """An application with a dependency, a C library and a plain file, deployed there once."""
    name = f"venv-{SESSION}"
    answers = {
        "app": "existing",
        "python": "CPython",
        "command": "faulty",
        "port": str(faulty_application.PORT),
    }
    project = generate(project=name, native_deps="yaml", **answers)
    write(
        project.path,
        {**faulty_application.APPLICATION, "requirements.in": "idna\n", "page.txt": "a page\n"},
    )
    workshop = Workshop(laptop, project, name, tmp_path_factory.mktemp("logs"), {})
    workshop.edit("deploy/settings.mk", "FILES :=", "FILES := page.txt")
    made = Service(workshop, bare, name)
    made.release(VERSION="first")
    made.make("lock")
    commit(project, "Lock")
    said = made.make("deploy-venv")
    assert "sends 3 of 3 wheels and the bundle that installs them" in said
    return dataclasses.replace(made, first=made.status["running"]["release"])


@pytest.fixture
def service(deployed: Service) -> Service:
    """Its first release runs there, whatever other tests have left."""
    deployed.release(VERSION="first")
    deployed.make("rollback-venv", f"RELEASE={deployed.first}")
    return deployed


def test_application_answers_from_a_server_without_docker(service: Service) -> None:
    """It runs there by systemd, in a virtualenv without pip, and the status reports that."""
    assert service.answer == "first"
    assert not service.server.run("sh", "-c", "command -v docker podman pip pip3 || :")
    assert service.show("ActiveState") == "active"
    assert service.show("UnitFileState") == "enabled"
    packages = service.server.run("sh", "-c", f"ls {service.place}/current/lib/python3*/*")
    assert {"idna", "faulty.py"} <= set(packages.split())
    assert not re.search(r"^(pip|setuptools)", packages, re.M)
    assert service.server.run("cat", f"/proc/{service.show('MainPID')}/cwd/page.txt") == "a page\n"
    found = service.status
    assert found["problem"] == ""
    assert found["running"]["revision"]
    assert "starts as good" in service.make("logs-venv")


def test_second_deploy_has_nothing_to_do(service: Service) -> None:
    """The process that runs goes on running."""
    before = service.show("MainPID")
    assert "nothing to do" in service.make("deploy-venv")
    assert service.show("MainPID") == before


def test_service_is_hardened_as_the_container_is(service: Service) -> None:
    """It is an account of its own without capabilities, which can write nowhere but to /tmp."""
    status = service.server.run("cat", f"/proc/{service.show('MainPID')}/status")
    assert int(re.findall(r"^Uid:\s+(\d+)", status, re.M)[0]) > 1000
    assert re.findall(r"^CapBnd:\s+(\d+)$", status, re.M) == ["0" * 16]
    assert re.findall(r"^NoNewPrivs:\s+(\d)$", status, re.M) == ["1"]
    assert (service.show("MemoryMax"), service.show("TasksMax")) == (str(2**30), "512")
    secret = f"{service.place}/current/environment"
    assert service.server.run("stat", "--format=%a %U", secret).strip() == "600 root"
    assert service.server.run("cat", f"{service.place}/current/release.json").count("first") == 0
    inside = f"nsenter --mount --target {service.show('MainPID')} sh -c"
    written = "touch /var/x 2>/dev/null || touch /tmp/x && ls /var/x /tmp/x 2>/dev/null || :"
    assert service.server.run(*shlex.split(inside), written).split() == ["/tmp/x"]


def test_no_other_account_reads_the_application(service: Service) -> None:
    """Neither its code nor its environment; the service itself sees no other project."""
    find = f"find {service.place} /var/lib/slipway -name faulty.py -o -name environment"
    assert "faulty.py" in service.server.run("sh", "-c", find)
    nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups sh -c"
    read = f"({find}; ls {service.place}; cat {service.place}/current/start) 2>/dev/null || :"
    assert service.server.run(*shlex.split(nobody), read).split() == []
    service.server.run("mkdir", "-p", "/var/lib/slipway/another")
    inside = f"nsenter --mount --target {service.show('MainPID')} ls {service.place}"
    assert service.server.run(*shlex.split(inside)).split() == ["current", "releases"]


def test_changed_line_sends_the_applications_wheel_alone(service: Service) -> None:
    """The interface counts less than 20 kB beside what the ssh connection itself takes."""
    service.workshop.edit("faulty.py", '"starts as"', '"begins as"')
    try:
        service.workshop.make("wheels")
        plan = json.loads(service.make("deploy-venv", "DRY_RUN=1", "FORMAT=json").splitlines()[-1])
        assert plan["wheels_sent"] == ["faulty-1.0-py3-none-any.whl"]
        before = service.received
        ssh = shlex.split(service.server.ssh)
        service.workshop.laptop.engine.run(*ssh, service.server.host, "true")
        handshake = service.received - before
        before = service.received
        service.make("deploy-venv")
        assert service.received - before < handshake + 20_000
        assert "begins as good" in service.make("logs-venv")
    finally:
        service.workshop.edit("faulty.py", '"begins as"', '"starts as"')
        service.workshop.make("wheels")


def test_broken_release_is_rolled_back(service: Service) -> None:
    """One that exits at once: its log is shown, and the release before runs and answers."""
    service.release(VERSION="bad", MODE="exits")
    said = service.make_fails("deploy-venv")
    assert "no database today" in said
    assert re.search(r"it ended with status 1; \S+ runs again$", said, re.M), said
    assert service.answer == "first"
    assert service.status["problem"] == ""


def test_environment_arrives_as_it_is_written_and_a_rollback_brings_the_one_before(
    service: Service,
) -> None:
    """Quotes, dollars, backslashes, number signs, blanks at the end and letters of any kind."""
    service.release(VERSION=VALUE)
    service.make("deploy-venv")
    assert service.answer == VALUE
    service.make("rollback-venv")
    assert service.answer == "first"
    assert "no release fff is kept here" in service.make_fails("rollback-venv", "RELEASE=fff")


def test_accounts_that_are_not_root(service: Service) -> None:
    """One may use sudo, and works on the same service; the other has a service of its own."""
    assert "nothing to do" in service.make("deploy-venv", user="sudoer")
    assert "starts as good" in service.make("logs-venv", user="sudoer")
    port = str(PORTS["existing"])
    service.make("deploy-venv", f"PORT={port}", user="deployer")
    assert answer_of(service.server.address(int(port))) == "first"
    said = service.make("status-venv", f"PORT={port}", user="deployer")
    assert f"{service.name}.service: active" in said
    service.server.run("rm", "/var/lib/systemd/linger/deployer")
    said = service.make_fails("deploy-venv", f"PORT={port}", user="deployer")
    assert said.splitlines()[-2].endswith("it logs out. Run: sudo loginctl enable-linger deployer")


@pytest.mark.parametrize("victim", ["the laptop", "the work on the server"])
def test_deploy_that_is_killed_leaves_a_healthy_release(service: Service, victim: str) -> None:
    """Without the laptop the server finishes the deploy; a part that is killed is recovered."""
    service.release(VERSION=victim)
    server = (f"DEPLOY_HOST={service.server.host}", f"SSH={service.server.ssh}")
    running = service.workshop.start("deploy-venv", *server)
    running.until(lambda: service.is_trying)
    if victim == "the laptop":
        running.kill()
        service.until(lambda: not service.is_locked)
        assert service.answer == victim
    else:
        service.server.run(
            "sh", "-c", f"kill -KILL $(readlink {service.place}/lock/* | cut -d ' ' -f 1)"
        )
        said = running.fails()
        assert re.search(
            r"release \S+ is still running and healthy\. Run make deploy-venv again", said
        ), said
        assert service.answer == "first"
    assert service.status["problem"] == ""


def test_unit_of_its_owner_is_restarted_and_never_written(service: Service) -> None:
    """One that starts what is current is as good as ours; one that does not is left alone."""
    path = f"/etc/systemd/system/{service.name}.service"
    ours = service.server.run("cat", path)
    own = ours.partition("\n")[2].replace("TasksMax=512", "TasksMax=99")
    try:
        service.server.run(
            "sh", "-c", f"echo {shlex.quote(own)} >{path} && systemctl daemon-reload"
        )
        service.release(VERSION="owned")
        service.make("deploy-venv")
        assert (service.answer, service.show("TasksMax")) == ("owned", "99")
        alien = "[Service]\nExecStart=sleep 9\n"
        service.server.run(
            "sh", "-c", f"echo {shlex.quote(alien)} >{path} && systemctl daemon-reload"
        )
        assert (
            f"the unit {service.name}.service there is not managed by slipway"
            in service.make_fails("deploy-venv")
        )
    finally:
        service.server.run(
            "sh", "-c", f"echo {shlex.quote(ours)} >{path} && systemctl daemon-reload"
        )


def test_server_that_does_not_match_is_refused(service: Service) -> None:
    """Another release, a C library that is not there: one line, and nothing is changed."""
    release = service.server.run("cat", "/etc/os-release")
    service.release(VERSION="refused")
    try:
        service.server.run("sh", "-c", "sed -i s/trixie/bookworm/ /etc/os-release")
        said = service.make_fails("deploy-venv")
        assert re.search(r"it has CPython 3\.\d+ .* debian-bookworm .*, and the wheels are", said)
    finally:
        service.server.run("sh", "-c", f"echo {shlex.quote(release)} >/etc/os-release")
    service.server.run("dpkg", "--remove", "--force-depends", "libyaml-0-2")
    said = service.make_fails("deploy-venv")
    assert "that the application needs are missing. Run: sudo apt install libyaml-0-2\n" in said
    assert service.answer == "first"
