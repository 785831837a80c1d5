"""Which step must be done next: content decides, never a time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from slipway.laptop import console
from slipway.laptop.building import pipeline, project_lock, steps
from slipway.laptop.building.record import Record
from slipway.laptop.settings import make_syntax
from slipway.shared import lockfile
from tests.unit.conftest import DEPLOY
from tests.unit.laptop.building.conftest import (
    ANOTHER_DAY,
    BASE,
    DAY,
    LOCK,
    PINNED,
    STEPS,
    Build,
    pinned,
)


def test_every_step_is_done_once(done: Build) -> None:
    """The second time there is nothing to do, for any goal."""
    assert [done.next(goal) for goal in STEPS] == [""] * len(STEPS)


@pytest.mark.parametrize("gone", [False, True])
def test_the_engine_is_asked_once_when_there_is_nothing_to_do(real: Build, gone: bool) -> None:
    """That is most of the time it takes; neither a builder nor the pinned image need be here."""
    if gone:
        (real.images / PINNED).unlink()
    asked = real.images.parent / "inspected"
    asked.unlink()
    assert real.next() == ""
    assert len(asked.read_text().splitlines()) == 1


def test_a_goal_needs_only_the_steps_before_it(build: Build) -> None:
    """`make builder` asks for no lock."""
    build.do("base")
    assert build.next("base") == ""
    assert build.next("builder") == "builder"


def test_times_decide_nothing(done: Build) -> None:
    """A touched file, or a fresh checkout of the same commit, rebuilds nothing."""
    for path in done.project.path.rglob("*"):
        if "wheelhouse" not in path.parts:  # which is in no checkout
            os.utime(path, (1, 1))
    assert done.next() == ""


def test_touched_wheels_are_looked_at_again_and_make_no_other_image(done: Build) -> None:
    """Their times stand for their content, which is too much to read every time."""
    for path in (done.project.path / "wheelhouse").rglob("*"):
        os.utime(path, (1, 1))
    assert done.finish() == ["wheels"]


@pytest.mark.parametrize(
    ("name", "text", "steps"),
    [
        ("deploy/base.docker", "FROM x\n", STEPS),
        ("deploy/slipway/image/base/apt.sh", "#!/bin/sh\n", STEPS),
        ("deploy/slipway/image/base/apt.conf", "# x\n", STEPS),
        ("deploy/slipway/image/base/compile_bytecode.py", "# x\n", STEPS),
        ("deploy/base.lock", f"{BASE} linux/amd64 sha256:{'0' * 64} {DAY}\n", STEPS),
        ("deploy/slipway/builder/requirements.txt", "# x\n", STEPS[1:3]),
        ("deploy/slipway/shared/network.py", "# x\n", STEPS[1:]),
        ("deploy/slipway/vendor/tomli/_re.py", "# x\n", STEPS[1:3]),
        ("deploy/slipway/builder/new.py", "# x\n", STEPS[1:3]),
        ("deploy/build.docker", "FROM x\n", STEPS[1:3]),
        ("deploy/slipway/builder/__main__.py", "# x\n", STEPS[1:3]),
        ("deploy/run.docker", "FROM x\n", STEPS[3:]),
        ("deploy/slipway/image/run/install_wheelhouse.py", "# x\n", STEPS[1:]),
        ("deploy/slipway/image/run/wheel_installer.py", "# x\n", STEPS[1:]),
        ("deploy/slipway/image/run/healthcheck.py", "# x\n", STEPS[1:]),
        ("requirements.txt", LOCK + "# more\n", STEPS[2:]),
        ("src/shop/__init__.py", "X = 1\n", STEPS[2:]),
        ("src/shop/new.py", "", STEPS[2:]),
        ("src/shop/deploy/__init__.py", "", STEPS[2:]),
        ("src/shop/venv/__init__.py", "", STEPS[2:]),
        ("deploy/settings.mk", "{}NATIVE := openssl libffi\n", STEPS),
        ("deploy/settings.mk", "{}NATIVE := openssl build:libx-dev\n", STEPS[2:3]),
        ("deploy/settings.mk", "{}COMMAND := another\n", STEPS[3:]),
        ("deploy/settings.mk", "{}PORT := 9000\n", STEPS[3:]),
        ("deploy/settings.mk", "{}HEALTH := tcp\n", STEPS[3:]),
        ("deploy/settings.mk", "{}TAG := 1.4.0\n", STEPS[3:]),
        ("deploy/settings.mk", "{}RUN_CA := yes\n", STEPS[3:]),
    ],
)
def test_a_change_rebuilds_what_is_made_of_it(
    done: Build, name: str, text: str, steps: tuple[str, ...]
) -> None:
    """That step and what is made of it; wheels that come out as they were make no other image."""
    path = done.project.path / name
    done.write(name, text.replace("{}", path.read_text() if path.exists() else ""))
    assert done.finish() == list(steps)


def test_certificates_that_the_application_trusts_go_into_the_image(done: Build) -> None:
    """With RUN_CA, and only then."""
    done.write("deploy/ca/house.crt", "x")
    assert done.next() == ""
    settings = done.project.path / "deploy/settings.mk"
    done.write("deploy/settings.mk", f"{settings.read_text()}RUN_CA := yes\n")
    assert done.finish() == list(STEPS[3:])
    done.write("deploy/ca/house.crt", "y")
    assert done.finish() == list(STEPS[3:])


@pytest.mark.parametrize("name", ["lockfile", "files", "native/catalogue"])
def test_all_that_installs_the_wheels_goes_into_the_image(done: Build, name: str) -> None:
    """What install_wheelhouse.py imports is as much of it as install_wheelhouse.py."""
    done.write(f"deploy/slipway/shared/{name}.py", "# x\n")
    assert done.finish() == list(STEPS[1:])


@pytest.mark.parametrize(
    ("dockerfile", "made_of"),
    [("base", steps.OF_BASE), ("build", steps.OF_TOOLS), ("run", steps.OF_IMAGE)],
)
def test_a_step_is_made_of_what_its_dockerfile_copies(
    dockerfile: str, made_of: Sequence[str]
) -> None:
    """No more and no less; certificates in deploy/ca are no part of an image."""
    text = (DEPLOY / f"{dockerfile}.docker").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?:--from=deploy )?((?!--)[^ ]+) ", text, re.M)
    wanted = {name for name in copied if name != "ca"} | {f"{dockerfile}.docker"}
    if dockerfile == "build":  # it stands below base.docker
        wanted |= {"base.docker", *steps.OF_BASE}
    if dockerfile == "run":  # the tools' installer compiles bytecode by a module of it
        wanted.add("slipway/image/base")
    assert {*made_of} == wanted


@pytest.mark.parametrize(
    "name",
    [
        *("deploy/settings.mk", "deploy/README.md", "deploy/ca/proxy.crt", ".git/index"),
        *("deploy/slipway/shared/__pycache__/x.pyc", "deploy/slipway/server/lock.sh"),
        *("wheelhouse/x.whl", "appenv/x", "venv/x", ".venv/x", "src/shop/__pycache__/x.pyc"),
        *(".pytest_cache/x", "src/shop.egg-info/PKG-INFO", "web/node_modules/x/index.js"),
    ],
)
def test_what_goes_into_nothing_rebuilds_nothing(done: Build, name: str) -> None:
    """A comment among the settings, a cache, a repository's own files."""
    path = done.project.path / name
    done.write(name, f"{path.read_text() if path.exists() else ''}\n# more\n")
    assert done.next() == ""


def test_a_branch_that_is_left_and_returned_to_rebuilds_nothing(done: Build) -> None:
    """What was made last is still what goes with the first branch's content."""
    path = done.project.path / "src/shop/__init__.py"
    done.write("src/shop/__init__.py", "X = 1\n")
    done.write("src/shop/more.py", "")
    assert done.next() == "wheels"
    (done.project.path / "src/shop/more.py").unlink()
    path.write_text("")
    assert done.next() == ""


def test_the_port_on_the_command_line_rebuilds_nothing(done: Build) -> None:
    """`make run PORT=9000` publishes elsewhere."""
    assert done.next(PORT="9000") == ""


def test_a_mode_or_a_link_is_content(done: Build) -> None:
    """A script that may be run, or a link to another folder, makes another wheel."""
    done.write("src/shop/one/x", "")
    done.write("src/shop/two/x", "")
    link = done.project.path / "src/shop/link"
    link.symlink_to("one")
    done.finish()
    script = done.project.path / "src/shop/__init__.py"
    script.chmod(0o755)
    assert done.finish() == ["wheels", "image"]
    link.unlink()
    link.symlink_to("two")
    assert done.next() == "wheels"


def test_a_name_that_is_no_text_is_a_name(done: Build) -> None:
    """Old archives have such names."""
    before = done.sources()
    path = os.fsencode(done.project.path) + b"/src/shop/caf\xe9"
    with open(path, "w"):
        pass
    assert done.sources() != before


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("shop-base", ("base", "image")),
        ("shop-builder:tools", STEPS[1:3]),
        ("shop-run", STEPS[3:]),
    ],
)
def test_an_image_that_is_gone_is_made_again(
    done: Build, name: str, steps: tuple[str, ...]
) -> None:
    """`docker image prune` took it."""
    (done.images / name).unlink()
    assert done.finish() == list(steps)


def test_an_image_that_somebody_else_made_is_made_again(done: Build) -> None:
    """Another project of that name overwrote it, or a new base image was pulled."""
    done.image("shop-run", "another")
    assert done.finish() == ["image"]
    done.image(BASE, "a newer one")
    assert done.finish() == list(STEPS)


@pytest.mark.parametrize(
    "name",
    ["deps", "app/app-1-py3-none-any.whl", "app/requirements.txt", "deps/deps-1-py3-none-any.whl"],
)
def test_wheels_that_are_gone_are_built_again(done: Build, name: str) -> None:
    """Somebody tidied the wheelhouse."""
    path = done.project.path / "wheelhouse" / "python3" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert done.next() == "wheels"


def needs_compiler(build: Build) -> None:
    """Record that the wheels need the builder, as the pipeline does."""
    with build.inside():
        Record.load().write("wheels", by="builder")


@pytest.fixture
def compiled(done: Build) -> Build:
    """A project where all is done, and some wheel had to be compiled."""
    done.write("src/shop/native.c", "int x;\n")
    needs_compiler(done)
    done.do("builder")
    done.do("wheels")
    done.do("image")
    return done


def test_what_had_to_be_compiled_needs_the_builder_from_then_on(compiled: Build) -> None:
    """It is one of the images that must be there, and what it is made of counts."""
    assert compiled.next() == ""
    with compiled.inside():
        assert compiled.steps().compiles()
    (compiled.images / "shop-builder").unlink()
    assert compiled.finish() == ["builder", "wheels"]
    compiled.image("shop-builder", "another")
    assert compiled.finish() == ["builder", "wheels"]
    settings_file = compiled.project.read("deploy/settings.mk")
    compiled.write("deploy/settings.mk", f"{settings_file}NATIVE := openssl build:libx-dev\n")
    assert compiled.finish() == ["builder", "wheels"]
    compiled.write("deploy/build.docker", "FROM x\n")
    assert compiled.finish() == ["tools", "builder", "wheels"]
    compiled.write("deploy/base.docker", "FROM x\n")
    assert compiled.finish() == ["base", "tools", "builder", "wheels", "image"]


def test_wheels_that_the_tools_could_not_make_are_not_done(done: Build) -> None:
    """Whatever ends the build before the builder has made them."""
    needs_compiler(done)
    assert done.finish()[:2] == ["builder", "wheels"]


def tampered(wheel: Path) -> None:
    """Write into a wheel."""
    wheel.write_text("another")


def replaced(wheel: Path) -> None:
    """Put a wheel of the same size in the place of one."""
    another = wheel.with_name("another")
    another.write_text("A WHEEL")
    another.replace(wheel)


def copied(wheel: Path) -> None:
    """Add a wheel."""
    shutil.copy2(wheel, wheel.with_name("more.whl"))


@pytest.mark.parametrize("change", [tampered, replaced, copied])
@pytest.mark.parametrize("name", ["deps/deps-1-py3-none-any.whl", "app/app-1-py3-none-any.whl"])
def test_a_wheel_that_somebody_put_there_is_noticed(
    done: Build, change: Callable[[Path], None], name: str
) -> None:
    """Only what the lock names is installed."""
    change(done.project.path / "wheelhouse/python3" / name)
    assert done.next() == "wheels"


def test_what_stands_in_comments_above_the_wheels_makes_no_other_image(done: Build) -> None:
    """The listings say for which lock and system they were made; the wheels are the same."""
    done.write("src/shop/__init__.py", "X = 1\n")
    listings = [done.project.path / f"wheelhouse/python3/{part}" for part in ("deps", "app")]
    before = [(folder / "requirements.txt").read_text() for folder in listings]

    def as_before() -> None:
        for folder, text in zip(listings, before, strict=True):
            (folder / "requirements.txt").write_text(f"# made anew\n{text}# and more\n")

    done.do("wheels", as_before)
    assert done.next() == ""


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("base", "deploy/base.docker"),
        ("base", "deploy/settings.mk"),
        ("tools", "deploy/slipway/builder/requirements.txt"),
        ("tools", "deploy/slipway/builder/__main__.py"),
        ("wheels", "src/shop/__init__.py"),
        ("wheels", "src/shop/new.py"),
        ("wheels", "requirements.txt"),
        ("image", "deploy/run.docker"),
        ("image", "deploy/settings.mk"),
    ],
)
def test_an_edit_while_a_step_runs_counts_as_one_made_afterwards(
    done: Build, step: str, name: str
) -> None:
    """Nobody knows whether the step saw it."""
    path = done.project.path / name
    text = path.read_text() if path.exists() else ""
    if name == "deploy/settings.mk":
        text += "PYTHON := pypy3\nCOMMAND := another\n"
    done.do(step, lambda: done.write(name, f"{text}# edited\n"))
    assert done.next() == ("base" if name == "deploy/settings.mk" else step)


def script(build: Build, text: str) -> str:
    """Build with containers that do this; return what they were asked, a line each."""
    folder = build.images.parent
    (folder / "meanwhile").write_text(text.replace("PROJECT", f"'{build.project.path}'"))
    (folder / "ran").unlink(missing_ok=True)
    build.build()
    return (folder / "ran").read_text()


def test_the_builder_is_made_when_something_must_be_compiled(real: Build) -> None:
    """The tools are not asked again then."""
    real.write("src/shop/native.c", "int x;\n")
    ran = script(real, 'case "$*" in *--without-compiler) outcome=needs-compiler ;; esac\n')
    assert [line.split()[-1] for line in ran.splitlines()] == ["--without-compiler", "--locked"]
    assert real.next() == ""
    real.write("src/shop/native.c", "int y;\n")
    (ran,) = script(real, "").splitlines()
    assert re.search(r"shop-builder --sandbox /sandbox/\w+ --events wheels --locked$", ran)
    assert real.next() == ""


# The event that has the text of a file.
EVENT = (
    """import json, sys; print(json.dumps({"event": "lock", "text": open(sys.argv[1]).read()}))"""
)


def test_a_lock_is_made_when_the_wheels_want_one(real: Build) -> None:
    """It is one of their inputs: all is done then."""
    lock = real.project.path / "requirements.txt"
    lock.rename(real.images.parent / "lock")
    (real.images.parent / "event.py").write_text(EVENT)
    script(
        real,
        f'case "$*" in\n*" lock --without-compiler") {sys.executable} ../event.py ../lock ;;\n'
        "*) [ -e PROJECT/requirements.txt ] || outcome=needs-lock ;;\nesac\n",
    )
    assert lock.read_text() == LOCK
    assert real.next() == ""


@pytest.mark.parametrize("by", [{}, {"DEPLOY_OVERRIDES": ""}], ids=["alone", "below make"])
def test_a_setting_that_is_edited_while_a_step_runs_is_not_lost(
    real: Build, by: dict[str, str]
) -> None:
    """The image that follows is made with it, or made again; never taken for one that was."""
    done = real
    done.write("src/shop/__init__.py", "X = 1\n")
    meanwhile = f"echo 'COMMAND := another' >>'{done.project.path}/deploy/settings.mk'\n"
    (done.images.parent / "meanwhile").write_text(
        f"{meanwhile}cd '{done.project.path}/wheelhouse/python3/app'\n"
        f"echo '#' >>app{done.wheel}\n"
        "echo 'app==1.1' >>requirements.txt\n"
    )
    said = done.project.run("deploy/build.sh", **by)
    assert said.returncode == 0, said.stdout
    built = (done.images.parent / "built").read_text().splitlines()
    assert "COMMAND=another" in built or done.next(**by) == "image"


def test_an_edit_that_is_taken_back_while_a_step_runs_is_none(done: Build) -> None:
    """Content decides, also then."""

    def to_and_fro() -> None:
        done.write("src/shop/__init__.py", "X = 1\n")
        done.write("src/shop/__init__.py", "")

    done.do("wheels", to_and_fro)
    assert done.next() == ""


def test_a_lock_that_is_made_while_the_wheels_are_counts(build: Build) -> None:
    """What was made without it is made again; see the pipeline for a lock that it makes itself."""
    (build.project.path / "requirements.txt").unlink()
    build.do("base")
    build.do("tools")
    build.do("wheels", lambda: build.write("requirements.txt", LOCK))
    assert build.next() == "wheels"
    build.do("wheels")
    assert build.next() == "image"


def test_inputs_that_change_while_a_step_runs_end_a_build_that_goes_on(real: Build) -> None:
    """It would be made of both; of the last step of a goal nobody needs to hear that."""
    real.write("src/shop/__init__.py", "X = 1\n")
    change = "echo X = 2 >PROJECT/src/shop/__init__.py\n"
    with pytest.raises(
        pipeline.BuildFailed, match="wheels: its inputs changed during the build: run this again"
    ):
        script(real, change)
    assert real.next() == "wheels"
    (real.images.parent / "meanwhile").write_text(
        f"echo X = 3 >'{real.project.path}/src/shop/__init__.py'"
    )
    real.build("wheels")
    assert real.next() == "wheels"


def test_after_the_goal_comes_nothing(build: Build) -> None:
    """An edit while it was made is seen the next time, and is no reason to complain of it."""
    pinned(build)
    build.image(PINNED, "from")
    (build.images.parent / "hold").touch()

    def edit() -> None:
        while not (build.images.parent / "built").exists():
            threading.Event().wait(0.01)
        build.write("deploy/base.docker", "FROM x\n")
        (build.images.parent / "hold").unlink()

    thread = threading.Thread(target=edit)
    thread.start()
    build.build("base")
    thread.join()
    assert build.next() == "base"


def test_of_several_goals_the_first_one_with_a_step_to_do_is_named(
    build: Build, done: Build
) -> None:
    """make's words, in their order; one command does all of them."""
    goals = ("base", "wheels", "image")
    expected = [("base", "base"), ("tools", "wheels"), ("wheels", "wheels"), ("image", "image")]
    for step, goal in expected:
        assert build.first(*goals) == (step, goal)
        build.do(step)
    assert build.first(*goals) == ("", "")
    assert done.first(*goals) == ("", "")


def test_the_run_image_gets_the_base_images_environment(done: Build) -> None:
    """As lines of a dockerfile, whatever characters are in it."""
    said = ["PATH=/appenv/bin:/bin", 'QUOTED=a "b" $c', "EMPTY="]
    done.image("shop-base", "with an environment", Config={"Env": said})
    with done.inside():
        lines = done.steps().environment().splitlines()
    assert lines == [
        'ENV PATH="/appenv/bin:/bin"',
        'ENV QUOTED="a \\"b\\" \\$c"',
        'ENV EMPTY=""',
    ]


def test_packages_to_run_and_to_build_with_differ(build: Build) -> None:
    """Headers are in the builder alone."""
    build.write("deploy/settings.mk", f"{build.settings}NATIVE := openssl build:libx-dev\n")
    with build.inside():
        found = build.steps()
        run, to_build = found.packages("run"), found.packages("build")
    assert any("libssl3" in each for each in run) and "libx-dev" not in run
    assert {"libssl-dev", "libx-dev"} <= {*to_build}


@pytest.mark.parametrize(
    ("goals", "too"),
    [(["base"], False), (["base", "builder"], True), (["wheels"], True), (["base", "image"], True)],
)
def test_tools_are_made_beside_the_base_where_they_are_wanted(
    build: Build, goals: list[str], too: bool
) -> None:
    """Not by `make base` alone, nor when they are there."""
    with build.inside():
        assert build.steps().needs_tools(goals) is too


def test_tools_that_are_there_are_not_made_again_beside_the_base(done: Build) -> None:
    """They are not made of it."""
    (done.images / "shop-base").unlink()
    assert done.next() == "base"
    with done.inside():
        assert not done.steps().needs_tools(["image"])


def test_a_pin_is_looked_after_where_the_image_is_not_the_one(build: Build) -> None:
    """By base_image_pin.py; an image that is here as pinned needs no look."""

    def is_pinned() -> bool:
        with build.inside(PLATFORM="linux/amd64"):
            return build.steps().has_what_is_pinned()

    assert not is_pinned()
    pinned(build, f"sha256:{'1' * 64}", "linux/amd64")
    assert not is_pinned()
    build.image(BASE, f"sha256:{'1' * 64}")
    assert is_pinned()
    build.image(BASE, f"sha256:{'1' * 64}", Architecture="arm64")
    assert not is_pinned()


@pytest.fixture
def reading(done: Build) -> Build:
    """A project where all is done and the wheel is not made of some files."""
    done.write("README.md", "# Shop\n")
    done.write("tests/test_shop.py", "")
    done.unread = ["README.md", "requirements.txt", "tests/test_shop.py"]
    assert done.finish() == ["wheels", "image"]
    return done


def test_the_content_of_what_no_wheel_is_made_of_rebuilds_nothing(reading: Build) -> None:
    """A README's text, a test's mode."""
    reading.write("README.md", "# The shop\n")
    script = reading.write("tests/test_shop.py", "assert True\n")
    script.chmod(0o755)
    assert reading.next() == ""
    reading.write("src/shop/__init__.py", "X = 1\n")
    assert reading.next() == "wheels"


def test_such_an_edit_while_the_wheels_are_made_rebuilds_nothing(reading: Build) -> None:
    """What the wheel is not made of is known when it is there."""
    reading.do("wheels", lambda: reading.write("README.md", "# The shop\n"))
    assert reading.next() == ""


def renamed(path: Path) -> None:
    """Rename a file."""
    path.rename(path.with_name("test_all.py"))


def joined(path: Path) -> None:
    """Add a file beside one."""
    path.with_name("test_more.py").write_text("")


@pytest.mark.parametrize("change", [Path.unlink, renamed, joined])
def test_the_name_of_what_no_wheel_is_made_of_counts(
    reading: Build, change: Callable[[Path], None]
) -> None:
    """A build that lists a folder saw the names."""
    change(reading.project.path / "tests/test_shop.py")
    assert reading.next() == "wheels"


def test_the_lock_counts_though_no_wheel_is_made_of_it(reading: Build) -> None:
    """The wheelhouse is."""
    reading.write("requirements.txt", LOCK + "# more\n")
    assert reading.next() == "wheels"


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"null", b"\xff\xfe", b"[]", b"[3]", b"[[]]"])
def test_all_files_count_when_it_is_not_known_which_do(reading: Build, data: bytes) -> None:
    """Whatever happened to the list, the wheel is built once more."""
    (reading.project.path / "wheelhouse/python3/unread.json").write_bytes(data)
    reading.write("README.md", "# The shop\n")
    assert reading.finish()[:1] == ["wheels"]


def test_a_tag_that_moves_rebuilds_nothing_once_it_is_pinned(done: Build) -> None:
    """Whatever the name stands for by now, here or in a registry."""
    pinned(done)
    assert done.finish() == list(STEPS)
    done.image(BASE, "a newer one")
    assert done.next() == ""
    (done.images / BASE).unlink()
    assert done.next() == ""


@pytest.mark.parametrize("change", [{"pin": f"debian@sha256:{'b' * 64}"}, {"date": ANOTHER_DAY}])
def test_a_pin_that_moves_rebuilds_everything(done: Build, change: dict[str, str]) -> None:
    """Another image, or the Debian packages of another day."""
    pinned(done)
    done.finish()
    pinned(done, **change)
    assert done.finish() == list(STEPS)


def test_only_the_pin_of_this_image_and_platform_counts(done: Build) -> None:
    """An imported image has a pin for each platform."""
    identity = f"sha256:{'1' * 64}"
    done.image(BASE, identity)
    line = pinned(done, identity, "linux/amd64")
    done.finish()
    done.write("deploy/base.lock", f"# why\n{BASE} linux/arm64 {identity} {ANOTHER_DAY}\n{line}")
    assert done.next() == ""
    pinned(done, identity, "linux/amd64", ANOTHER_DAY)
    assert done.next() == "base"


def test_an_imported_image_that_changed_rebuilds_everything(done: Build) -> None:
    """It is base_image_pin.py that refuses it then."""
    pinned(done, f"sha256:{'1' * 64}", "linux/amd64")
    done.finish()
    done.image(BASE, f"sha256:{'2' * 64}")
    assert done.next() == "base"


def test_a_pin_that_cannot_be_read_is_named(done: Build) -> None:
    """A merge that went wrong, with the line and what to do."""
    done.write("deploy/base.lock", "# x\n<<<<<<< HEAD\n")
    assert "deploy/base.lock, line 2, is not a pin: remove the file" in done.fail("image")


Make = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a build in a process of its own; it ends when the file `hold` is gone."""
    started: list[subprocess.Popen[str]] = []

    def start_one(build: Build, *goals: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-S", "deploy/slipway", *goals],
                cwd=build.project.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start_one
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def line_of(stream: IO[str] | None) -> str:
    """Wait for a line of a process."""
    assert stream is not None
    return stream.readline().strip()


WAITS = "slipway: waiting for another build of this project to finish"
BEGINS = {
    "base": "slipway: base: python3 on debian:trixie-slim, with openssl",
    "tools": "slipway: tools: the base with pip, to download and install wheels",
    "wheels": "slipway: wheels: into wheelhouse/python3",
}


@pytest.fixture
def held(build: Build) -> Build:
    """A project whose base image is pinned and here, and whose builds do not end by themselves."""
    pinned(build)
    build.image(PINNED, "from")
    (build.images.parent / "hold").touch()
    return build


def test_a_second_build_waits_for_the_first_and_plans_anew(held: Build, make: Make) -> None:
    """What the first one did is not done again."""
    first = make(held, "base")
    assert line_of(first.stdout) == BEGINS["base"]
    second = make(held, "tools")
    assert line_of(second.stderr) == WAITS
    (held.images.parent / "hold").unlink()
    assert first.communicate() == ("", "")
    assert line_of(second.stdout) == BEGINS["tools"]
    assert second.communicate() == ("", "")
    assert held.next() == "wheels"


def test_a_build_that_was_killed_stands_in_nobodys_way(held: Build, make: Make) -> None:
    """Neither for one that comes later nor for one that waits; what it began is not done."""
    first = make(held, "base")
    assert line_of(first.stdout) == BEGINS["base"]
    second = make(held, "base")
    assert line_of(second.stderr) == WAITS
    first.send_signal(signal.SIGKILL)  # and docker goes on
    assert line_of(second.stdout) == BEGINS["base"]
    for process in (first, second):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    third = make(held, "base")
    assert line_of(third.stdout) == BEGINS["base"]
    (held.images.parent / "hold").unlink()
    assert third.communicate() == ("", "")
    assert held.next() == "tools"


def test_a_build_that_is_told_to_end_ends_what_it_started(held: Build, make: Make) -> None:
    """Its docker commands as well; nothing is recorded."""
    first = make(held, "base")
    assert line_of(first.stdout) == BEGINS["base"]
    while not (held.images.parent / "built").exists():
        threading.Event().wait(0.01)
    first.send_signal(signal.SIGTERM)
    assert first.communicate() == ("", "")
    assert first.returncode == 128 + signal.SIGTERM
    assert held.next() == "base"
    (held.images.parent / "hold").unlink()


def test_a_build_with_nothing_to_do_waits_for_nobody(real: Build, make: Make) -> None:
    """`make run` of what is there goes on while something else is made."""
    (real.images.parent / "hold").touch()
    real.write("src/shop/__init__.py", "X = 1\n")
    first = make(real, "image")
    assert line_of(first.stdout) == BEGINS["wheels"]
    real.write("src/shop/__init__.py", "")
    second = make(real, "image")
    assert second.communicate() == ("slipway: image: nothing to do\n", "")


def test_a_build_inside_a_build_has_the_same_lock(build: Build) -> None:
    """The tools are made while the wheels are, where a lock has to be made first."""
    with build.inside(), project_lock.held() as first, project_lock.held() as second:
        assert (first, second) == (False, False)


def test_the_lock_is_free_after_the_outermost_use(build: Build, make: Make) -> None:
    """Not before, nor when work failed."""
    pinned(build)
    build.image(PINNED, "from")
    with build.inside(), project_lock.held():
        with contextlib.suppress(ValueError), project_lock.held():
            raise ValueError
        other = make(build, "base")
        assert line_of(other.stderr) == WAITS
    assert line_of(other.stdout) == BEGINS["base"]
    assert other.communicate() == ("", "")


def test_a_build_that_fails_at_once_leaves_nothing_in_sight_of_git(build: Build) -> None:
    """Without the engine, say; the commit that is built then is no dirty one."""
    path = build.project.path
    build.project.run("git", "init", "--quiet")
    (path.parent / "docker").write_text("#!/bin/sh\nexit 1\n")
    before = build.project.run("git", "status", "--porcelain", "--untracked-files=all").stdout
    assert build.project.run("deploy/build.sh").returncode == 1
    after = build.project.run("git", "status", "--porcelain", "--untracked-files=all").stdout
    assert after == before


def test_another_interpreter_builds_all_anew(done: Build) -> None:
    """In a wheelhouse of its own."""
    assert done.finish(PYTHON="pypy3") == list(STEPS)
    assert done.project.has("wheelhouse/pypy3")
    assert done.project.has("wheelhouse/python3")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"base": 3}', b"\xff\xfe", b"null"])
def test_a_broken_record_means_that_nothing_is_known(done: Build, data: bytes) -> None:
    """Whatever happened to the file, the answer is to look at everything again."""
    (done.project.path / ".deploy" / "state.json").write_bytes(data)
    assert done.next() == "base"
    with done.inside():
        assert Record.load().get("push", "digest") == ""


def test_a_record_that_cannot_be_read_is_named(done: Build) -> None:
    """One line, and no traceback."""
    path = done.project.path / ".deploy" / "state.json"
    path.unlink()
    path.mkdir()
    assert str(path) in done.fail("image")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("requirements.txt", "one==1\n".encode("utf-16"), "requirements.txt is not UTF-8 text"),
        ("deploy/settings.mk", b"nonsense\n", "deploy/settings.mk, line 1: write"),
        ("deploy/settings.mk", b"PROJECT = a\nCOMMAND = a\nNATIVE = opensl\n", "did you mean"),
        ("deploy/settings.mk", b"PROJECT = a\nCOMMAND = a\nDOCKER = /no/docker\n", "install"),
    ],
)
def test_what_cannot_be_looked_at_is_said_in_a_line(
    done: Build, name: str, data: bytes, says: str
) -> None:
    """Each ends with the file or setting to change, and no traceback."""
    before = done.project.read("deploy/settings.mk")
    docker = make_syntax.parse(before, {})["DOCKER"][0]
    (done.project.path / name).write_bytes(data)
    if b"NATIVE" in data:
        done.write(name, f"{data.decode()}DOCKER := {docker}\n")
    assert says in done.fail("image")


def test_a_lock_that_is_no_text_is_said_in_a_line(done: Build) -> None:
    """Whoever reads it."""
    (done.project.path / "requirements.txt").write_bytes(b"# caf\xe9\n")
    says = "requirements.txt is not UTF-8 text: save it as UTF-8"
    assert says in done.fail("image")
    assert says in done.fail("lock")
    with pytest.raises((console.Failed, ValueError), match=says):
        done.sources()


def test_a_record_is_kept_and_given(build: Build) -> None:
    """Values may have any characters; the folder asks git to leave it alone."""
    with build.inside():
        Record.load().write("push", digest="sha256:0", name="a=b c")
        assert Record.load().get("push", "digest") == "sha256:0"
        assert Record.load().get("push", "name") == "a=b c"
        assert Record.load().get("push", "other") == ""
    folder = build.project.path / ".deploy"
    assert sorted(os.listdir(folder)) == [".gitignore", "state.json"]
    assert (folder / ".gitignore").read_text().endswith("*\n")
    assert json.loads((folder / "state.json").read_text())["push"]["name"] == "a=b c"


@pytest.mark.parametrize(
    ("text", "name"), [(LOCK, "requirements.txt"), ("one\n", "requirements.lock")]
)
def test_the_lock_is_beside_the_application(build: Build, text: str, name: str) -> None:
    """Never in place of somebody's own list."""
    build.write("requirements.txt", text)
    assert lockfile.lock_path(build.project.path) == build.project.path / name


CHECKED = {"CHECK_IMAGE": "yes", "DEPLOY_OVERRIDES": "CHECK_IMAGE"}


def test_image_is_checked_once(done: Build) -> None:
    """When it is there; with nothing new there is nothing to do."""
    assert done.finish(**CHECKED) == ["check"]
    assert done.finish(**CHECKED) == []
    assert done.finish() == []


def test_changed_line_of_python_is_not_checked_again(done: Build) -> None:
    """The dependencies' layer is what it was."""
    done.finish(**CHECKED)
    done.write("src/shop/__init__.py", "# changed")
    assert done.finish(**CHECKED) == ["wheels", "image"]


def test_changed_line_of_a_compiled_application_is_checked(done: Build) -> None:
    """It may ask for another library."""
    done.wheel = "-1-cp311-cp311-linux_x86_64.whl"
    done.write("requirements.txt", LOCK + "# other\n")
    done.finish(**CHECKED)
    done.write("src/shop/__init__.py", "# changed")
    assert done.finish(**CHECKED) == ["wheels", "image", "check"]


@pytest.mark.parametrize(
    "name",
    ["image/check/shared_libraries", "image/check/module_imports", "laptop/building/image_check"],
)
def test_changed_check_is_made_again(done: Build, name: str) -> None:
    """What was found before may be another thing now."""
    done.finish(**CHECKED)
    path = f"deploy/slipway/{name}.py"
    done.write(path, f"{done.project.read(path)}\n# changed\n")
    assert done.finish(**CHECKED) == ["check"]


def test_check_alone_is_a_goal(done: Build) -> None:
    """`make check-image` makes up for what was left out."""
    assert done.next("check") == "check"
    assert done.next() == ""
