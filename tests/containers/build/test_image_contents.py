"""The image has what the checkout and its lock name: nothing older, newer, foreign or changed."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest

from tests.containers import package_index
from tests.containers.laptop import commit
from tests.containers.workshop import Workshop

# The files of a virtualenv, each with its sum, without what the installer says of itself.
LIST = (
    "cd {}/lib/python3*/site-packages && find . -type f -not -path '*/__pycache__/*'"
    " -not -name RECORD -not -name INSTALLER -not -name REQUESTED -exec sha256sum {{}} + | sort"
)

INTRUDER = package_index.wheel(
    "intruder", "1.0", {"intruder.py": "print('I should not be here')\n"}
)


def test_older_checkout_gives_the_older_image(greeter: Workshop) -> None:
    """There and back again: the same image IDs, and none of the newer one's wheels."""
    older, older_wheels = greeter.image, greeter.wheels()
    older_packages = greeter.packages
    first = greeter.project.run("git", "rev-parse", "HEAD").stdout.strip()
    greeter.edit("greeter.py", "first", "second")
    greeter.edit("pyproject.toml", '"1.0"', '"2.0"')
    greeter.edit("pyproject.toml", '["idna"]', '["idna", "six"]')
    greeter.make("lock")
    second = commit(greeter.project, "Second")
    greeter.make("image")
    newer = greeter.image
    assert greeter.answer == "second"
    assert {name.partition("-")[0] for name in greeter.packages} == {"greeter", "idna", "six"}

    greeter.check_out(first)
    greeter.make("image")
    assert greeter.answer == "first"
    assert greeter.packages == older_packages
    assert greeter.wheels() == older_wheels
    assert greeter.image == older

    greeter.check_out(second)
    greeter.make("image")
    assert greeter.image == newer


def test_changed_code_of_the_same_version_is_shipped(greeter: Workshop) -> None:
    """Nobody has to raise a version for a line to reach the image."""
    greeter.make("image")
    before = greeter.packages
    greeter.edit("greeter.py", "first", "first, but better")
    greeter.make("image")
    assert greeter.answer == "first, but better"
    assert greeter.packages == before


def tamper(wheel: Path, unseen: bool) -> None:
    """Change a wheel's code; unseen by whoever compares sizes and times."""
    status = wheel.stat()
    data = bytearray(wheel.read_bytes())
    with zipfile.ZipFile(wheel) as archive:
        entry = max(archive.infolist(), key=lambda each: each.compress_size)
        start = entry.header_offset
    data[start + 30 + len(entry.filename) + entry.compress_size // 2] ^= 0xFF
    wheel.write_bytes(data)
    if unseen:
        os.utime(wheel, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("part", ["deps", "app"])
def test_tampered_wheel_is_replaced(greeter: Workshop, part: str) -> None:
    """Other bytes under the same name: what was fetched or built before takes their place."""
    greeter.make("image")
    before = greeter.wheels()
    [wheel] = greeter.wheelhouse.glob(f"{part}/*.whl")
    tamper(wheel, unseen=False)
    assert greeter.wheels() != before
    greeter.make("image", "COMMAND=greet again")
    assert greeter.wheels() == before
    assert greeter.answer == "first"


def test_tampered_wheel_whose_sum_is_listed_reaches_no_image(greeter: Workshop) -> None:
    """The wheelhouse's own list proves nothing: the checksums of the lock count."""
    greeter.make("image")
    before = greeter.wheels()
    [wheel] = greeter.wheelhouse.glob("deps/*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("planted.py", "print('I should not be here')\n")
    listed = wheel.with_name("requirements.txt")
    place = f"deps/{wheel.name}"
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace(before[place], greeter.wheels()[place]), encoding="utf-8")
    assert greeter.is_whole()
    try:
        done = greeter.laptop.run(greeter.project, "make", "image", "COMMAND=greet again")
        assert done.returncode == 0 or wheel.name in done.stdout
        assert "planted" not in greeter.laptop.runs(f"{greeter.name}-run", LIST.format("/appenv"))
    finally:
        wheel.unlink()
        greeter.make("image")
    assert greeter.wheels() == before


def test_tampered_wheel_that_looks_as_before_reaches_no_image(greeter: Workshop) -> None:
    """If size and time are equal, the engine has the old file, or the checksum differs."""
    greeter.make("image")
    image = greeter.image
    listed = greeter.laptop.runs(f"{greeter.name}-run", LIST.format("/appenv"))
    [wheel] = greeter.wheelhouse.glob("deps/*.whl")
    tamper(wheel, unseen=True)
    done = greeter.laptop.run(greeter.project, "make", "image", "COMMAND=greet again")
    if done.returncode:
        assert f"{wheel.name} in the wheelhouse does not match" in done.stdout
        assert greeter.image == image
    else:
        assert greeter.laptop.runs(f"{greeter.name}-run", LIST.format("/appenv")) == listed
    wheel.unlink()
    greeter.make("image")
    assert greeter.is_whole()
    assert greeter.image == image


FOREIGN = (
    "intruder-1.0-py3-none-any.whl",
    "idna-99.0-py3-none-any.whl",
    "idna-3.0-cp39-cp39-manylinux_2_17_x86_64.whl",
    "idna-3.0-py3-none-manylinux_2_17_aarch64.whl",
    "idna-3.0-pp311-pypy311_pp73-any.whl",
)


@pytest.mark.parametrize("part", ["deps", "app"])
def test_foreign_wheels_reach_no_image(greeter: Workshop, part: str) -> None:
    """Not named by the lock, or for another interpreter or processor: they are gone again."""
    greeter.make("image")
    before, there = greeter.wheels(), greeter.packages
    for name in FOREIGN:
        (greeter.wheelhouse / part / name).write_bytes(*INTRUDER.values())
    greeter.make("image", "COMMAND=greet the intruder")
    assert greeter.packages == there
    assert greeter.wheels() == before


def test_wheelhouse_is_what_the_lock_names(compiled: Workshop) -> None:
    """Each pin's wheel and no other; what was not built here has a sum that the lock states."""
    compiled.make("image")
    lock = compiled.project.read("requirements.txt")
    pins = re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.M)
    wheels = [path.name for path in compiled.wheelhouse.glob("*/*") if path.suffix == ".whl"]
    assert sorted(tuple(name.split("-")[:2]) for name in wheels) == sorted(pins)
    assert compiled.is_whole()
    for place, sum_ in compiled.wheels().items():
        if place.endswith(".whl") and "markupsafe" not in place:
            assert sum_ in lock


@pytest.mark.parametrize("kind", ["greeter", "compiled"])
def test_pip_installs_the_same_files(request: pytest.FixtureRequest, kind: str) -> None:
    """The wheelhouse is pip's own format, and the run image has what pip makes of it."""
    workshop: Workshop = request.getfixturevalue(kind)
    workshop.make("image")
    tools = "/opt/builder/bin/python -m pip --python /tmp/own/bin/python"
    install = f"{tools} install --quiet --no-index --no-deps --require-hashes --no-compile"
    script = (
        "python3 -m venv --without-pip /tmp/own && cd /wheelhouse"
        f" && {install} --find-links deps -r deps/requirements.txt"
        f" && {install} --find-links app -r app/requirements.txt && {LIST.format('/tmp/own')}"
    )
    by_pip = workshop.laptop.docker(
        *("run", "--rm", "--entrypoint", "sh"),
        *("--volume", f"{workshop.wheelhouse}:/wheelhouse:ro"),
        *(f"{workshop.name}-builder:tools", "-c", script),
    )
    in_image = workshop.laptop.runs(f"{workshop.name}-run", LIST.format("/appenv"))
    assert by_pip == in_image
    assert ".dist-info/METADATA" in in_image


def test_what_is_no_part_of_the_wheel_builds_nothing(greeter: Workshop) -> None:
    """An edited README or test, a touched file and a commit alone: nothing is to be done."""
    greeter.make("image")
    image = greeter.image
    for name in ("README.md", "tests/test_greeter.py"):
        text = greeter.project.read(name)
        (greeter.project.path / name).write_text(f"{text}\n# said better\n", encoding="utf-8")
        assert greeter.has_nothing_to_do("wheels", "image"), name
    os.utime(greeter.project.path / "greeter.py")
    assert greeter.has_nothing_to_do("wheels", "image")
    commit(greeter.project, "Better words")
    assert greeter.has_nothing_to_do("wheels", "image")
    assert greeter.image == image


def test_pure_lock_takes_no_compiler(greeter: Workshop) -> None:
    """The builder with the compiler is not made where it would have nothing to do."""
    greeter.laptop.engine.succeeds("docker", "image", "rm", f"{greeter.name}-builder")
    greeter.edit("greeter.py", "first", "by the tools alone")
    greeter.make("image")
    assert greeter.answer == "by the tools alone"
    assert greeter.laptop.engine.has(f"{greeter.name}-builder:tools")
    assert not greeter.laptop.engine.has(f"{greeter.name}-builder")
