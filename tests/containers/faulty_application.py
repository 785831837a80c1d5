"""An application that fails in the way that its environment asks for, and a server for it.

One image serves for every kind of release. Only `deploy/run.env` changes, so a deploy takes
seconds. The application answers with its VERSION.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import testbed
from tests.conftest import Project

if TYPE_CHECKING:
    from tests.containers.laptop import Laptop

PORT = 8084
WITHIN = 60  # seconds in which a server is in order again, whatever was killed

APPLICATION = {
    "pyproject.toml": """\
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "faulty"
        version = "1.0"
        [project.scripts]
        faulty = "faulty:main"
        [tool.setuptools]
        py-modules = ["faulty"]
    """,
    "faulty.py": """\
        import http.server, os, signal, sys, threading, time

        MODE, _, SECONDS = os.environ.get("MODE", "good").partition(" ")
        SECONDS = float(SECONDS or 0)
        BEGAN = time.monotonic()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if MODE == "slow":
                    time.sleep(SECONDS)
                body = os.environ.get("VERSION", "").encode()
                rotten = MODE == "rots" and time.monotonic() > BEGAN + SECONDS
                self.send_response(500 if rotten or MODE == "unhealthy" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        def later(action):
            threading.Timer(SECONDS, action).start()

        def main():
            print("starts as", MODE, flush=True)
            if MODE == "exits":
                sys.exit("no database today")
            if MODE == "sleeps":
                time.sleep(SECONDS)
                sys.exit(3)
            if MODE == "missing":
                os.environ["DATABASE_URL"]
            if MODE == "writes":
                open("/appenv/cache", "w")
            if MODE == "needs":
                open("/needed/file")
            if MODE == "eats":
                later(lambda: bytearray(b"x") * 10**9)
            if MODE == "threads":
                for _ in range(600):
                    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            if MODE == "files":
                import resource
                resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
                held = [open("/dev/null") for _ in range(100)]
            if MODE == "shares":
                import mmap
                with open("/dev/shm/all", "w+b") as file:
                    file.truncate(100 << 20)
                    mmap.mmap(file.fileno(), 0)[:] = bytes(100 << 20)
            if MODE == "loses":
                child = os.fork()
                if not child:
                    bytearray(b"x") * 10**9
                os.waitpid(child, 0)
                sys.exit("a worker is gone")
            if MODE == "zone":
                import zoneinfo
                zoneinfo.ZoneInfo("Europe/Berln")
            if MODE == "crashes":
                later(lambda: os._exit(9))
            if MODE == "forks" and os.fork():
                return
            if MODE == "late":
                time.sleep(SECONDS)
            if MODE == "garbage":
                import socketserver
                class Garbage(socketserver.BaseRequestHandler):
                    def handle(self):
                        self.request.sendall(b"hello\\n")
                server = socketserver.ThreadingTCPServer(("", int(os.environ["PORT"])), Garbage)
                server.serve_forever()
            def stop(*_):
                raise SystemExit
            signal.signal(signal.SIGTERM, signal.SIG_IGN if MODE == "stubborn" else stop)
            address = "127.0.0.1" if MODE == "loopback" else ""
            port = 9 + int(os.environ["PORT"]) if MODE == "elsewhere" else int(os.environ["PORT"])
            Server((address, port), Handler).serve_forever()
    """,
}


@dataclass
class Faulty:
    """The application on its way to a server."""

    laptop: Laptop
    project: Project
    name: str
    server: testbed.Server
    started: list[int] = field(default_factory=list)  # processes on this machine
    # How long a release must be healthy: for most tests a second is enough.
    variables: Mapping[str, str] = field(default_factory=lambda: {"STEADY": "1"})

    @property
    def environment(self) -> dict[str, str]:
        """The environment that the commands run in."""
        settings = {
            "DEPLOY_HOST": self.server.host,
            "SSH": self.server.ssh,
            "REGISTRY_PORT": str(self.laptop.registry_port),
            "XDG_STATE_HOME": str(self.laptop.state),
        }
        return {**os.environ, **self.laptop.engine.environment, **settings}

    def release(self, **variables: str) -> None:
        """Write the environment that the next release runs with."""
        text = "".join(f"{name}={value}\n" for name, value in variables.items())
        (self.project.path / "deploy" / "run.env").write_text(text, encoding="utf-8")

    def start(self, job: str = "deploy", **environment: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own, with no build before it."""
        process = subprocess.Popen(
            ["python3", self.project.path / "deploy" / "slipway", job],
            env={**self.environment, **self.variables, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process.pid)
        return process

    def run(self, job: str = "deploy", **environment: str) -> tuple[int, str]:
        """Run a command; return its exit status and its output."""
        with self.start(job, **environment) as process:
            assert process.stdout
            said = process.stdout.read()
        return process.returncode, said

    def succeeds(self, job: str = "deploy", **environment: str) -> str:
        """Run a command that must succeed, and return its output."""
        status, said = self.run(job, **environment)
        assert status == 0, said
        return said

    def fails(self, job: str = "deploy", **environment: str) -> str:
        """Run a command that must fail, and return its output."""
        status, said = self.run(job, **environment)
        assert status != 0, said
        return said

    @property
    def answer(self) -> str:
        """The answer at the server's port; empty when nothing answers."""
        address = self.server.address(PORT)
        connection = http.client.HTTPConnection(address, timeout=3)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    @property
    def status(self) -> dict[str, Any]:
        """The output of `make status FORMAT=json`."""
        _, said = self.run("status", FORMAT="json")
        found: dict[str, Any] = json.loads(next(each for each in said.splitlines() if "{" in each))
        return found

    def containers(self) -> dict[str, str]:
        """Return the state of each container on the server, by its name."""
        listed = self.server.docker("ps", "--all", "--format", "{{.Names}} {{.Status}}")
        return dict(line.split(" ", 1) for line in listed.splitlines())

    def until(self, is_so: Callable[[], bool], seconds: float = WITHIN) -> float:
        """Wait until something is so; return the seconds it took, or fail with a report."""
        began = time.monotonic()
        while True:
            try:
                if is_so():
                    return time.monotonic() - began
            except testbed.HarnessError:
                pass  # a server that is starting
            assert time.monotonic() < began + seconds, self.told()
            time.sleep(0.2)

    def told(self) -> str:
        """Return the server's own view, for the message of a test that fails."""
        log = f"/root/.slipway/{self.name}/log"
        script = f"docker ps --all; ls -la /tmp; ps aux | grep /server-; cat {log}"
        try:
            return f"left: {self.leftovers()}\n{self.server.run('sh', '-c', script)}"
        except testbed.HarnessError as problem:
            return str(problem)

    def one_healthy_release_runs(self) -> bool:
        """Return whether exactly one release runs, is healthy, and answers."""
        up = {name: state for name, state in self.containers().items() if state.startswith("Up")}
        return list(up) == [self.name] and "(healthy)" in up[self.name] and bool(self.answer)

    def is_at_rest(self) -> bool:
        """Return the same, and whether no part of a deploy is at work on the server any more."""
        running = self.server.run("ps", "-eo", "args")
        return (
            not re.search(r"/server-\w+\.sh (supervise|work)", running)
            and self.one_healthy_release_runs()
        )

    def leftovers(self) -> list[str]:
        """Return what a deploy may not leave: containers, locks, processes, files, tunnels."""
        names = {f"{self.name}-{word}" for word in ("next", "back", "try", "volumes")}
        found = [name for name in self.containers() if name in names]
        files = self.server.run(
            "sh", "-c", "ls -d /tmp/* /root/.slipway/*/*.[0-9]* 2>/dev/null || :"
        ).split()
        # an engine that asks a container for its health has one for a moment
        found += [name for name in files if not name.startswith("/tmp/runc-process")]
        volumes = self.server.docker("volume", "ls", "--quiet").splitlines()
        found += [name for name in volumes if name.startswith("slipway-lock.")]
        running = self.server.run("ps", "-eo", "args").splitlines()
        found += [line for line in running if "/server-" in line and not line.endswith("watch")]
        rows = self.server.run("cat", "/proc/net/tcp").splitlines()[1:]
        listening = [row.split()[1] for row in rows if row.split()[3] == "0A"]
        # of the loopback addresses only tunnels are listened on
        found += [f"tunnel {address}" for address in listening if address.startswith("0100007F")]
        # other tests may run on this machine
        made = (Path("/tmp").glob(f"deploy-{os.getuid()}-{pid}-*") for pid in self.started)
        return found + [str(path) for paths in made for path in paths]
