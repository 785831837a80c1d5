"""Deploys that are killed at a random moment and place: one healthy release runs all the same.

A few in every `make test`; FAULTS says how many, SEED which, as `make faults` does.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import testbed
from tests.containers.conftest import Laptop
from tests.containers.odd import WITHIN, Odd

FAULTS = int(os.environ.get("FAULTS", "2"))
SEED = int(os.environ.get("SEED", "1"))
LONGEST = 9.0  # seconds that a deploy of this application takes here
CUT = 30  # seconds that the network is down

Places = dict[str, Callable[[Odd, "subprocess.Popen[str]"], None]]


def on_server(odd: Odd, pattern: str) -> None:
    """Kill the processes on the server whose command line fits a pattern of the shell's."""
    script = (
        'for p in /proc/[0-9]*; do case $(tr "\\0" " " <$p/cmdline) in'
        ' *$1*) [ "${p#/proc/}" = $$ ] || ! kill -9 ${p#/proc/} || echo "${p#/proc/}" ;; esac; done'
    )
    with contextlib.suppress(testbed.HarnessError):
        print(
            f"\nkilled {pattern!r}: {odd.server.run('sh', '-c', script, 'kill', pattern).split()}"
        )


def kill_script(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill everything of the deploy on this side, as a closed lid that runs out of power."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def kill_python(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill deploy.py alone."""
    process.kill()


def kill_ssh(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill the ssh processes on this side."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(OSError):
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def kill_remote_shell(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill the shell that ssh has started on the server."""
    on_server(odd, "sh -s")


def kill_guard(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill the process on the server that watches the one at work."""
    on_server(odd, "/server-*.sh guard")


def kill_work(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill the process on the server that is at work."""
    on_server(odd, "/server-*.sh work")


def kill_all_of_the_remote_part(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill all of them at once; this side is there to ask for order."""
    on_server(odd, "/server-*.sh")


def kill_docker_command(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill what has been asked of docker."""
    on_server(odd, "docker ")


def kill_sshd(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill the sshd processes of connections."""
    on_server(odd, "sshd-session")


def kill_dockerd(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill the engine; the server's init starts it again."""
    odd.server.run("sh", "-c", "kill -9 $(cat /run/docker.pid)")
    odd.server.run("sh", "-c", "while kill -0 $(cat /run/docker.pid); do sleep 0.1; done 2>&1")
    odd.server.start_engine()


def cut_the_network(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Let no packet through for half a minute."""
    for change in ("-I", "-D"):
        for chain, option in (("INPUT", "-i"), ("OUTPUT", "-o")):
            odd.server.run("iptables", change, chain, option, "eth0", "-j", "DROP")
        if change == "-I":
            time.sleep(CUT)


def kill_registry(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Kill the registry on this side; the next push starts it again."""
    name = f"registry-{odd.laptop.registry_port}-registry-1"
    odd.laptop.engine.succeeds("docker", "kill", name)


def cut_the_power(odd: Odd, process: subprocess.Popen[str]) -> None:
    """Switch the server off and on."""
    odd.server.reboot()


PLACES: Places = {
    place.__name__: place
    for place in (
        kill_script,
        kill_python,
        kill_ssh,
        kill_remote_shell,
        kill_guard,
        kill_work,
        kill_all_of_the_remote_part,
        kill_docker_command,
        kill_sshd,
        kill_dockerd,
        cut_the_network,
        kill_registry,
        cut_the_power,
    )
}


def chosen() -> Iterator[tuple[int, str, float]]:
    """Choose places and moments; each place comes up before any comes again."""
    source = random.Random(SEED)
    names: list[str] = []
    for number in range(FAULTS):
        if not names:
            names = source.sample(sorted(PLACES), len(PLACES))
        yield number, names.pop(), round(source.uniform(0, LONGEST), 1)


@pytest.fixture(scope="module")
def odd_alone(odd_server: Odd) -> Odd:
    """A good release, whatever other tests have left, before the first fault."""
    odd_server.release(VERSION="good")
    odd_server.succeeds()
    return odd_server


@pytest.mark.parametrize(("number", "place", "moment"), list(chosen()))
def test_killed_deploy_leaves_one_healthy_release(
    odd_alone: Odd, laptop: Laptop, number: int, place: str, moment: float
) -> None:
    """Within a minute and without anybody's help; the next deploy leaves nothing behind."""
    odd = odd_alone
    odd.release(VERSION=f"killed {number}")
    with odd.start() as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        state = "at work" if process.poll() is None else "ended"
        PLACES[place](odd, process)
        took = odd.until(odd.is_at_rest, WITHIN)
        fault = f"FAULT {number} {place} at {moment} s ({state})"
        print(f"\n{fault}: in order after {took:.1f} s: {odd.answer}")
        assert process.stdout
        print(process.stdout.read())
    assert odd.answer.startswith(("good", "killed", "next"))

    laptop.make(odd.project, "registry-up")
    odd.release(VERSION=f"next {number}")
    odd.succeeds()
    assert odd.answer == f"next {number}"
    assert odd.one_healthy_release_runs()
    # a connection that was cut is seen to be dead by its silence
    odd.until(lambda: odd.leftovers() == [], WITHIN if place == "cut_the_network" else 5)
