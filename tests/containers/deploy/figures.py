"""Figures of deploys for docs/figures/deploys.md; no test, and run by name:

.venv/bin/python -m pytest -s tests/containers/deploy/figures.py
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import random
import re
import select
import shlex
import statistics
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import debian
from testbed.console import run
from tests.containers.faulty_application import Faulty
from tests.containers.laptop import Laptop, OpenRegistry, Shipped, answer_of

MODULE_TEXT = "Hello, world!"
ROUNDS = 3


def say(text: str) -> None:
    """Print a figure."""
    print(f"\nFIGURE {text}", flush=True)


def received(shipped: Shipped) -> int:
    """Count the bytes that the server's network interface has received."""
    return int(shipped.laptop.server.run("cat", "/sys/class/net/eth0/statistics/rx_bytes"))


class Watching(threading.Thread):
    """A thread that sends requests, and measures the longest time without an answer."""

    def __init__(self, address: str) -> None:
        """Remember the address to ask."""
        super().__init__()
        self._address = address
        self._end = threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        """Send requests until the block ends."""
        last = time.monotonic()
        while not self._end.wait(0.005):
            with contextlib.suppress(OSError):
                answer_of(self._address)
                now = time.monotonic()
                self.longest = max(self.longest, now - last)
                last = now

    def __enter__(self) -> Watching:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        self.join()


@pytest.mark.parametrize("shipped", ["CPython", "PyPy"], indirect=True)
def test_gap_under_load(shipped: Shipped) -> None:
    """Redeploys while wrk asks over 50 connections, beside the application's own start."""
    debian.install("wrk")
    server, address = shipped.laptop.server, shipped.laptop.server.address(shipped.port)
    shipped.make("deploy")
    starts, gaps = [], []
    for number in range(ROUNDS):
        load = ["wrk", "-t1", "-c50", "-d60s", f"http://{address}/"]
        with subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as wrk:
            try:
                server.docker("stop", shipped.name)
                began = time.monotonic()
                server.docker("start", shipped.name)
                while True:
                    with contextlib.suppress(OSError):
                        answer_of(address)
                        break
                    time.sleep(0.005)
                starts.append(time.monotonic() - began)
                (shipped.project.path / "deploy" / "run.env").write_text(f"A={number}\n")
                with Watching(address) as watching:
                    shipped.make("deploy")
                gaps.append(watching.longest)
            finally:
                wrk.kill()
    (shipped.project.path / "deploy" / "run.env").unlink()
    start, gap = statistics.median(starts), statistics.median(gaps)
    say(f"{shipped.name}: starts {starts} gaps {gaps}: {gap:.2f} / {start:.2f} = {gap / start:.2f}")


@pytest.fixture
def by_hand(laptop: Laptop) -> Iterator[OpenRegistry]:
    """The registry of somebody who does it by hand."""
    with OpenRegistry(laptop.engine) as found:
        yield found


@pytest.mark.parametrize("shipped", ["CPython"], indirect=True)
def test_beside_the_hand_written(shipped: Shipped, by_hand: OpenRegistry) -> None:
    """`make push deploy` after a changed line, and the same with docker and ssh by hand.

    Also with STEADY=0, since by hand nothing is waited for.
    """
    module = f"src/{shipped.name.replace('-', '_')}/__init__.py"
    laptop, server = shipped.laptop, shipped.laptop.server
    repository = f"{by_hand.address}/{shipped.run_image}"
    ways = ("make", "make STEADY=0", "hand")
    times: dict[str, list[float]] = {way: [] for way in ways}
    sent: dict[str, list[int]] = {way: [] for way in ways}
    text = MODULE_TEXT
    for number in range(len(ways) * ROUNDS):
        new = f"Hello, {number}!"
        shipped.edit(module, text, new)
        text = new
        shipped.make("image")
        way = ways[number % len(ways)]
        before, began = received(shipped), time.monotonic()
        if way != "hand":
            shipped.make("push", "deploy", *way.split()[1:])
        else:
            tag = f"{repository}:hand{number}"
            laptop.docker("tag", shipped.run_image, tag)
            laptop.docker("push", "--quiet", tag)
            remote = (
                f"docker pull --quiet 127.0.0.1:5999/{shipped.run_image}:hand{number} &&"
                f" docker rm --force {shipped.name} && docker run --detach --name {shipped.name}"
                f" --restart=always --publish {shipped.port}:{shipped.port}"
                f" 127.0.0.1:5999/{shipped.run_image}:hand{number}"
            )
            tunnel = ("-R", f"127.0.0.1:5999:{by_hand.address}")
            laptop.engine.run(*shlex.split(server.ssh), *tunnel, server.host, remote)
        times[way].append(time.monotonic() - began)
        sent[way].append(received(shipped) - before)
        if way == "hand":
            server.docker("rm", "--force", shipped.name)
            shipped.make("deploy")
    medians = {way: statistics.median(found) for way, found in times.items()}
    ratios = {way: f"{medians[way] / medians['hand']:.2f} times" for way in ways[:2]}
    say(f"seconds {times}: {ratios}; bytes {sent}")


# ioctl and flags of <linux/if_tun.h>: a device that hands whole packets to a process
TUNSETIFF, TUN, NO_PACKET_INFORMATION = 0x400454CA, 0x0001, 0x1000
HERE, THERE = "10.254.253.1", "10.254.253.2"
DELAY = 0.010  # seconds, each way
LOSS = 0.005


def relay(ends: list[int]) -> None:
    """Carry packets between two devices for ever, late, and not all of them."""
    waiting: dict[int, deque[tuple[float, bytes]]] = {ends[0]: deque(), ends[1]: deque()}
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    while True:
        first = min((queue[0][0] for queue in waiting.values() if queue), default=None)
        left = None if first is None else max(0, first - time.monotonic())
        for end in select.select(ends, [], [], left)[0]:
            packet = os.read(end, 2000)
            if random.random() >= LOSS:
                waiting[other[end]].append((time.monotonic() + DELAY, packet))
        for end, queue in waiting.items():
            while queue and queue[0][0] <= time.monotonic():
                os.write(end, queue.popleft()[1])


@contextlib.contextmanager
def bad_link(faulty: Faulty, folder: Path) -> Iterator[str]:
    """An ssh command that reaches the server over 20 ms and 0.5 % loss.

    By two devices and a process between them, since not every kernel has netem.
    """
    pid = faulty.laptop.docker("inspect", "--format", "{{.State.Pid}}", faulty.server.name).strip()
    ends = []
    for name in ("slipway-here", "slipway-there"):
        ends.append(os.open("/dev/net/tun", os.O_RDWR))
        request = struct.pack("16sH22x", name.encode(), TUN | NO_PACKET_INFORMATION)
        fcntl.ioctl(ends[-1], TUNSETIFF, request)
    run("figures", ["ip", "link", "set", "slipway-there", "netns", pid])
    for inside, name, mine, other in (
        ([], "slipway-here", HERE, THERE),
        (["nsenter", "-t", pid, "-n"], "slipway-there", THERE, HERE),
    ):
        run("figures", [*inside, "ip", "address", "add", mine, "peer", other, "dev", name])
        run("figures", [*inside, "ip", "link", "set", name, "mtu", "1400", "up"])
    process = multiprocessing.Process(target=relay, args=(ends,), daemon=True)
    process.start()
    text = (faulty.server.folder / "config").read_text()
    text = re.sub(r"(?m)^ *HostName .*$", f"  HostName {THERE}", text)
    text = re.sub(r"(?m)^ *Port .*$", "  Port 22", text)
    (folder / "config").write_text(text)
    try:
        yield f"ssh -F {folder / 'config'}"
    finally:
        process.kill()
        process.join()
        for end in ends:
            os.close(end)


def push_layers(faulty: Faulty, sizes: list[int]) -> None:
    """Put layers of random megabytes on top of the application's image, and push that."""
    lines = [f"FROM {faulty.name}-run", "USER 0"]
    lines += [
        f"RUN head -c {size}M /dev/urandom >/var/layer{number}" for number, size in enumerate(sizes)
    ]
    lines.append("USER 10001:10001")
    name = f"127.0.0.1:{faulty.laptop.registry_port}/{faulty.name}-run:big{len(sizes)}"
    folder = faulty.project.path / ".deploy"
    (folder / "big.docker").write_text("\n".join(lines) + "\n")
    build = ("docker", "build", "--no-cache", "--provenance=false", "--quiet", "--tag", name)
    faulty.laptop.engine.run(*build, "--file", str(folder / "big.docker"), str(folder), timeout=900)
    user = faulty.laptop.registry_user
    said = faulty.laptop.engine.run("docker", *user, "push", name, timeout=900)
    found = re.search(r"digest: (sha256:\w+)", said)
    assert found
    image = faulty.laptop.image_id(name)
    record = faulty.project.path / ".deploy" / "state.json"
    steps = json.loads(record.read_text(encoding="utf-8"))
    steps["push"] = {"digest": found[1], "image": image, "name": name}
    record.write_text(json.dumps(steps), encoding="utf-8")


def arrived(faulty: Faulty) -> int:
    """Count the bytes that have come over the bad link."""
    return int(faulty.server.run("cat", "/sys/class/net/slipway-there/statistics/rx_bytes"))


def test_large_layer_over_a_bad_link(faulty: Faulty, tmp_path: Path) -> None:
    """500 MB in one layer, 20 ms, 0.5 % loss."""
    push_layers(faulty, [500])
    with bad_link(faulty, tmp_path) as ssh:
        began = time.monotonic()
        faulty.succeeds(SSH=ssh)
        took = time.monotonic() - began
        say(f"500 MB over 20 ms and 0.5 %: {took:.0f} s, {arrived(faulty) / 1e6:.0f} MB")
    assert faulty.one_healthy_release_runs()


def test_cut_tunnel_goes_on_where_it_ended(faulty: Faulty, tmp_path: Path) -> None:
    """Five layers of 40 MB; the deploy is killed after some of them have arrived."""
    push_layers(faulty, [40] * 5)
    with bad_link(faulty, tmp_path) as ssh:
        with faulty.start(SSH=ssh) as process:
            while arrived(faulty) < 140e6:
                time.sleep(0.1)
                assert process.poll() is None
            process.kill()
        first = arrived(faulty)
        faulty.succeeds(SSH=ssh)
        second = arrived(faulty) - first
    say(f"cut after {first / 1e6:.0f} MB of 210; the second deploy sent {second / 1e6:.0f} MB")
    assert faulty.one_healthy_release_runs()
