"""Builds that are interrupted: what was there before is whole, and the next make goes on."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

import testbed
from tests.conftest import Project
from tests.containers.laptop import write
from tests.containers.workshop import Workshop


def newer(greeter: Workshop, *, slow: bool = False) -> None:
    """Change the application, with one more dependency; its wheel may take its time."""
    greeter.edit("greeter.py", "first", "second")
    greeter.edit("pyproject.toml", '["idna"]', '["idna", "gunicorn"]')
    write(greeter.project.path, {"requirements.txt": greeter_lock(greeter)})
    if slow:
        write(greeter.project.path, {"slow": ""})


def greeter_lock(greeter: Workshop) -> str:
    """Return the lock of the newer application, which is made once."""
    kept = greeter.logs / "newer-lock"
    if not kept.is_file():
        greeter.make("lock")
        kept.write_text(greeter.project.read("requirements.txt"), encoding="utf-8")
    return kept.read_text(encoding="utf-8")


@pytest.mark.parametrize("moment", ["fetching", "building", "image"])
def test_killed_build_leaves_what_was_there(greeter: Workshop, moment: str) -> None:
    """A SIGKILL to make and all that it started, at any step."""
    greeter.make("image")
    image, wheels = greeter.image, greeter.wheels()
    # what was at work in the engine goes on there, and is waited for by the next make
    newer(greeter, slow=moment != "image")
    running = greeter.start("image")
    running.until(
        {
            "fetching": lambda: "builder: getting" in running.said,
            "building": greeter.is_building,
            "image": lambda: "slipway: image: " in running.said,
        }[moment]
    )
    running.kill()
    assert greeter.image == image
    assert greeter.answer == "first"
    assert greeter.is_whole()
    if moment == "building":
        assert all(
            greeter.wheels()[place] == sum_
            for place, sum_ in wheels.items()
            if place.startswith("app/")
        )
    greeter.make("image")
    assert greeter.answer == "second"
    assert {name.partition("-")[0] for name in greeter.packages} >= {"greeter", "idna", "gunicorn"}
    assert greeter.is_whole()
    assert greeter.has_nothing_to_do("wheels", "image")


@pytest.fixture
def small_disk(greeter: Workshop) -> Iterator[Workshop]:
    """The small application with a wheelhouse of few kilobytes, which can be given more."""
    greeter.make("wheels")
    place = greeter.project.path / "wheelhouse"
    subprocess.run(
        [*AS_ROOT, "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True
    )
    try:
        yield greeter
    finally:
        subprocess.run([*AS_ROOT, "umount", place], check=True)


@pytest.fixture(scope="module")
def frail(
    greeter_project: tuple[Workshop, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[testbed.Server, Workshop, str]]:
    """A copy of the small application, with its images, on an engine whose power can be cut."""
    greeter, first = greeter_project
    greeter.check_out(first)
    greeter.make("image")
    folder = tmp_path_factory.mktemp("my copies") / "of today"
    shutil.copytree(greeter.project.path, folder, symlinks=True)
    images = [f"{greeter.name}-{image}" for image in ("base", "builder:tools", "run")]
    archive = tmp_path_factory.mktemp("images") / "images.tar"
    greeter.laptop.docker("save", "--output", str(archive), testbed.BASE, *images)
    shared = tmp_path_factory.getbasetemp()
    with testbed.Server(greeter.laptop.engine, shared=shared) as server:
        server.engine.run("docker", "load", "--quiet", "--input", archive)
        archive.unlink()
        there = dataclasses.replace(greeter.laptop, engine=server.engine)
        project = Project(folder, greeter.project.output)
        yield server, dataclasses.replace(greeter, laptop=there, project=project), first


@pytest.mark.parametrize("moment", ["building", "image"])
def test_power_cut_of_the_engine_leaves_what_was_there(
    frail: tuple[testbed.Server, Workshop, str], moment: str
) -> None:
    """SIGKILL to dockerd and containerd while they work; make fails with a message."""
    server, workshop, first = frail
    workshop.check_out(first)
    workshop.make("image")
    image = workshop.image
    workshop.edit("greeter.py", "first", "second")
    if moment == "building":
        write(workshop.project.path, {"slow": ""})
    running = workshop.start("image")
    running.until(
        {
            "building": workshop.is_building,
            "image": lambda: "slipway: image: " in running.said,
        }[moment]
    )
    server.kill_engine()
    assert running.fails()
    server.start_engine()
    assert workshop.image == image
    assert workshop.answer == "first"
    assert workshop.is_whole()
    workshop.make("image")
    assert workshop.answer == "second"
    assert workshop.has_nothing_to_do("wheels", "image")


AS_ROOT = [] if os.geteuid() == 0 else ["sudo"]


def test_full_disk_is_reported_and_leaves_the_old_wheelhouse(small_disk: Workshop) -> None:
    """No half of a wheel is left, and with more space the build goes on."""
    small_disk.make("image")
    image, wheels = small_disk.image, small_disk.wheels()
    newer(small_disk)
    said = small_disk.make_fails("image")
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert small_disk.wheels() == wheels
    assert small_disk.is_whole()
    assert small_disk.image == image
    place = small_disk.project.path / "wheelhouse"
    subprocess.run([*AS_ROOT, "mount", "-o", "remount,size=8m", place], check=True)
    small_disk.make("image")
    assert small_disk.answer == "second"
    assert small_disk.is_whole()


def test_two_at_once_both_succeed(greeter: Workshop) -> None:
    """The second waits for the first and finds nothing left to do."""
    greeter.make("image")
    newer(greeter)
    both = [greeter.start("image") for _ in range(2)]
    said = [running.end() for running in both]
    assert sum("waiting for another build of this project" in each for each in said) == 1
    assert sum("slipway: image: nothing to do" in each for each in said) == 1
    assert greeter.answer == "second"
    assert greeter.is_whole()
    assert greeter.has_nothing_to_do("wheels", "image")


def test_parallel_make_succeeds(greeter: Workshop) -> None:
    """`make -j4` of all steps is each step once."""
    greeter.make("image")
    newer(greeter)
    said = greeter.make("-j4", "base", "builder", "wheels", "image")
    assert said.count("builder: built greeter-1.0") == 1
    assert greeter.answer == "second"
    assert greeter.is_whole()
    assert greeter.has_nothing_to_do("base", "builder", "wheels", "image")


def test_edit_while_wheels_are_made_is_built_next(greeter: Workshop) -> None:
    """What the wheel was made of counts, not what is there when it is done."""
    greeter.make("image")
    newer(greeter, slow=True)
    running = greeter.start("wheels")
    running.until(greeter.is_building)
    greeter.edit("greeter.py", "second", "third")
    running.end()
    greeter.make("image")
    assert greeter.answer == "third"
