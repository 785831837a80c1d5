"""Installing a wheelhouse into an empty virtualenv after comparing it with its own list."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from slipway.builder import wheelhouse as builder_wheelhouse
from slipway.image.run import install_wheelhouse
from slipway.shared import files
from tests.unit.conftest import DEPLOY, make_wheel

MODULE = "slipway.image.run.install_wheelhouse"
ENTRY_POINT = "[console_scripts]\nrun-the-shop = shop:main\nstart-shop = shop:main\n"


@pytest.fixture
def appenv(tmp_path: Path) -> Path:
    """A virtualenv without pip, as in the base image."""
    venv.create(tmp_path / "appenv", with_pip=False, symlinks=True)
    return tmp_path / "appenv"


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    """A wheelhouse folder with one wheel that has two programs."""
    folder = tmp_path / "wheel house"
    folder.mkdir()
    make_wheel(folder, "shop", "1.0", entry_points=ENTRY_POINT)
    builder_wheelhouse.list_in(folder, "# made for this\n")
    return folder


def install(appenv: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the module as the build of the run image does, with an unreachable package index."""
    return subprocess.run(
        [sys.executable, "-m", MODULE, *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": str(DEPLOY),
            "APPENV": str(appenv),
            "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_wheels_are_installed_and_the_command_becomes_the_start(
    appenv: Path, wheelhouse: Path
) -> None:
    """The container runs one program with its arguments, and further arguments after them."""
    done = install(appenv, wheelhouse, "run-the-shop --workers 2")
    assert (done.returncode, done.stdout) == (0, "")
    said = subprocess.check_output([appenv / "start", "a  b"], text=True)
    assert said == "shop 1.0 ['--workers', '2', 'a  b']\n"
    assert not list(appenv.glob("bin/pip*"))
    # the root file system is read-only at run time
    assert list(appenv.glob("lib/*/site-packages/__pycache__/shop.*.pyc"))


def test_tools_for_another_python_are_reported_as_such(tmp_path: Path) -> None:
    """This Python does not search the folder of their libraries."""
    command = [sys.executable, "-S", "-m", MODULE, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(DEPLOY)}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("install: the tools are for another Python than 3.")
    assert done.stderr.endswith("remove the base image, then run this again\n")


def test_a_wheel_with_another_checksum_is_not_installed(appenv: Path, wheelhouse: Path) -> None:
    """A wheel was changed after the build."""
    more = ENTRY_POINT + "more = shop:main\n"
    changed = make_wheel(wheelhouse, "shop", "1.0", entry_points=more)
    before = sorted(appenv.rglob("*"))
    done = install(appenv, wheelhouse, "run-the-shop")
    assert done.returncode == 1
    assert done.stdout == (
        "install: shop-1.0-py3-none-any.whl in the wheelhouse does not match its"
        f" requirements.txt (the file has sha256:{files.sha256(changed)}): remove the file, then"
        " run make wheels\n"
    )
    assert sorted(appenv.rglob("*")) == before


def test_a_wheel_that_is_not_listed_is_not_installed(appenv: Path, wheelhouse: Path) -> None:
    """A wheel was added by hand; the others are not installed either."""
    make_wheel(wheelhouse, "foreign", "1.0")
    done = install(appenv, wheelhouse, "run-the-shop")
    assert done.returncode == 1
    assert done.stdout.startswith(
        "install: foreign-1.0-py3-none-any.whl in the wheelhouse does not match"
    )
    assert not (appenv / "bin" / "run-the-shop").exists()


def test_a_wheel_that_is_missing_is_not_fetched(appenv: Path, wheelhouse: Path) -> None:
    """No package index is used; the message names each missing wheel."""
    listing = wheelhouse / "requirements.txt"
    kept = listing.read_text()
    for name, digit in (("attrs", "0"), ("two-b", "1")):
        kept += f"{name}==24.2.0 --hash=sha256:{digit * 64}\n"
    listing.write_text(kept)
    done = install(appenv, wheelhouse)
    assert done.returncode == 1
    says = "install: the wheelhouse has no wheel of attrs, two-b: run make wheels\n"
    assert done.stdout == says
    assert not list(appenv.rglob("shop.py"))


def test_exactly_the_listed_wheels_are_returned(wheelhouse: Path) -> None:
    """In the order of their names, without other files in the folder."""
    for name in ("B", "a"):
        make_wheel(wheelhouse, name, "2.0")
    builder_wheelhouse.list_in(wheelhouse, "")
    (wheelhouse / "README.txt").touch()
    (wheelhouse / "shop-1.0.tar.gz").touch()
    found = install_wheelhouse.checked(wheelhouse)
    assert found == sorted(wheelhouse.glob("*.whl"))
    assert len(found) == 3


def test_a_folder_without_a_list_is_refused(appenv: Path, wheelhouse: Path) -> None:
    """With one line."""
    (wheelhouse / "requirements.txt").unlink()
    done = install(appenv, wheelhouse)
    assert done.returncode == 1
    assert done.stdout.startswith("install: ")
    assert done.stdout.count("\n") == 1
    assert "requirements.txt" in done.stdout


def test_the_health_check_is_installed_with_the_dependencies(
    appenv: Path, wheelhouse: Path
) -> None:
    """A changed line of the application does not ship it again."""
    assert install(appenv, wheelhouse).returncode == 0
    assert (appenv / "healthcheck").stat().st_mtime == files.EPOCH
    (appenv / "healthcheck").unlink()
    assert install(appenv, wheelhouse, "run-the-shop").returncode == 0
    assert not (appenv / "healthcheck").exists()


def test_installed_files_have_one_fixed_time(appenv: Path, wheelhouse: Path) -> None:
    """Folders, links and bytecode too, so that layers are equal; other files keep their times."""
    old = appenv / "bin" / "old"
    old.write_text("")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    for path in (appenv, *appenv.rglob("*")):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    assert install(appenv, wheelhouse, "run-the-shop").returncode == 0
    times = {
        path.relative_to(appenv).as_posix(): path.lstat().st_mtime
        for path in (appenv, *appenv.rglob("*"))
    }
    new = {name for name, time in times.items() if time == files.EPOCH}
    packages = next(appenv.glob("lib/*/site-packages")).relative_to(appenv).as_posix()
    assert {".", "start", "bin/run-the-shop", "bin", packages} <= new
    assert {f"{packages}/shop.py", f"{packages}/shop-1.0.dist-info/RECORD"} <= new
    assert [name for name in new if name.endswith(".pyc")]
    assert set(times.values()) == {files.EPOCH, 1_000_000_000}
    assert times["bin/old"] == times["pyvenv.cfg"] == 1_000_000_000


def test_only_new_files_get_the_fixed_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target of a link to another folder keeps its time."""
    elsewhere, appenv = tmp_path / "elsewhere", tmp_path / "appenv"
    elsewhere.touch()
    (appenv / "bin").mkdir(parents=True)
    (appenv / "link").symlink_to(elsewhere)
    (appenv / "broken").symlink_to("nothing")
    os.utime(appenv / "bin", (1_500_000_000, 1_500_000_000))
    kept = elsewhere.stat().st_mtime
    monkeypatch.setenv("APPENV", str(appenv))
    monkeypatch.setattr(install_wheelhouse, "APPENV", appenv)
    install_wheelhouse.set_times(1_500_000_001)
    assert elsewhere.stat().st_mtime == kept
    assert (appenv / "bin").stat().st_mtime == 1_500_000_000
    for path in (appenv, appenv / "link", appenv / "broken"):
        assert path.lstat().st_mtime == files.EPOCH
    install_wheelhouse.set_times(1_500_000_000)
    assert (appenv / "bin").stat().st_mtime == files.EPOCH


def test_a_command_that_no_wheel_provides_is_refused(appenv: Path, wheelhouse: Path) -> None:
    """The message names the setting to change and the programs that exist."""
    done = install(appenv, wheelhouse, "run-the-sho --workers 2")
    assert done.returncode == 1
    assert done.stdout == (
        "install: no wheel provides the program 'run-the-sho' (there are: run-the-shop,"
        " start-shop): set COMMAND in deploy/settings.mk\n"
    )


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("run-the-shop --workers 2", "exec {bin}/run-the-shop --workers 2"),
        ("run-the-shop 'shop:app()' \"a  b\"", "exec {bin}/run-the-shop 'shop:app()' 'a  b'"),
        ("sh -c 'exec run-the-shop $PORT'", "exec /bin/sh -c 'exec run-the-shop $PORT'"),
    ],
)
def test_the_container_runs_the_command_word_by_word(
    appenv: Path, wheelhouse: Path, command: str, line: str
) -> None:
    """A shell interprets quoted text only if the command is a shell."""
    assert install(appenv, wheelhouse, command).returncode == 0
    expected = f'#!/bin/sh\n{line.format(bin=appenv / "bin")} "$@"\n'
    assert (appenv / "start").read_text() == expected


def test_other_commands_of_the_image_have_names(appenv: Path, wheelhouse: Path) -> None:
    """Each becomes a program; the message about a missing one names its setting."""
    done = install(appenv, wheelhouse, "run-the-shop", '{"worker": "start-shop --queue \'a b\'"}')
    assert done.returncode == 0
    expected = f"#!/bin/sh\nexec {appenv}/bin/start-shop --queue 'a b' \"$@\"\n"
    assert (appenv / "start-worker").read_text() == expected
    done = install(appenv, wheelhouse, "run-the-shop", '{"worker": "other"}')
    assert done.returncode == 1
    assert "set COMMAND_worker in deploy/settings.mk" in done.stdout


def test_an_empty_folder_installs_nothing(appenv: Path, tmp_path: Path) -> None:
    """For an application without dependencies, or requirements without an application."""
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "requirements.txt").write_text("# made for this\n")
    assert install(appenv, folder).returncode == 0
    done = install(appenv, folder, "run-the-shop")
    assert done.returncode == 1
    assert "(there are: none)" in done.stdout
    assert install(appenv, folder, "python -c 'print(1)'").returncode == 0


def lock_copy(folder: Path, pins: str, built: str = "") -> Path:
    """Write a copy of the lock, as the laptop does."""
    place = folder / "lock"
    place.mkdir()
    (place / "requirements.txt").write_text(pins)
    (place / "built.txt").write_text(built)
    return place


def pin(name: str, version: str, *sums: str) -> str:
    """Return a line of a lock."""
    return f"{name}=={version} " + " ".join(f"--hash=sha256:{each}" for each in sums) + "\n"


def test_a_wheel_with_a_checksum_of_the_lock_is_installed(appenv: Path, wheelhouse: Path) -> None:
    """Other files of the same release are in the lock, too."""
    (wheel,) = wheelhouse.glob("*.whl")
    lock = lock_copy(wheelhouse.parent, pin("shop", "1.0", "0" * 64, files.sha256(wheel)))
    done = install(appenv, "--lock", lock, wheelhouse)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_wheel_that_only_its_own_list_names_is_refused(appenv: Path, wheelhouse: Path) -> None:
    """What runs in a build can write both; the lock is the laptop's."""
    lock = lock_copy(wheelhouse.parent, pin("shop", "1.0", "0" * 64))
    done = install(appenv, "--lock", lock, wheelhouse)
    assert done.returncode == 1
    assert "shop-1.0-py3-none-any.whl in the wheelhouse does not have a SHA-256" in done.stdout
    assert not list(appenv.rglob("shop.py"))


def test_a_wheel_of_a_name_that_the_lock_lacks_is_refused(appenv: Path, wheelhouse: Path) -> None:
    """Even if another pin has its checksum."""
    (wheel,) = wheelhouse.glob("*.whl")
    lock = lock_copy(wheelhouse.parent, pin("attrs", "1.0", files.sha256(wheel)))
    assert install(appenv, "--lock", lock, wheelhouse).returncode == 1


def test_a_wheel_that_was_built_here_has_the_checksum_of_that_build(
    appenv: Path, wheelhouse: Path
) -> None:
    """The lock has only the checksum of the source distribution."""
    (wheel,) = wheelhouse.glob("*.whl")
    pins = pin("shop", "1.0", "0" * 64)
    lock = lock_copy(wheelhouse.parent, pins, pin("shop", "1.0", files.sha256(wheel)))
    assert install(appenv, "--lock", lock, wheelhouse).returncode == 0
    (lock / "built.txt").write_text(pin("shop", "1.0", "1" * 64))
    assert install(appenv, "--lock", lock, wheelhouse).returncode == 1


def test_the_application_does_not_replace_a_dependency(appenv: Path, wheelhouse: Path) -> None:
    """Its own wheels are in no lock, so they have no name of the lock."""
    (wheel,) = wheelhouse.glob("*.whl")
    lock = lock_copy(wheelhouse.parent, pin("attrs", "1.0", "0" * 64))
    assert install(appenv, "--lock", lock, wheelhouse, "run-the-shop").returncode == 0
    assert install(appenv, "--lock", lock, "--application", wheelhouse).returncode == 0
    (lock / "requirements.txt").write_text(pin("shop", "1.0", files.sha256(wheel)))
    done = install(appenv, "--lock", lock, wheelhouse, "run-the-shop")
    assert done.returncode == 1
    assert "the lock has a dependency of that name" in done.stdout


@pytest.mark.parametrize(
    "entries",
    [
        "[console_scripts]\nrun = shop:main\n  and more\n",
        "[console_scripts]\nrun = shop\n",
        "[console_scripts\nrun = shop:main\n",
    ],
)
def test_a_wheel_that_is_broken_is_named_in_one_line(
    appenv: Path, tmp_path: Path, entries: str
) -> None:
    """Whatever the library that installs it makes of it."""
    (tmp_path / "deps").mkdir()
    wheel = make_wheel(tmp_path / "deps", "shop", "1.0", entry_points=entries)
    builder_wheelhouse.list_in(wheel.parent, "# made for this\n")
    done = install(appenv, wheel.parent)
    assert done.returncode == 1
    assert done.stdout.startswith(f"install: {wheel.name} cannot be installed: ")
    assert done.stdout.count("\n") == 1
