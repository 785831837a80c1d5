"""Compare the attachments application at several places, for example before and after a change.

    python -m measure.attachments.compare [--mib MIB] [--rounds ROUNDS] [--python PYTHON] SOURCES…

Each of SOURCES is a `src` folder. Linux only. All servers run at the same time and are measured in
turn, so that other work on the machine slows all of them down. The lines of code are those that are
not blank, a comment or a docstring.
"""

from __future__ import annotations

import argparse
import ast
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

MIB = 1 << 20
REQUESTS = 100  # in a round
# The modules about HTTP; the others are the same with any library.
HTTP = "application bodies fields messages page semantics server slow_clients".split()
PROGRAM = "from attachments import main\nmain()\n"
BODY = os.urandom(1000)
SMALL = {
    "GET /health": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /page.js, 304": b"GET /page.js HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
    "PUT 1 kB": b"PUT /files/small HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + BODY,
    "GET 1 kB": b"GET /files/small HTTP/1.1\r\nHost: x\r\n\r\n",
}
TICKS = os.sysconf("SC_CLK_TCK")


def lines_of_code(path: Path) -> int:
    """Return the number of lines that have code on them."""
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    ignored = {tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE}
    ignored |= {tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = {
        line
        for token in tokens
        if token.type not in ignored
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


class Server:
    """One server with a new SQLite database in a folder of its own."""

    def __init__(self, python: str, sources: Path, folder: Path) -> None:
        """Start the server and read its port from its log."""
        self.sources = sources
        program = folder / "serve.py"
        program.write_text(PROGRAM, encoding="utf-8")
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(self._path(sources))}
        self.process = subprocess.Popen(
            [python, program],
            cwd=folder,
            env={**self.environment, "PORT": "0", "WRITE_TOKEN": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        for line in self.process.stderr:
            if found := re.search(r"running on http://0.0.0.0:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError(f"the server of {sources} exited: {self.process.wait()}")

    @staticmethod
    def _path(sources: Path) -> Iterator[str]:
        yield str(sources)
        if inherited := os.environ.get("PYTHONPATH"):
            yield inherited

    def status(self, field: str) -> float:
        """Return a field of the process's status in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{field}:\s+(\d+)", text)
        assert found
        return int(found[1]) / 1024

    def cpu(self) -> float:
        """Return the processor time that the server has used, in seconds."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak(self, work: Callable[[], None]) -> float:
        """Return by how many MiB the memory grows beyond its present size during some work."""
        before = self.status("VmRSS")
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")
        work()
        return self.status("VmHWM") - before

    def upload(self, mib: int) -> None:
        """Send a file in pieces."""
        piece = os.urandom(MIB)
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        length = {"Content-Length": str(mib * MIB)}
        connection.request("PUT", "/files/large", (piece for _ in range(mib)), length)
        response = connection.getresponse()
        assert response.status in (201, 204), response.read()
        response.read()
        connection.close()

    def download(self, mib: int) -> None:
        """Receive the file in pieces."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/files/large")
        response = connection.getresponse()
        received = 0
        while piece := response.read(MIB):
            received += len(piece)
        assert received == mib * MIB
        connection.close()


def ask(connection: socket.socket, request: bytes) -> None:
    """Send one request and read its answer."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1 << 16)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head[9:12] in (b"200", b"201", b"204", b"304"), head
    length = re.search(rb"content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(1 << 16)


def requests_per_second(
    servers: list[Server], request: bytes, rounds: int
) -> list[tuple[float, float]]:
    """Return each server's requests per second, and per second of its processor time."""
    best = [0.0] * len(servers)
    spent = [0.0] * len(servers)
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for server in servers
        ]
        for connection in connections:
            for _ in range(REQUESTS):
                ask(connection, request)
        for _ in range(rounds):
            for number, server in enumerate(servers):
                cpu, began = server.cpu(), time.perf_counter()
                for _ in range(REQUESTS):
                    ask(connections[number], request)
                best[number] = max(best[number], REQUESTS / (time.perf_counter() - began))
                spent[number] += server.cpu() - cpu
    return [(rate, rounds * REQUESTS / cpu) for rate, cpu in zip(best, spent, strict=True)]


def seconds_to_import(python: str, servers: list[Server]) -> list[float]:
    """Return the least processor time, in seconds, that each one's modules take to import."""
    program = "import time, attachments.server; print(time.process_time())"
    best = [1e9] * len(servers)
    for _ in range(7):
        for number, server in enumerate(servers):
            words = [python, "-c", program]
            said = subprocess.run(words, env=server.environment, capture_output=True, check=True)
            best[number] = min(best[number], float(said.stdout))
    return best


@contextmanager
def running(python: str, places: list[Path]) -> Iterator[list[Server]]:
    """Start a server for each folder of sources, and end them all."""
    with ExitStack() as stack:
        servers = []
        for place in places:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers.append(Server(python, place.resolve(), folder))
            stack.callback(servers[-1].process.wait)
            stack.callback(servers[-1].process.kill)
        yield servers


def main() -> None:
    """Print one line for each figure, with one column for each folder of sources."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("sources", type=Path, nargs="+")
    given = parser.parse_args()

    def show(name: str, values: list[float], digits: int) -> None:
        print(f"{name:42}", *(f"{value:10.{digits}f}" for value in values), flush=True)

    codes = [
        sum(
            lines_of_code(path)
            for name in HTTP
            if (path := place / "attachments" / f"{name}.py").exists()
        )
        for place in given.sources
    ]
    show("lines of code about HTTP", [float(code) for code in codes], 0)
    with running(given.python, given.sources) as servers:
        imports = seconds_to_import(given.python, servers)
        show("import, ms of processor", [seconds * 1000 for seconds in imports], 0)
        for server in servers:
            for _ in range(3):
                server.upload(2)
                server.download(2)
        show("idle, MiB", [server.status("VmRSS") for server in servers], 1)
        mib = given.mib
        up = [server.peak(partial(server.upload, mib)) for server in servers]
        down = [server.peak(partial(server.download, mib)) for server in servers]
        show(f"upload of {mib} MiB, MiB above idle", up, 1)
        show(f"download of {mib} MiB, MiB above idle", down, 1)
        for name, request in SMALL.items():
            rates = requests_per_second(servers, request, given.rounds)
            show(f"{name}, requests a second", [rate for rate, _ in rates], 0)
            show(f"{name}, requests a second of processor", [cpu for _, cpu in rates], 0)


if __name__ == "__main__":
    main()
