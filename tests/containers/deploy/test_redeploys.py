"""Redeploys under load: a web application behind a proxy loses no request, a worker loses no job.

A few run in every `make test`. REDEPLOYS is how many; `make redeploys` sets it to 50.
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import testbed
from tests.conftest import Baker, Project
from tests.containers.faulty_application import Faulty
from tests.containers.laptop import SESSION, Laptop, wait_until, write

REDEPLOYS = int(os.environ.get("REDEPLOYS", "3"))
PORT = 8085  # of the application in its container
PROXY = 8086
JOBS = 14  # before each redeploy

FILES = {
    # brings open requests to their end on SIGTERM
    "web.py": """\
        import http.server, os, signal, threading, time

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = os.environ["VERSION"].encode()
                time.sleep(0.01)
                self.send_response(500 if body == b"broken" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = False

        server = Server(("", int(os.environ["PORT"])), Handler)
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(0.05)
        server.server_close()
    """,
    # brings a job to its end on SIGTERM; one that it has taken is nowhere else
    "worker.py": """\
        import os, pathlib, signal, time

        QUEUE, DONE = pathlib.Path("/files/queue"), pathlib.Path("/files/done")
        QUEUE.mkdir(exist_ok=True)
        DONE.mkdir(exist_ok=True)
        ending = []
        signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
        while not ending:
            for job in sorted(QUEUE.glob("job*")):
                try:
                    job.unlink()
                except FileNotFoundError:
                    continue
                time.sleep(0.3)
                (DONE / job.name).write_text(os.environ["VERSION"])
                break
            else:
                time.sleep(0.05)
    """,
}

# Resolves the name for each request, and tries all of its addresses; what has failed before an
# answer came is tried once more.
PROXY_SERVER = f"""\
import socket, socketserver

def ask(request):
    for attempt in range(2):
        try:
            found = socket.getaddrinfo("api", {PORT}, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            continue
        for *_, address in found:
            try:
                with socket.create_connection(address, 5) as connection:
                    connection.sendall(request)
                    answer = b"".join(iter(lambda: connection.recv(65536), b""))
            except OSError as problem:
                print(problem, address, flush=True)
                continue
            if answer:
                return answer
    return b"HTTP/1.0 502 Bad Gateway\\r\\n\\r\\n"

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        request = b"".join(iter(self.rfile.readline, b"\\r\\n")) + b"\\r\\n"
        self.wfile.write(ask(request.replace(b"HTTP/1.1", b"HTTP/1.0")))

class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    daemon_threads = True

Server(("", {PROXY}), Handler).serve_forever()
"""

BEHIND_A_PROXY = {"BIND": "none", "RUN_OPTIONS": "--network backend --network-alias api"}


class Load:
    """Threads that send one request after another to a proxy, and count the answers."""

    def __init__(self, address: str) -> None:
        """Remember where to send them."""
        self.answers: dict[str, int] = {}
        self.longest = 0.0  # seconds until an answer came
        self._address = address
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self) -> None:
        while not self._end.wait(0.005):
            connection = http.client.HTTPConnection(self._address, timeout=30)
            began = time.monotonic()
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                text = response.read().decode()
                answer = text if response.status == 200 else f"status {response.status} {text}"
            except (OSError, http.client.HTTPException) as problem:
                answer = f"no answer: {problem!r}"
            finally:
                connection.close()
            with self._lock:
                self.longest = max(self.longest, time.monotonic() - began)
                self.answers[answer] = self.answers.get(answer, 0) + 1

    @property
    def lost(self) -> dict[str, int]:
        """The answers that are not those of a good release, and how many there were."""
        return {text: count for text, count in self.answers.items() if not text.startswith("good")}

    def __enter__(self) -> Load:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def project(generate: Baker, laptop: Laptop) -> Project:
    """A web application and a worker, built and pushed."""
    name = f"redeployed-{SESSION}"
    answers = {"app": "existing", "python": "CPython", "command": "python web.py"}
    made = generate(project=name, native_deps=" ", port=str(PORT), **answers)
    write(made.path, {**FILES, "media/logo.txt": "a logo"})
    settings = made.path / "deploy" / "settings.mk"
    text = settings.read_text().replace("HEALTH := tcp", "HEALTH := /")
    volumes = f"{name}-files:/files {name}-media:/appenv/app/media"
    for setting, value in (("FILES", "web.py worker.py media"), ("VOLUMES", volumes)):
        text = text.replace(f"{setting} :=\n", f"{setting} := {value}\n")
    settings.write_text(f"{text}\nCOMMAND_worker := python worker.py\n")
    (made.path / "requirements.in").write_text("six\n", encoding="utf-8")
    laptop.make(made, "wheels", "image", "push")
    return made


@pytest.fixture(scope="module")
def deployed(engine: testbed.Engine, laptop: Laptop, project: Project) -> Iterator[Faulty]:
    """A server with the application, which publishes no port, and a proxy in front of it."""
    with testbed.Server(engine, ports=[PROXY]) as server:
        deploys = Faulty(laptop, project, project.path.name, server)
        server.docker("network", "create", "backend")
        deploys.release(VERSION="good 0")
        said = deploys.succeeds(**BEHIND_A_PROXY)
        assert "http://" not in said
        assert server.docker("port", deploys.name) == ""
        copy = ("sh", "-c", 'printf %s "$1" >/root/proxy.py', "sh", PROXY_SERVER)
        server.run(*copy)
        image = server.docker("inspect", "--format", "{{.Config.Image}}", deploys.name).strip()
        server.docker(
            *("run", "--detach", "--name", "proxy", "--network", "backend"),
            *("--publish", f"{PROXY}:{PROXY}", "--volume", "/root/proxy.py:/proxy.py:ro"),
            *("--entrypoint", "/appenv/bin/python", image, "/proxy.py"),
        )
        yield deploys


@contextmanager
def load(deployed: Faulty) -> Iterator[Load]:
    """Send requests through the proxy for the length of the block."""
    with Load(deployed.server.address(PROXY)) as threads:
        wait_until(lambda: sum(threads.answers.values()) > 20)
        assert threads.lost == {}
        yield threads
    asked = sum(threads.answers.values())
    print(f"\n{asked} requests, lost: {threads.lost}; longest {threads.longest:.1f} s")


def test_a_broken_release_is_not_found_by_its_alias(deployed: Faulty) -> None:
    """It is tried beside the running one, and gets no request of others."""
    deployed.release(VERSION="broken")
    with load(deployed) as threads:
        said = deployed.fails(HEALTH_TIMEOUT="5", **BEHIND_A_PROXY)
    assert "answers HTTP/1.0 500" in said
    assert threads.lost == {}


def test_redeploys_behind_an_alias_lose_no_request(deployed: Faulty) -> None:
    """The new release answers before the last one is told to end; a rollback does the same."""
    with load(deployed) as threads:
        for number in range(1, REDEPLOYS + 1):
            deployed.release(VERSION=f"good {number}")
            deployed.succeeds(**BEHIND_A_PROXY)
            wait_until(lambda n=number: f"good {n}" in threads.answers)  # type: ignore[misc]
        deployed.succeeds("rollback", **BEHIND_A_PROXY)
    assert threads.lost == {}
    up = {name for name, state in deployed.containers().items() if state.startswith("Up")}
    assert up == {deployed.name, "proxy"}


def test_an_application_that_must_not_run_twice_has_a_gap(deployed: Faulty) -> None:
    """So the load would see one above."""
    deployed.release(VERSION="good alone")
    with load(deployed) as threads:
        deployed.succeeds(CANDIDATE="no", **BEHIND_A_PROXY)
    assert threads.lost


def test_a_volume_over_a_folder_of_the_image_belongs_to_the_application(deployed: Faulty) -> None:
    """With the image's files in it, and also when it has become empty."""
    change = (
        "import os; os.remove('media/logo.txt'); open('media/new', 'x'); os.remove('media/new')"
    )
    program = ("exec", deployed.name, "/appenv/bin/python", "-c")
    deployed.server.docker(*program, change)
    deployed.release(VERSION="good empty")
    deployed.succeeds(**BEHIND_A_PROXY)
    deployed.server.docker(*program, "open('media/upload', 'x')")


def test_redeploys_of_a_worker_lose_no_job(deployed: Faulty) -> None:
    """A second worker is never started beside it, and each one ends with the job that it has."""
    there = Faulty(deployed.laptop, deployed.project, f"{deployed.name}-worker", deployed.server)
    files = f"/var/lib/docker/volumes/{deployed.name}-files/_data"
    deployed.release(VERSION="0")
    there.succeeds(PROGRAM="worker")
    done = "0"
    for number in range(1, REDEPLOYS + 1):
        script = f"for n in $(seq {JOBS}); do touch {files}/queue/job-{number}-$n; done"
        deployed.server.run("sh", "-c", script)
        deployed.release(VERSION=str(number))
        said = there.succeeds(PROGRAM="worker")
        assert "killed" not in said
    wanted = JOBS * REDEPLOYS

    def is_idle() -> bool:
        nonlocal done
        done = deployed.server.run("sh", "-c", f"ls {files}/done | wc -l").strip()
        left = deployed.server.run("sh", "-c", f"ls {files}/queue | wc -l").strip()
        return left == "0" and int(done) >= wanted

    wait_until(is_idle)
    assert int(done) == wanted
    assert there.leftovers() == []
