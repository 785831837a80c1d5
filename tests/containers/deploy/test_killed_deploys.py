"""Deploys that are killed at a random moment and place: one healthy release runs afterwards.

A few run in every `make test`. FAULTS is how many, SEED which ones; `make faults` sets FAULTS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import testbed
from tests.containers.faulty_application import WITHIN, Faulty
from tests.containers.laptop import Laptop

FAULTS = int(os.environ.get("FAULTS", "2"))
SEED = int(os.environ.get("SEED", "1"))
LONGEST = 9.0  # seconds that a deploy of this application takes here
CUT = 30  # seconds that the network is down

Places = dict[str, Callable[[Faulty, "subprocess.Popen[str]"], None]]


def on_server(faulty: Faulty, pattern: str) -> None:
    """Kill the processes on the server whose command line fits a pattern of the shell's."""
    script = (
        'for p in /proc/[0-9]*; do case $(tr "\\0" " " <$p/cmdline) in'
        ' *$1*) [ "${p#/proc/}" = $$ ] || ! kill -9 ${p#/proc/} || echo "${p#/proc/}" ;; esac; done'
    )
    with contextlib.suppress(testbed.HarnessError):
        killed = faulty.server.run("sh", "-c", script, "kill", pattern).split()
        print(f"\nkilled {pattern!r}: {killed}")


def kill_script(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill everything of the deploy on this side, as a closed lid that runs out of power."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def kill_python(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the process on this side alone."""
    process.kill()


def kill_ssh(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the ssh processes on this side."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(OSError):
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def kill_remote_shell(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the shell that ssh has started on the server."""
    on_server(faulty, "sh -s")


def kill_supervisor(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the process on the server that watches the one at work."""
    on_server(faulty, "/server-*.sh supervise")


def kill_work(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the process on the server that is at work."""
    on_server(faulty, "/server-*.sh work")


def kill_all_of_the_remote_part(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill all of them at once; this side is there to recover."""
    on_server(faulty, "/server-*.sh")


def kill_docker_command(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the docker commands that are running."""
    on_server(faulty, "docker ")


def kill_sshd(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the sshd processes of connections."""
    on_server(faulty, "sshd-session")


def kill_dockerd(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the engine; the server's init starts it again."""
    faulty.server.run("sh", "-c", "kill -9 $(cat /run/docker.pid)")
    faulty.server.run("sh", "-c", "while kill -0 $(cat /run/docker.pid); do sleep 0.1; done 2>&1")
    faulty.server.start_engine()


def cut_the_network(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Drop every packet for half a minute."""
    for change in ("-I", "-D"):
        for chain, option in (("INPUT", "-i"), ("OUTPUT", "-o")):
            faulty.server.run("iptables", change, chain, option, "eth0", "-j", "DROP")
        if change == "-I":
            time.sleep(CUT)


def kill_registry(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Kill the registry on this side; the next push starts it again."""
    name = f"registry-{faulty.laptop.registry_port}-registry-1"
    faulty.laptop.engine.succeeds("docker", "kill", name)


def cut_the_power(faulty: Faulty, process: subprocess.Popen[str]) -> None:
    """Switch the server off and on."""
    faulty.server.reboot()


PLACES: Places = {
    place.__name__: place
    for place in (
        kill_script,
        kill_python,
        kill_ssh,
        kill_remote_shell,
        kill_supervisor,
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
def faulty_alone(faulty_server: Faulty) -> Faulty:
    """A good release, whatever other tests have left, before the first fault."""
    faulty = dataclasses.replace(faulty_server, variables={})  # LONGEST is with the defaults
    faulty.release(VERSION="good")
    faulty.succeeds()
    return faulty


@pytest.mark.parametrize(("number", "place", "moment"), list(chosen()))
def test_killed_deploy_leaves_one_healthy_release(
    faulty_alone: Faulty, laptop: Laptop, number: int, place: str, moment: float
) -> None:
    """Within a minute and without anybody's help; the next deploy leaves nothing behind."""
    faulty = faulty_alone
    faulty.release(VERSION=f"killed {number}")
    with faulty.start() as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        state = "at work" if process.poll() is None else "ended"
        PLACES[place](faulty, process)
        took = faulty.until(faulty.is_at_rest, WITHIN)
        fault = f"FAULT {number} {place} at {moment} s ({state})"
        print(f"\n{fault}: in order after {took:.1f} s: {faulty.answer}")
        assert process.stdout
        print(process.stdout.read())
    assert faulty.answer.startswith(("good", "killed", "next"))

    laptop.make(faulty.project, "registry-up")
    faulty.release(VERSION=f"next {number}")
    faulty.succeeds()
    assert faulty.answer == f"next {number}"
    assert faulty.one_healthy_release_runs()
    # a connection that was cut is seen to be dead by its silence
    faulty.until(lambda: faulty.leftovers() == [], WITHIN if place == "cut_the_network" else 5)
