"""Problems before a deploy: each is reported in one line, and nothing is changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import testbed
from tests.containers.laptop import BRIEFLY, Shipped

pytestmark = pytest.mark.parametrize("shipped", ["CPython"], indirect=True)


def complaint(said: str) -> str:
    """Return the one line of an error message; there must be no other output of this kind."""
    usual = re.compile(r"make(\[\d\])?: \*\*\* |slipway: .*nothing to do")
    lines = [line for line in said.splitlines() if not usual.match(line)]
    assert len(lines) == 1, said
    return lines[0]


def refused(shipped: Shipped, ssh: str, host: str = "server") -> str:
    """Deploy to a server that must refuse, and return the message; the running release goes on."""
    before = shipped.on_server(".Id")
    said = shipped.make_fails("deploy", f"SSH={ssh}", f"DEPLOY_HOST={host}")
    assert shipped.on_server(".Id") == before
    assert shipped.answer == "Hello, world!"
    return complaint(said)


def config_with(server: testbed.Server, folder: Path, key: str, value: str) -> str:
    """Copy the server's ssh configuration with one line changed; return the ssh command."""
    text = (server.folder / "config").read_text()
    changed, count = re.subn(rf"(?m)^(\s*{key}) .*$", rf'\1 "{value}"', text)
    assert count == 1
    (folder / "config").write_text(changed)
    return f"ssh -F {folder / 'config'}"


def test_server_without_docker_is_reported(shipped: Shipped, engine: testbed.Engine) -> None:
    """A server with sshd alone is distinguished from one that cannot be reached."""
    with testbed.Server(engine, docker=False) as bare:
        assert "docker is not installed there" in refused(shipped, bare.ssh)


def test_stopped_engine_on_the_server_is_reported(shipped: Shipped, engine: testbed.Engine) -> None:
    """The command that starts it is named."""
    with testbed.Server(engine) as other:
        other.stop_engine()
        assert "systemctl start docker" in refused(shipped, other.ssh)


def test_account_that_may_not_use_docker_is_reported(
    shipped: Shipped, engine: testbed.Engine
) -> None:
    """The group that is missing is named; with it, the account need not be root."""
    with testbed.Server(engine, user="deployer", ports=[shipped.port]) as other:
        other.run("gpasswd", "--delete", "deployer", "docker")
        assert "usermod -aG docker" in refused(shipped, other.ssh)
        other.run("gpasswd", "--add", "deployer", "docker")
        shipped.make("deploy", BRIEFLY, f"SSH={other.ssh}")
        assert "Up" in other.docker("ps", "--filter", f"name=^{shipped.name}$")


def test_refused_key_is_reported(shipped: Shipped, tmp_path: Path) -> None:
    """What to do about a key that the server does not know."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    ssh = config_with(shipped.laptop.server, tmp_path, "IdentityFile", str(key))
    assert "refuses your key" in refused(shipped, ssh)


def test_unknown_host_key_is_reported(shipped: Shipped, tmp_path: Path) -> None:
    """Host keys are checked, and there is no offer to switch that off."""
    known = tmp_path / "known_hosts"
    known.touch()
    ssh = config_with(shipped.laptop.server, tmp_path, "UserKnownHostsFile", str(known))
    said = refused(shipped, ssh)
    assert "unknown host key" in said
    assert "StrictHostKeyChecking" not in said


def test_server_that_does_not_answer_is_reported(shipped: Shipped) -> None:
    """Nothing listens on port 1."""
    assert "no ssh server listens there" in refused(shipped, "ssh -p 1", "127.0.0.1")


def test_host_that_does_not_exist_is_reported(shipped: Shipped) -> None:
    """A name that no resolver has."""
    assert "there is no such host" in refused(shipped, "ssh", "no-such-host.invalid")


def test_tunnel_that_is_forbidden_is_reported(shipped: Shipped, engine: testbed.Engine) -> None:
    """The line of sshd_config is named."""
    with testbed.Server(engine) as strict:
        strict.run("sh", "-c", "echo AllowTcpForwarding no >/etc/ssh/sshd_config.d/0-strict.conf")
        strict.run("sh", "-c", "kill -HUP $(cat /run/sshd.pid)")
        assert "AllowTcpForwarding yes" in refused(shipped, strict.ssh)


def test_tunnel_that_is_open_to_the_network_is_reported(
    shipped: Shipped, engine: testbed.Engine
) -> None:
    """With GatewayPorts, sshd listens on all addresses, whatever a client asks for."""
    with testbed.Server(engine) as generous:
        generous.run("sh", "-c", "echo GatewayPorts yes >/etc/ssh/sshd_config.d/0-generous.conf")
        generous.run("sh", "-c", "kill -HUP $(cat /run/sshd.pid)")
        assert "GatewayPorts no" in refused(shipped, generous.ssh)
        assert generous.docker("image", "ls", "--quiet") == ""


# What any account can try while a deploy runs: to read, write and delete what the laptop has.
PROBE = r"""
while [ -e /tmp/probe ]; do
    seen=$(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' |
        sed -n 's|^127.0.0.1:[0-9]*/\(.*\)@\(sha256:.*\)|GET:\1/manifests/\2|p' | sort -u)
    for address in $(awk '$4 == "0A" && $2 ~ /^0100007F/ { print $2 }' /proc/net/tcp); do
        for what in GET:_catalog GET:NAME/tags/list GET:NAME/manifests/DIGEST \
            HEAD:NAME/manifests/DIGEST DELETE:NAME/manifests/DIGEST \
            POST:NAME/blobs/uploads/ PUT:NAME/manifests/evil $seen; do
            exec 3<>"/dev/tcp/127.0.0.1/$((16#${address#*:}))" || continue
            printf '%s /v2/%s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "${what%%:*}" "${what#*:}" >&3
            status=none
            read -r -t 5 _ status _ <&3
            echo "tried $status $what"
            exec 3>&-
        done
    done
done >/tmp/probed 2>/dev/null
"""


def test_other_accounts_of_the_server_get_nothing(shipped: Shipped, engine: testbed.Engine) -> None:
    """They find the tunnel in /proc/net/tcp, and the deploy goes on undisturbed."""
    digest = json.loads(shipped.project.read(".deploy/state.json"))["push"]["digest"]
    script = PROBE.replace("NAME", shipped.run_image).replace("DIGEST", digest)
    with testbed.Server(engine, ports=[shipped.port]) as other:
        other.run("touch", "/tmp/probe")
        other.run("sh", "-c", 'printf %s "$1" >/tmp/probe.sh', "sh", script)
        begin = "setsid setpriv --reuid 65534 --regid 65534 --clear-groups bash /tmp/probe.sh"
        other.run("sh", "-c", f"{begin} </dev/null >/dev/null 2>&1 &")
        shipped.make("deploy", BRIEFLY, f"SSH={other.ssh}")
        other.run("rm", "/tmp/probe")
        tried = [line.split() for line in other.run("cat", "/tmp/probed").splitlines()]
        assert len(tried) > 50
        assert {status for _, status, _ in tried} <= {"401", "405", "none"}, tried
        # The path is in the list of processes while docker pulls.
        assert any(re.match("GET:[0-9a-f]{32}/", what) for _, _, what in tried)
        assert "Up" in other.docker("ps", "--filter", f"name=^{shipped.name}$")


def test_option_in_the_host_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    """ssh must not take a host for an option that runs a command."""
    proof = tmp_path / "proof"
    said = shipped.make_fails("status", f"DEPLOY_HOST=-oProxyCommand=touch {proof}")
    assert "DEPLOY_HOST" in complaint(said)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("variables", "advice"),
    [
        ({"DOCKER_HOST": "unix:///no/such.sock"}, "start it"),
        ({"DOCKER": "no-such-docker"}, "no-such-docker is not installed"),
    ],
)
def test_missing_engine_here_is_reported(
    shipped: Shipped, variables: dict[str, str], advice: str
) -> None:
    """An engine that is stopped, and one that is not installed."""
    typed = [f"{name}={value}" for name, value in variables.items() if name == "DOCKER"]
    said = shipped.make_fails("image", *typed, **variables)
    assert advice in complaint(said)


@pytest.mark.parametrize(
    ("target", "plugin", "uses"), [("base", "buildx", "build"), ("registry-up", "compose", "none")]
)
def test_missing_plugin_is_reported(
    shipped: Shipped, tmp_path: Path, target: str, plugin: str, uses: str
) -> None:
    """Docker's client without its plugins, as some distributions package it."""
    script = f'case $1 in {plugin} | {uses}) exit 1 ;; esac\nexec {real_docker(shipped)} "$@"'
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "docker").chmod(0o755)
    typed = [f"DOCKER={tmp_path / 'docker'}", "REGISTRY_PORT=1"]
    typed += ["NATIVE=apt:libc6"] if target == "base" else []  # or else there is nothing to build
    said = shipped.make_fails(target, *typed)
    assert re.search(rf"has no {plugin}[.:] [Ii]nstall it", said)


def real_docker(shipped: Shipped) -> str:
    """Find the docker command that the engine of this session is used with."""
    path = shipped.laptop.engine.environment["PATH"]
    found = subprocess.check_output(["sh", "-c", "command -v docker"], env={"PATH": path})
    return found.decode().strip()


def test_missing_programs_here_are_reported(shipped: Shipped, tmp_path: Path) -> None:
    """No python3 and no ssh on the PATH."""
    path = shipped.laptop.engine.environment["PATH"]
    for name in ("bash", "sh", "env", "dirname", "basename", "mkdir", "sed", "make"):
        found = subprocess.check_output(["sh", "-c", f"command -v {name}"], env={"PATH": path})
        os.symlink(found.decode().strip(), tmp_path / name)
    script = str(shipped.project.path / "deploy" / "build.sh")
    done = shipped.project.run(script, PATH=str(tmp_path))
    assert done.returncode != 0
    assert re.search("python3.* not (installed|found)", complaint(done.stdout))
    assert "no-ssh is not installed" in refused(shipped, "no-ssh")
