"""make venv and make serve, with an interpreter that records its command lines."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.unit.conftest import shell_script

# Stands for an interpreter and, as a copy, for that of a virtualenv. `broken` files make it fail.
PYTHON = """\
here='{folder}'
case "$*" in
"-m slipway.shared.lockfile") echo "CPython 3.13"; exit ;;
esac
printf '%s\\n' "$*" >>"$here/asked"
case "$*" in
"-m venv "*)
    [ ! -e "$here/broken venv" ] || exit 1
    for place; do :; done
    mkdir -p "$place/bin" && cp "$0" "$place/bin/python"
    ;;
"-m slipway.shared.network "*) [ ! -e "$here/broken pip" ] || exit 1 ;;
"-m slipway.builder lock "*)
    [ ! -e "$here/broken lock" ] || exit 1
    printf '%s\\n' '{lock}'
    ;;
"-m slipway.builder --events wheels "*)
    [ ! -e "$here/broken wheels" ] || exit 1
    env >"$here/environment"
    [ ! -e "$here/events" ] || cat "$here/events"
    ;;
"-m slipway.image.run.install_wheelhouse "*)
    [ ! -e "$here/broken install" ] || exit 1
    [ ! -e "$here/killed" ] || kill -9 $PPID
    cp "$here/run-the-app" "$APPENV/bin/"
    [ ! -e "$here/with files" ] || mkdir -p "$APPENV/app"
    ;;
esac
"""
LOCK = f"one==1 --hash=sha256:{'0' * 64}"
APPLICATION = """\
echo "process $$"
echo "arguments $*"
pwd
env
"""


class Machine:
    """A project, and the programs of a machine without Docker."""

    def __init__(self, project: Project, folder: Path) -> None:
        """Write the programs, python3 being the only interpreter."""
        self.project = project
        self.folder = folder
        self.bin = folder / "bin"
        shell_script(self.bin / "python3", PYTHON.format(folder=folder, lock=LOCK))
        shell_script(folder / "run-the-app", APPLICATION)
        self.write("pyproject.toml", "[project]\nname = 'shop'\n")

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        (self.project.path / name).write_text(text)

    def run(self, command: str = "venv", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command; what the interpreter was given before that is forgotten."""
        (self.folder / "asked").write_text("")
        path = f"{self.bin}:/usr/bin:/bin"
        words = (sys.executable, "deploy/slipway", command)
        return self.project.run(*words, PATH=path, DOCKER="/no/docker", **variables)

    def output(self, command: str = "venv", **variables: str) -> list[str]:
        """Run a command that succeeds; return its lines."""
        done = self.run(command, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout.splitlines()

    def failure(self, command: str = "venv", **variables: str) -> str:
        """Run a command that fails; return its last line."""
        done = self.run(command, **variables)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout.splitlines()[-1]

    def asked(self) -> list[str]:
        """Return the arguments that interpreters were given, with short paths."""
        text = (self.folder / "asked").read_text().replace(str(self.project.path), ".")
        return text.splitlines()

    def broken(self, *names: str) -> None:
        """Make these parts fail, and no others."""
        for path in self.folder.glob("broken *"):
            path.unlink()
        for name in names:
            (self.folder / f"broken {name}").touch()


@pytest.fixture
def machine(project: Project, tmp_path: Path) -> Machine:
    """A project of which nothing was made yet."""
    (tmp_path / "machine").mkdir()
    return Machine(project, tmp_path / "machine")


@pytest.fixture
def made(machine: Machine) -> Machine:
    """A project whose appenv is up to date."""
    machine.output()
    return machine


def test_the_first_time_tools_lock_wheels_and_virtualenv_are_made(machine: Machine) -> None:
    """In this order, each by its interpreter."""
    assert machine.output() == [
        "slipway: wrote requirements.txt: commit it",
        "slipway: appenv is ready, with CPython 3.13",
        "slipway: run the application with: make serve",
    ]
    tools, wheelhouse = "./.deploy/tools-CPython-3.13", "./wheelhouse/host-CPython-3.13"
    venv, point_to, pip, lock, wheels, appenv, *parts = machine.asked()
    assert venv == f"-m venv {tools}"
    assert point_to.startswith("-c ")
    assert point_to.endswith(" ./deploy")
    assert "install -qq --disable-pip-version-check --require-hashes" in pip
    assert pip.startswith(f"-m slipway.shared.network ./deploy/ca {tools}/bin/python -m pip ")
    assert pip.endswith("--requirement ./deploy/slipway/builder/requirements.txt")
    folders = f"--application . --wheelhouse {wheelhouse} --ca ./deploy/ca --cache "
    assert lock.startswith(f"-m slipway.builder lock {folders}")
    assert wheels.startswith(f"-m slipway.builder --events wheels {folders}")
    assert appenv == "-m venv --without-pip ./appenv"
    install = "-m slipway.image.run.install_wheelhouse --lock ./.deploy/pins-CPython-3.13"
    assert parts == [f"{install} {wheelhouse}/deps", f"{install} --application {wheelhouse}/app"]
    assert machine.project.read(".deploy/pins-CPython-3.13/requirements.txt") == f"{LOCK}\n"
    assert machine.project.read(".deploy/pins-CPython-3.13/built.txt") == ""
    assert machine.project.read("requirements.txt") == f"{LOCK}\n"
    for folder in (".deploy", "wheelhouse", "appenv"):
        assert machine.project.read(f"{folder}/.gitignore").endswith("*\n")


def test_wheels_that_were_built_from_the_lock_are_known(machine: Machine) -> None:
    """Only of source distributions that the builder named before; its other output is no event."""
    sums = {"one": "1" * 64, "two": "2" * 64}
    events = [{"event": "sources", "names": ["one"]}, {"event": "built", "sums": sums}]
    lines = ["running build", "[1]", *map(json.dumps, events)]
    (machine.folder / "events").write_text("\n".join(lines))
    machine.output()
    built = machine.project.read(".deploy/pins-CPython-3.13/built.txt")
    assert built == f"one==1 --hash=sha256:{'1' * 64}\n"


def test_the_tools_find_the_machinery(machine: Machine) -> None:
    """A real interpreter writes the file that leads it to deploy/."""
    machine.output()
    code = machine.asked()[1].removeprefix("-c ").removesuffix(" ./deploy")
    place = machine.folder / "a virtualenv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    deploy = str(machine.project.path / "deploy")
    subprocess.run([python, "-c", code, deploy], check=True)
    found = subprocess.check_output([python, "-m", "slipway.shared.lockfile"], text=True, cwd="/")
    assert found.startswith(("CPython 3.", "PyPy 3."))


def test_the_second_time_there_is_nothing_to_do(made: Machine) -> None:
    """Neither the tools nor the wheels are looked at."""
    first, _ = made.output()
    assert first == "slipway: venv: nothing to do"
    assert made.asked() == []


def test_a_changed_source_is_built_and_installed_again(made: Machine) -> None:
    """With the tools and the lock that are there."""
    made.write("setup.py", "")
    assert made.output()[0] == "slipway: appenv is ready, with CPython 3.13"
    assert [line.split()[1] for line in made.asked()] == [
        *("slipway.builder", "venv"),
        *("slipway.image.run.install_wheelhouse",) * 2,
    ]
    assert not made.project.has(".deploy/appenv-before")


def test_changed_files_are_installed_again(made: Machine) -> None:
    """FILES is a setting, and no source."""
    assert "slipway: appenv is ready, with CPython 3.13" in made.output(FILES="app.py")
    assert made.asked()


def test_the_builder_knows_what_it_builds(machine: Machine) -> None:
    """By the names that it has in an image, and that missing libraries are for this machine."""
    machine.output(FILES="app.py", SCM_VERSION="1.2")
    lines = (machine.folder / "environment").read_text().splitlines()
    for line in ("FILES=app.py", "SCM_VERSION=1.2", "PROJECT=shop", "WHEELS_HERE=yes"):
        assert line in lines


def test_another_interpreter_is_named(machine: Machine) -> None:
    """Until there is an appenv, which says enough."""
    settings = machine.project.read("deploy/settings.mk")
    machine.write("deploy/settings.mk", settings.replace("python3", "pypy3"))
    path = machine.bin / "python3"
    named = f"slipway: there is no pypy3 here: using {path} (CPython 3.13)"
    assert machine.output()[0] == named
    assert named not in machine.output()


def test_a_project_that_was_moved_has_its_tools_made_again(made: Machine) -> None:
    """They contain the path of the folder."""
    place = made.project.path.with_name("another place")
    made.project.path.rename(place)
    moved = Machine(Project(place, ""), made.folder)
    moved.output()
    assert moved.asked()[0] == "-m venv ./.deploy/tools-CPython-3.13"
    moved.output()
    assert moved.asked() == []


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("venv", "install its venv package (Debian: python3-venv)"),
        ("pip", "the tools could not be installed; see above"),
        ("lock", "no lock was made; see above"),
        ("wheels", "the wheels could not be built; see above"),
        ("install", "the wheels could not be installed; see above"),
    ],
)
def test_a_failure_is_one_line_and_is_tried_again(machine: Machine, part: str, says: str) -> None:
    """Of the lock nothing is left."""
    machine.broken(part)
    failure = machine.failure()
    assert failure.startswith("slipway: ")
    assert failure.endswith(says)
    assert machine.project.has("requirements.txt") is (part in ("wheels", "install"))
    machine.broken()
    assert "slipway: appenv is ready, with CPython 3.13" in machine.output()


def test_a_failed_install_leaves_the_virtualenv_that_was_there(made: Machine) -> None:
    """It is that of the former sources, which is not what is asked for now."""
    before = made.project.read("appenv/.made")
    made.write("appenv/mark", "")
    made.write("setup.py", "")
    made.broken("install")
    made.failure()
    assert made.project.read("appenv/.made") == before
    assert made.project.has("appenv/mark")
    made.broken()
    made.output()
    assert not made.project.has("appenv/mark")


def test_a_killed_install_is_recovered_by_the_next_command(made: Machine) -> None:
    """Even if that one cannot build anything."""
    before = made.project.read("appenv/.made")
    made.write("setup.py", "")
    (made.folder / "killed").touch()
    assert made.run().returncode == -9
    assert made.project.read("appenv/.made") == ""
    assert made.project.has(".deploy/appenv-before")
    made.broken("wheels")
    made.failure()
    assert made.project.read("appenv/.made") == before
    assert not made.project.has(".deploy/appenv-before")


def test_a_complete_virtualenv_is_kept(made: Machine) -> None:
    """An install that was killed while it removed the former one was complete."""
    before = made.project.read("appenv/.made")
    shutil.copytree(made.project.path / "appenv", made.project.path / ".deploy/appenv-before")
    (made.project.path / ".deploy/appenv-before/.made").unlink()
    assert made.output()[0] == "slipway: venv: nothing to do"
    assert made.project.read("appenv/.made") == before
    assert not made.project.has(".deploy/appenv-before")


def test_a_virtualenv_of_the_users_own_is_left_alone(machine: Machine) -> None:
    """The message says what to do with it."""
    (machine.project.path / "appenv").mkdir()
    machine.write("appenv/theirs", "")
    assert machine.failure().endswith("an appenv here that make venv did not make: move it away")
    assert os.listdir(machine.project.path / "appenv") == ["theirs"]


def test_the_application_takes_the_place_of_the_command(made: Machine) -> None:
    """With its arguments, the port and the variables of run.env; signals reach it directly."""
    made.write("deploy/run.env", 'GREETING=a $b "c"  #d \n')
    made.write(
        "deploy/settings.mk",
        made.project.read("deploy/settings.mk").replace("run-the-app", "run-the-app --quiet 'a b'"),
    )
    (made.folder / "asked").write_text("")
    with subprocess.Popen(
        [sys.executable, "deploy/slipway", "serve"],
        cwd=made.project.path,
        env={**os.environ, "PATH": f"{made.bin}:/usr/bin:/bin", "PORT": "9000"},
        stdout=subprocess.PIPE,
        text=True,
    ) as served:
        said = served.communicate()[0].splitlines()
    assert made.asked() == []
    assert said[:4] == [
        "slipway: http://127.0.0.1:9000 (Ctrl-C stops it)",
        f"process {served.pid}",
        "arguments --quiet a b",
        str(made.project.path),
    ]
    assert 'GREETING=a $b "c"  #d ' in said
    assert "PORT=9000" in said
    assert "PYTHONUNBUFFERED=1" in said
    assert f"PATH={made.project.path}/appenv/bin:{made.bin}:/usr/bin:/bin" in said


def test_serve_brings_the_virtualenv_up_to_date(machine: Machine) -> None:
    """One command is enough."""
    assert "slipway: appenv is ready, with CPython 3.13" in machine.output("serve")


def test_plain_files_start_in_their_folder(machine: Machine) -> None:
    """As in the image: FILES are importable, before anything else."""
    (machine.folder / "with files").touch()
    said = machine.output("serve", FILES="app.py", PYTHONPATH="/theirs")
    folder = f"{machine.project.path}/appenv/app"
    assert said[said.index("arguments ") + 1] == folder
    assert f"PYTHONPATH={folder}:/theirs" in said


def test_a_shell_of_the_system_reads_a_command_line(made: Machine) -> None:
    """No wheel provides one."""
    assert "1 and 2" in made.output("serve", COMMAND="sh -c 'echo 1 and 2'")


def test_a_program_that_no_wheel_provides_is_named(made: Machine) -> None:
    """With the setting to change."""
    failure = made.failure("serve", COMMAND="another")
    assert failure == (
        "slipway: no wheel provides the program another: set COMMAND in deploy/settings.mk"
    )


def test_a_mistake_in_run_env_is_reported(made: Machine) -> None:
    """The application is not started."""
    made.write("deploy/run.env", "A\n")
    assert made.failure("serve").startswith("slipway: deploy/run.env, line 1: ")


def commands_in(lines: list[str]) -> list[list[str]]:
    """Return the command lines of a dry run."""
    text = "\n".join(lines).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("command", ["venv", "serve"])
def test_a_dry_run_prints_the_command_lines_and_changes_nothing(
    machine: Machine, command: str
) -> None:
    """They are those of a real run, in their order, and with serve that of the application."""
    before = machine.project.files()
    printed = commands_in(machine.output(command, DRY_RUN="1"))
    assert machine.asked() == []
    assert machine.project.files() == before
    if command == "serve":
        *printed, application = printed
        assert application[-1] == str(machine.project.path / "appenv/bin/run-the-app")
    printed = [words for words in printed if words[0] != "mkdir"]
    machine.output()
    for words, asked in zip(printed, machine.asked(), strict=True):
        line = " ".join(words).replace(str(machine.project.path), ".")
        assert line.endswith(asked)


def test_the_printed_command_lines_can_be_pasted_into_a_shell(made: Machine) -> None:
    """They make the virtualenv, in place of the one that is there, and start the application."""
    made.write("setup.py", "")
    made.write("appenv/mark", "")
    script = "\n".join(made.output("serve", DRY_RUN="1"))
    path = f"{made.bin}:/usr/bin:/bin"
    words = ["sh", "-euc", script]
    said = subprocess.check_output(words, cwd="/", env={"PATH": path}, text=True).splitlines()
    assert "PORT=8081" in said
    assert f"PATH={made.project.path}/appenv/bin:{path}" in said
    assert not made.project.has("appenv/mark")


def test_a_dry_run_with_nothing_to_do_prints_nothing(made: Machine) -> None:
    """And serve prints how the application is started."""
    assert made.output(DRY_RUN="1") == []
    (words,) = commands_in(made.output("serve", DRY_RUN="1"))
    assert words[0] == "PORT=8081"
    assert words[-1] == str(made.project.path / "appenv/bin/run-the-app")
