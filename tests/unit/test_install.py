"""Installing a wheelhouse into an empty virtualenv, by real pip."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.unit.conftest import DEPLOY, make_wheel

wheels = importlib.import_module("wheels")

ENTRY_POINT = "[console_scripts]\nrun-the-shop = shop:main\nstart-shop = shop:main\n"


@pytest.fixture
def appenv(tmp_path: Path) -> Path:
    """A virtualenv without pip, as the base image has it."""
    venv.create(tmp_path / "appenv", with_pip=False, symlinks=True)
    return tmp_path / "appenv"


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    """A wheelhouse folder with one wheel, which brings two programs."""
    folder = tmp_path / "wheel house"
    folder.mkdir()
    wheel = make_wheel(folder, "shop", "1.0", entry_points=ENTRY_POINT)
    (folder / "requirements.txt").write_text(wheels.sums([wheel]))
    return folder


def install(appenv: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run install.py as the run image's build does, with no index to fall back on."""
    return subprocess.run(
        [sys.executable, str(DEPLOY / "install.py"), *map(str, arguments)],
        env={**os.environ, "APPENV": str(appenv), "PIP_INDEX_URL": "http://127.0.0.1:9/simple"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_wheels_are_installed_and_the_command_becomes_the_start(
    appenv: Path, wheelhouse: Path
) -> None:
    """What the container runs is one program with its arguments, and whatever is added to them."""
    done = install(appenv, wheelhouse, "run-the-shop --workers 2")
    assert (done.returncode, done.stdout) == (0, "")
    said = subprocess.check_output([appenv / "start", "a  b"], text=True)
    assert said == "shop 1.0 ['--workers', '2', 'a  b']\n"
    assert not list(appenv.glob("bin/pip*"))
    # the root file system is read-only later
    assert list(appenv.glob("lib/*/site-packages/__pycache__/shop.*.pyc"))


def test_a_wheel_with_another_sum_is_not_installed(appenv: Path, wheelhouse: Path) -> None:
    """Somebody changed a wheel after it was built."""
    make_wheel(wheelhouse, "shop", "1.0", entry_points=ENTRY_POINT + "more = shop:main\n")
    done = install(appenv, wheelhouse, "run-the-shop")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stdout
    assert not (appenv / "bin" / "run-the-shop").exists()


def test_a_wheel_that_is_missing_is_not_fetched(appenv: Path, wheelhouse: Path) -> None:
    """The index is off."""
    listing = wheelhouse / "requirements.txt"
    listing.write_text(listing.read_text() + f"attrs==24.2.0 --hash=sha256:{'0' * 64}\n")
    done = install(appenv, wheelhouse)
    assert done.returncode != 0
    assert "No matching distribution found for attrs==24.2.0" in done.stdout


def test_a_command_that_no_wheel_brings_is_refused_with_those_that_are_there(
    appenv: Path, wheelhouse: Path
) -> None:
    """The setting to change is named, and what it could be."""
    done = install(appenv, wheelhouse, "run-the-sho --workers 2")
    assert done.returncode == 1
    assert done.stdout == (
        "install: no wheel brings the program 'run-the-sho' (there are: run-the-shop, start-shop):"
        " set COMMAND in deploy/settings.mk\n"
    )


def test_an_empty_folder_installs_nothing(appenv: Path, tmp_path: Path) -> None:
    """An application without dependencies, or a list of requirements without an application."""
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "requirements.txt").write_text("# made for this\n")
    assert install(appenv, folder).returncode == 0
    done = install(appenv, folder, "run-the-shop")
    assert done.returncode == 1
    assert "(there are: none)" in done.stdout
    assert install(appenv, folder, "python -c 'print(1)'").returncode == 0
