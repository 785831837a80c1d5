"""All tests: several pytest processes side by side, and one summary of them.

    python -m tests.run_all          everything
    python -m tests.run_all quick    linters, unit tests, template, the main path on CPython

Most of a container test's time is spent waiting: for a server, for a health check, for a download.
So the tests are in lanes that run at the same time. Each lane has a registry, servers, projects and
image names of its own, and all of them share the engine with its cache. Tests that measure seconds
or memory are marked `quiet`, and run one by one when the others are done (see lane.py).
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import testbed

ROOT = Path(__file__).resolve().parent.parent
CONTAINERS = Path("tests/containers")
CACHE = "wheelhouse-cache"  # the volume in which the builders of all lanes keep what they made
SLOWEST = 15

# Files and folders below tests/containers; a file is in the first lane that has it. The tests of a
# lane share what they build: the samples, the faulty application, the greeter.
MAIN_PATH = "deploy/test_main_path.py"
LANES = {
    "deploys": (
        "deploy/test_broken_releases.py",
        "deploy/test_deploys.py",
        "deploy/test_killed_deploys.py",
        "deploy/test_other_orchestrators.py",
    ),
    "applications": (
        "deploy/test_applications_from_pypi.py",
        "deploy/test_programs.py",
        "deploy_venv/test_deploy_venv.py",
        "attachments/test_blobfiles.py",
    ),
    "samples": ("deploy", "deploy_venv", "build/test_interpreter.py", "test_testbed.py"),
    "attachments": ("attachments",),
    "libraries": (
        "build/test_base_image_pin.py",
        "build/test_native_libraries.py",
        "build/test_private_index.py",
    ),
    "rebuilds": (
        "build/test_compiled_packages.py",
        "build/test_image_contents.py",
        "build/test_interrupted_builds.py",
        "build/test_verify.py",
    ),
    "projects": (".",),
}


@dataclass
class Lane:
    """One pytest process, and what it has reported."""

    name: str
    arguments: Sequence[str]
    folder: Path
    nice: int = 0
    began: float = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """The file that has its output."""
        return self.folder / f"{self.name}.log"

    @property
    def report(self) -> Path:
        """The file that has a line for each phase of each test."""
        return self.folder / f"{self.name}.jsonl"

    def start(self, lock: Path) -> None:
        """Start pytest in a process group of its own: a Ctrl-C here is passed on in order."""
        command = [sys.executable, "-m", "pytest", "-p", "tests.lane", "-p", "no:cacheprovider"]
        self.began = time.monotonic()
        with self.log.open("wb") as log, lock.open("ab") as locked:
            # held from now on, so that no other lane takes this one for finished before it begins
            fcntl.flock(locked, fcntl.LOCK_SH)
            descriptor = locked.fileno()
            variables = {"LANE_REPORT": str(self.report), "LANE_LOCK": str(descriptor)}
            self.process = subprocess.Popen(
                ["nice", "-n", str(self.nice), *command, *self.arguments],
                cwd=ROOT,
                env={**os.environ, **variables},
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def interrupt(self) -> None:
        """Interrupt pytest, and wait until it has removed its fixtures."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait()

    def phases(self) -> list[dict[str, str | float]]:
        """Return what it has reported until now."""
        if not self.report.is_file():
            return []
        lines = self.report.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def failures(self) -> str:
        """Return the part of its output that is about what failed."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        starts = [text.find(f"= {word} =") for word in ("ERRORS", "FAILURES")]
        found = [start for start in starts if start >= 0]
        return text[text.rfind("\n", 0, min(found)) + 1 :] if found else text[-5000:]


def lane_of(path: Path) -> str:
    """Return the lane that has a file below tests/containers: the first that names it."""
    for name, members in LANES.items():
        if any(_has(member, path) for member in members):
            return name
    raise ValueError(f"tests/run_all.py: no lane has {path}")


def files_of(name: str) -> list[str]:
    """Return the test files of a lane, in the order in which it names them."""
    there = [path.relative_to(CONTAINERS) for path in sorted(CONTAINERS.rglob("test_*.py"))]
    mine = [path for path in there if lane_of(path) == name]
    members = LANES[name]
    mine.sort(key=lambda path: next(i for i, each in enumerate(members) if _has(each, path)))
    return [str(CONTAINERS / path) for path in mine]


def _has(member: str, path: Path) -> bool:
    return path == Path(member) or Path(member) in path.parents


def lanes(kind: str, folder: Path) -> tuple[Lane, list[Lane]]:
    """Return the lane of the tests that need no engine, and those of the others."""
    # the others wait a lot, and what they wait for should not wait for these
    others = {path.parts[1] for path in Path("tests").glob("*/**/test_*.py")} - {CONTAINERS.name}
    files = Lane("files", [f"tests/{name}" for name in sorted(others)], folder, nice=5)
    if kind == "quick":
        words = [str(CONTAINERS / MAIN_PATH), "-k", "CPython"]
        return files, [Lane("main path", words, folder)]
    return files, [Lane(name, files_of(name), folder) for name in LANES]


@contextmanager
def shared_engine() -> Iterator[None]:
    """An engine for all lanes, with the images that they all need, and with one cache."""
    with testbed.engine_session() as engine:
        for image in (testbed.BASE, testbed.REGISTRY):
            testbed.provide(engine, image)
        had_cache = CACHE in engine.run("docker", "volume", "ls", "--quiet").split()
        engine.run("docker", "volume", "create", CACHE)
        try:
            yield
        finally:
            if not had_cache:
                engine.succeeds("docker", "volume", "rm", CACHE)


def wait(running: Sequence[Lane]) -> None:
    """Wait for all lanes; print a line when one of them has finished."""
    left = list(running)
    while left:
        time.sleep(0.5)
        for lane in [each for each in left if each.process and each.process.poll() is not None]:
            left.remove(lane)
            assert lane.process
            last = lane.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            took = time.monotonic() - lane.began
            said = last[0].strip("= ") if last else f"status {lane.process.returncode}"
            print(f"{lane.name}: {said} ({took:.0f} s)", flush=True)


def summarize(done: Sequence[Lane]) -> int:
    """Print what failed, and the slowest tests; return the exit status."""
    seconds: dict[str, float] = {}
    for lane in done:
        for phase in lane.phases():
            name = f"{phase['test']} ({lane.name})"
            seconds[name] = seconds.get(name, 0) + float(phase["seconds"])
    print(f"\nThe slowest {SLOWEST}, with what they set up:")
    for name in sorted(seconds, key=lambda each: -seconds[each])[:SLOWEST]:
        print(f"{seconds[name]:8.1f} s  {name}")
    failed = [lane for lane in done if lane.process and lane.process.returncode != 0]
    for lane in failed:
        print(f"\n{f' {lane.name} ':#^100}\n{lane.failures()}")
    if failed:
        print(f"\nFAILED: {', '.join(lane.name for lane in failed)}")
        for lane in failed:
            for phase in lane.phases():
                if phase["outcome"] == "failed":
                    print(f"  {phase['test']} ({phase['when']})")
    return 1 if failed else 0


def counted(done: Sequence[Lane]) -> str:
    """Return how many tests passed and failed, in the form that other programs read."""
    phases = [phase for lane in done for phase in lane.phases()]
    failed = {phase["test"] for phase in phases if phase["outcome"] == "failed"}
    passed = {phase["test"] for phase in phases if phase["when"] == "call"} - failed
    return f"{len(passed)} passed, {len(failed)} failed"


def main(arguments: Sequence[str]) -> int:
    """Run all lanes and print their summary."""
    kind = arguments[0] if arguments else "all"
    assert kind in ("all", "quick"), f"all or quick, not {kind}"
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="slipway-lanes-") as name, ExitStack() as stack:
        folder = Path(name)
        lock = folder / "lock"
        files, others = lanes(kind, folder)
        files.start(lock)
        stack.callback(files.interrupt)
        with shared_engine(), ExitStack() as engine_in_use:
            for lane in others:
                lane.start(lock)
                engine_in_use.callback(lane.interrupt)
            wait([files, *others])
        status = summarize([files, *others])
        count = counted([files, *others])
    print(f"\n{'failed' if status else 'passed'} in {time.monotonic() - began:.0f} s\n{count}")
    return status


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
