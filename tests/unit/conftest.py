"""The template's deploy/ folder as a copy that can be run, and programs that stand for others."""

from __future__ import annotations

import base64
import hashlib
import shutil
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop.docker import registry_password
from slipway.laptop.servers.ssh import connected
from slipway.laptop.settings import rules
from tests.conftest import ROOT, Project

DEPLOY = ROOT / "{{cookiecutter.project}}" / "deploy"

Program = Callable[[str, str], Path]

SETTINGS = """\
PROJECT := shop
PYTHON := python3
NATIVE := openssl
COMMAND := run-the-app
PORT := 8081
BASE_IMAGE := debian:trixie-slim
HEALTH := /
DEPLOY_HOST ?=
REGISTRY_PORT := 5051
"""


@pytest.fixture(autouse=True, scope="module")
def no_settings_from_outside() -> Iterator[None]:
    """Hide the settings of who runs the tests; `make test PYTHON=…` hands its own to every make."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            *rules.DEFAULTS,
            *rules.VARIABLES,
            "DEPLOY_OVERRIDES",
            "DEPLOY_GOALS",
            "MAKEFLAGS",
            "MAKEOVERRIDES",
            "MFLAGS",
        ):
            patch.delenv(name, raising=False)
        yield


def copy_of_deploy(place: Path) -> Project:
    """Make a repository with a copy of deploy/ in it and plain settings, and nothing else."""
    ignored = shutil.ignore_patterns("__pycache__", "settings.mk")
    shutil.copytree(DEPLOY, place / "deploy", ignore=ignored)
    (place / "deploy" / "settings.mk").write_text(SETTINGS, encoding="utf-8")
    return Project(place, "")


def stand_in(patch: pytest.MonkeyPatch, place: Path) -> None:
    """Point the laptop's modules at the project at a place, without the start of a Python.

    A test imports those that it uses before: one that is imported later would stay there.
    """
    modules = [each for name, each in sys.modules.items() if name.startswith("slipway.laptop.")]

    def moved(value: Any) -> Any:
        inside = isinstance(value, Path) and value.is_relative_to(DEPLOY.parent)
        return place / value.relative_to(DEPLOY.parent) if inside else value

    for module in modules:
        for name, value in [*vars(module).items()]:
            if moved(value) is not value:
                patch.setattr(module, name, moved(value))
            elif callable(value) and getattr(value, "__defaults__", None):
                defaults = tuple(map(moved, value.__defaults__))
                if defaults != value.__defaults__:
                    patch.setattr(value, "__defaults__", defaults)


def shell_script(path: Path, script: str) -> Path:
    """Write a shell script that stands for a program."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A repository with a copy of deploy/ in it and plain settings, and nothing else."""
    return copy_of_deploy(tmp_path / "a place")


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a shell script that stands for a program: `program("docker", "exit 1")`."""
    return lambda name, script: shell_script(tmp_path / "bin" / name, script)


@pytest.fixture
def serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[type[BaseHTTPRequestHandler]], int]]:
    """Serve HTTP on a free loopback port for the length of a test; gives the port.

    There is a password for it, as for a registry.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    servers = []

    def start(handler: type[BaseHTTPRequestHandler]) -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        port = int(server.server_address[1])
        registry_password.keep(port, registry_password.basic("secret"))
        return port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# An ssh without a network: runs the remote command here, and -W sends one request to a port here.
LOCAL_SSH = """\
import os, socket, sys
options, (host, *remote) = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
if "-W" not in options:
    os.execvp("sh", ["sh", "-c", *remote])
address, port = options[options.index("-W") + 1].split(":")
with socket.create_connection((address, int(port))) as connection:
    for line in iter(sys.stdin.buffer.readline, b"\\r\\n"):
        connection.sendall(line)
    connection.sendall(b"\\r\\n")
    for data in iter(lambda: connection.recv(1000), b""):
        sys.stdout.buffer.write(data)
"""


@pytest.fixture
def here(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A connection to this machine, where programs of the test stand before the others."""
    (tmp_path / "ssh.py").write_text(LOCAL_SSH)
    # a greeting in .bashrc, whose line has no end
    ssh = program("ssh", f'printf "Dear me: "; exec {sys.executable} {tmp_path}/ssh.py "$@"')
    monkeypatch.setenv("PATH", f"{ssh.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    with connected(str(ssh), "server") as connection:
        connection.ssh[0] = str(program("quiet", f'exec {sys.executable} {tmp_path}/ssh.py "$@"'))
        yield connection


def closed_port() -> int:
    """Return a loopback port where nothing listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    requires: list[str] | None = None,
    entry_points: str = "",
    seen: str = "",
) -> Path:
    """Write a pure wheel of one module by hand."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires or [])
    files = {
        f"{name.replace('-', '_')}.py": f"import sys\nSEEN = {seen!r}\n"
        f"def main(): print({name!r}, {version!r}, sys.argv[1:])\n",
        f"{stem}.dist-info/METADATA": metadata,
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": entry_points,
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{path},sha256={digest.rstrip('=')},{len(text.encode())}\n"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{stem}.dist-info/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel
