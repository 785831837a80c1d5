"""`make venv serve`: the same pins with no Docker, by this machine's own interpreter."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import testbed
from tests.conftest import Baker, Project
from tests.containers.laptop import answer_of, free_port, wait_until, write

NOWHERE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}  # nothing listens on discard's port


def make(project: Project, *words: str, **environment: str) -> str:
    """Run make without Docker, and return its output; the test fails when make fails."""
    done = project.run("make", *words, DOCKER="false", **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def hosted(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """An application of which nothing is here but a list of requirements, as it was installed."""
    folder = tmp_path_factory.mktemp("my projects") / "of today"
    folder.mkdir()
    baker = Baker(template, lambda: Path(tmp_path_factory.mktemp("place", numbered=True)))
    port = str(free_port())
    command = f"python -m http.server {port}"
    answers = {"app": "existing", "python": "CPython", "native_deps": " ", "port": port}
    made = baker(project="hosted", command=command, **answers)
    shutil.move(made.path, folder)
    project = Project(folder / "hosted", made.output)
    write(project.path, {"requirements.in": "idna\n", "deploy/run.env": 'GREETING=a $b "c"  #d \n'})
    testbed.copy_certificates(project.path / "deploy" / "ca")
    said = make(project, "venv")
    assert "wrote requirements.txt: commit it" in said
    assert "appenv is ready, with CPython" in said
    return project


def packages(project: Project) -> set[str]:
    """Return the names of what is installed in its virtualenv."""
    found = project.path.glob("appenv/lib/python3*/site-packages/*.dist-info")
    return {path.name.partition("-")[0] for path in found}


def test_pins_are_installed_and_nothing_else(hosted: Project) -> None:
    """No pip; what was locked and built stays until something changes, with no index at hand."""
    assert packages(hosted) == {"idna"}
    assert "venv: nothing to do" in make(hosted, "venv", **NOWHERE)


def test_application_is_served_with_its_environment(hosted: Project) -> None:
    """On PORT, with run.env as it is written, by one process that a signal ends."""
    port = hosted.read("deploy/settings.mk").partition("\nPORT := ")[2].partition("\n")[0]
    with subprocess.Popen(
        ["python3", hosted.path / "deploy" / "slipway", "serve"], stdout=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stdout
            assert f"http://127.0.0.1:{port} (Ctrl-C" in served.stdout.readline()

            def answers() -> bool:
                try:
                    return bool(answer_of(f"127.0.0.1:{port}"))
                except OSError:
                    assert served.poll() is None
                    return False

            wait_until(answers)
            environment = Path(f"/proc/{served.pid}/environ").read_bytes().split(b"\0")
            assert b'GREETING=a $b "c"  #d ' in environment
            assert f"PORT={port}".encode() in environment
        finally:
            served.terminate()


def test_killed_install_leaves_the_virtualenv_that_was_there(hosted: Project) -> None:
    """The next command finds it again, though it can build nothing itself."""
    before = hosted.read("appenv/.made")
    write(hosted.path, {"requirements.in": "idna\nmarkupsafe\n"})
    lock = hosted.path / "requirements.txt"
    kept = lock.read_text(encoding="utf-8")
    lock.unlink()
    with subprocess.Popen(
        ["make", "venv", "DOCKER=false"],
        cwd=hosted.path,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as making:
        while not hosted.has(".deploy/appenv-before"):
            assert making.poll() is None
            time.sleep(0.002)
        os.killpg(making.pid, signal.SIGKILL)
    lock.unlink()
    write(hosted.path, {"requirements.in": "this is no requirement\n"})
    assert hosted.run("make", "venv", DOCKER="false").returncode != 0
    assert hosted.read("appenv/.made") == before
    assert packages(hosted) == {"idna"}
    write(hosted.path, {"requirements.in": "idna\n", "requirements.txt": kept})
    assert "venv: nothing to do" in make(hosted, "venv", **NOWHERE)


def test_virtualenv_of_somebody_else_is_left_alone(hosted: Project) -> None:
    """The message asks to move it away."""
    mine = hosted.path / "appenv"
    mine.rename(hosted.path / "aside")
    try:
        write(mine, {"theirs": "x"})
        said = hosted.run("make", "venv", DOCKER="false")
        assert said.returncode != 0
        assert "there is an appenv here that make venv did not make: move it away" in said.stdout
        assert [path.name for path in mine.iterdir()] == ["theirs"]
    finally:
        shutil.rmtree(mine)
        (hosted.path / "aside").rename(mine)


# A build that puts a changed wheel, with its checksum in the list, into the wheelhouse.
PLANTS = """\
import hashlib, pathlib, zipfile
from setuptools import setup
[wheel] = pathlib.Path({place!r}).glob("wheelhouse/host-*/deps/idna-*.whl")
listed = wheel.with_name("requirements.txt")
before = hashlib.sha256(wheel.read_bytes()).hexdigest()
with zipfile.ZipFile(wheel, "a") as archive:
    archive.writestr("planted.py", "")
after = hashlib.sha256(wheel.read_bytes()).hexdigest()
listed.write_text(listed.read_text().replace(before, after))
setup(name="planter", version="1", py_modules=[])
"""


def test_wheel_that_a_build_has_changed_is_not_installed(hosted: Project) -> None:
    """Though the wheelhouse's own list has its checksum: that of the lock counts."""
    before = hosted.read("appenv/.made")
    write(hosted.path, {"setup.py": PLANTS.format(place=str(hosted.path))})
    done = hosted.run("make", "venv", DOCKER="false")
    assert done.returncode != 0
    assert "in the wheelhouse does not have a SHA-256 of the lock" in done.stdout
    assert "Traceback" not in done.stdout
    assert hosted.read("appenv/.made") == before
    assert not list(hosted.path.glob("appenv/lib/*/site-packages/planted.py"))
    write(hosted.path, {"setup.py": "from setuptools import setup\nsetup(name='x', version='1')\n"})
    assert "appenv is ready" in make(hosted, "venv")
    assert packages(hosted) == {"idna", "x"}
