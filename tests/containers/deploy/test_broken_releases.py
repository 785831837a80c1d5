"""Releases that are broken in every way: the one before goes on running, or is rolled back to."""

from __future__ import annotations

import dataclasses
import json
import re
import threading

import pytest

from tests.containers.faulty_application import Faulty
from tests.containers.laptop import Laptop


@pytest.fixture
def faulty(faulty: Faulty) -> Faulty:
    """The same, and a release must be healthy for as long as the product requires by default."""
    return dataclasses.replace(faulty, variables={})


class Asking(threading.Thread):
    """A thread that sends one request after another, and counts those without an answer."""

    def __init__(self, faulty: Faulty) -> None:
        """Remember what to ask."""
        super().__init__()
        self._faulty = faulty
        self._end = threading.Event()
        self.asked = 0
        self.lost = 0

    def run(self) -> None:
        """Send requests until the block ends."""
        while not self._end.wait(0.02):
            self.asked += 1
            self.lost += self._faulty.answer != "good"

    def __enter__(self) -> Asking:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        self.join()


BESIDE = {
    "exits": "no database today",
    "sleeps 3": "ended with status 3",
    "missing": "DATABASE_URL",
    "writes": "Read-only file system",
    "unhealthy": "answers HTTP/1.0 500",
    "elsewhere": "refused",
    "loopback": "listens on 127.0.0.1 only",
    "garbage": "does not speak HTTP",
    "slow 6": "timed out",
    "late 60": "refused",
    "crashes 2": "ended with status 9",
    "rots 2": "was healthy and no longer is: unhealthy: GET / answers HTTP/1.0 500",
    "threads": "its limit of 512 processes and threads: raise PIDS in deploy/settings.mk",
    "files": "set RUN_OPTIONS := --ulimit nofile=65536 in deploy/settings.mk",
    "shares": "may have filled /dev/shm, which has 64 MB",
    "loses": "raise MEMORY in deploy/settings.mk",
    "zone": "Europe/Berln is not the name of a time zone",
    "forks": "ended with status 0: a server must stay in the foreground",
    "eats 2": "ended with status 137: it ran out of memory, which includes /tmp. Raise MEMORY",
}


# It has to be found healthy in the two seconds before it is not.
QUIET = {"rots 2": pytest.mark.quiet}


@pytest.mark.parametrize("mode", [pytest.param(mode, marks=QUIET.get(mode, ())) for mode in BESIDE])
def test_broken_release_costs_no_request(faulty: Faulty, mode: str) -> None:
    """It fails beside the running one, which goes on answering; the reason is printed."""
    faulty.release(VERSION="bad", MODE=mode)
    with Asking(faulty) as asking:
        said = faulty.fails(HEALTH_TIMEOUT="7")
    assert BESIDE[mode] in said
    assert f"kept stopped as {faulty.name}-failed" in said
    assert asking.asked > 20
    assert asking.lost == 0
    assert faulty.one_healthy_release_runs()
    assert faulty.leftovers() == []


@pytest.mark.parametrize("mode", ["exits", "crashes 2"])
def test_application_that_must_not_run_twice_is_rolled_back(faulty: Faulty, mode: str) -> None:
    """Without a candidate the old one stops first, and is started again."""
    faulty.release(VERSION="bad", MODE=mode)
    said = faulty.fails(HEALTH_TIMEOUT="7", CANDIDATE="no")
    assert "runs" in said
    assert faulty.one_healthy_release_runs()
    assert faulty.answer == "good"
    assert faulty.leftovers() == []


@pytest.mark.quiet
def test_release_that_crashes_later_is_rolled_back_by_the_server_alone(faulty: Faulty) -> None:
    """The deploy was good; the server goes on watching."""
    faulty.release(VERSION="bad", MODE="crashes 8")
    faulty.succeeds()
    faulty.until(lambda: faulty.answer == "good" and faulty.one_healthy_release_runs())
    assert any(
        "rolled back later: it did not stay healthy" in line for line in faulty.status["log"]
    )


def test_release_that_ignores_sigterm_is_replaced_and_rolled_back(faulty: Faulty) -> None:
    """It is killed when its time is over, and that is said with the setting; so is a long gap."""
    faulty.release(VERSION="stubborn", MODE="stubborn")
    assert "killed" not in faulty.succeeds(STOP_TIMEOUT="6")
    assert faulty.answer == "stubborn"
    faulty.release(VERSION="good")
    said = faulty.succeeds()
    assert re.search(r"was killed, .* not ended 6\.\d s after SIGTERM\. Raise STOP_TIMEOUT", said)
    assert re.search(r"no release answered for \d+\.\d s: the last one took 6\.\d s to end", said)
    assert faulty.answer == "good"
    assert faulty.leftovers() == []


def test_release_for_another_architecture_is_refused(faulty: Faulty, laptop: Laptop) -> None:
    """Before anything is sent."""
    state = faulty.project.path / ".deploy" / "state.json"
    text = state.read_text()
    container = laptop.docker("create", f"{faulty.name}-run").strip()
    foreign = f"{faulty.name}-foreign"
    try:
        export = (
            "sh",
            "-c",
            'docker export "$1" | docker import --platform linux/arm64 - "$2"',
            "sh",
        )
        image = laptop.engine.run(*export, container, foreign).strip()
        # As if it had been built and pushed: the registry has it, and the record says so.
        record = json.loads(text)
        pushed = f"{record['push']['name'].rpartition(':')[0]}:foreign"
        laptop.docker("tag", foreign, pushed)
        said = laptop.docker(*laptop.registry_user, "push", pushed)
        digest = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
        assert digest, said
        record["push"].update(image=image, digest=digest[1])
        record["image"]["image"] = image
        state.write_text(json.dumps(record))
        assert "the image is for arm64, and the server is amd64. Run: make image" in faulty.fails()
    finally:
        state.write_text(text)
        laptop.docker("rm", container)
        laptop.engine.succeeds("docker", "image", "rm", foreign)
    assert faulty.one_healthy_release_runs()
