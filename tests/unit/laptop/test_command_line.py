"""The one command line: its table, its help, its errors, and where it can be started."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.laptop.command_table import COMMANDS, GROUPS, HIDDEN, Command
from slipway.laptop.settings import rules
from tests.conftest import Project
from tests.unit.conftest import DEPLOY

EVERY = (*COMMANDS, *HIDDEN)
named = pytest.mark.parametrize("command", EVERY, ids=[each.name for each in EVERY])


def run(
    *words: str, at: Path = DEPLOY.parent, deploy: str = "deploy", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-S", f"{deploy}/slipway", *words],
        cwd=at,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
    )


def printed(*words: str) -> str:
    """Return what a command that ends well prints."""
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def widest(text: str) -> int:
    """Return the length of the longest line."""
    return max(map(len, text.splitlines()))


@named
def test_every_command_has_a_module_that_runs_it(command: Command) -> None:
    """With its name and its arguments, and an exit status."""
    module = importlib.import_module(f"slipway.laptop.commands.{command.module}")
    parameters = [each.name for each in inspect.signature(module.run).parameters.values()]
    assert parameters == ["command", "arguments"]
    assert inspect.signature(module.run).return_annotation == "int"


def test_every_module_is_in_the_table() -> None:
    """No command is there that nobody can run."""
    folder = DEPLOY / "slipway" / "laptop" / "commands"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == {each.module for each in EVERY}


@named
def test_every_command_has_variables_that_exist(command: Command) -> None:
    """So that help and the reference page can say what each is."""
    for name in command.variables.split():
        assert name in rules.BY_NAME or name in rules.VARIABLES


CHANGES_NOTHING = {"size", "status", "releases", "logs", "status-venv", "logs-venv", "help"}
# What they run is a program of the user's.
INTERACTIVE = {"shell", "exec"}


@named
def test_every_command_that_changes_something_can_say_what_it_would_do(command: Command) -> None:
    """Its help lists DRY_RUN; that of the others does not."""
    expected = command.name not in CHANGES_NOTHING | INTERACTIVE
    assert ("DRY_RUN" in command.variables.split()) is expected


@named
def test_every_command_explains_itself(command: Command) -> None:
    """With --help or -h, and nothing is done; each variable has its meaning beside it."""
    text = printed(command.name, "--help")
    assert text == printed(command.name, "-h")
    assert text.startswith(f"usage: [VARIABLE=value …] python3 deploy/slipway {command.name}\n")
    assert re.findall(r"^  ([A-Z_]+)  ", text, re.M) == list(
        dict.fromkeys(command.variables.split())
    )
    assert widest(text) <= 80


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"]])
def test_help_lists_every_command_and_variable_in_groups(words: list[str]) -> None:
    """In 80 columns; all names are in one column."""
    text = printed(*words)
    assert widest(text) <= 80
    names = re.findall(r"^  ([\w-]+) +\S", text, re.M)
    assert names == [
        *(each.name for each in COMMANDS),
        *(each.name for title in rules.TITLES for each in rules.SETTINGS if each.group == title),
        *rules.VARIABLES,
    ]
    assert len({len(row) for row in re.findall(r"^(  [\w-]+ +)\S", text, re.M)}) == 1
    for title in (*GROUPS, *rules.TITLES.values()):
        assert f"\n\n{title}:\n  " in text


def test_make_help_is_the_same_with_the_names_of_its_targets(project: Project) -> None:
    """Without exec, whose program no target can have; a taken name is there by its long one."""
    makefile = project.path / "Makefile"
    makefile.write_text("run: ; @echo mine\ninclude deploy/deploy.mk\n")
    done = project.run("make", "-s", "slipway-help")
    text = done.stdout.partition("\n")[2]
    assert done.returncode == 0
    assert widest(text) <= 80
    assert "usage: make TARGET [VARIABLE=value …]\n" in text
    names = re.findall(r"^  ([\w-]+) +\S", text, re.M)
    expected = ["slipway-run" if each.name == "run" else each.name for each in COMMANDS]
    assert {*expected} - {"exec"} <= {*names}
    assert not {"run", "exec", "slipway-exec"} & {*names}


def test_help_into_a_closed_pipe_is_no_error() -> None:
    """`make help | head -1`."""
    script = f"'{sys.executable}' -S deploy/slipway help 2>&1 >&3 3>&- | cat >&2"
    done = subprocess.run(
        ["bash", "-c", f"exec 3> >(exec head -c 1 >/dev/null); {script}"],
        cwd=DEPLOY.parent,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["biuld"], ["biuld", "--help"], ["--version"]])
def test_an_unknown_command_is_named(words: list[str]) -> None:
    """In one line that says where to look."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    says = f"slipway: there is no command {words[0]!r}: see python3 deploy/slipway --help\n"
    assert done.stderr == says


def test_help_for_an_unknown_command_is_an_error() -> None:
    """By the long way."""
    done = run("help", "biuld")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no command 'biuld'" in done.stderr


@pytest.mark.parametrize("name", ["clean", "deploy", "adopt", "lock"])
def test_an_argument_that_nobody_reads_is_refused(name: str) -> None:
    """Nothing is done that was not meant."""
    done = run(name, "now")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"slipway: {name} has no argument 'now': see python3 deploy/slipway {name} --help\n"
    )


RAISE = """\
from slipway.laptop import console


def run(command, arguments):
    {statement}
"""


@pytest.mark.parametrize(
    ("statement", "status", "says"),
    [
        ("raise console.Failed('it failed: do this')", 1, "slipway: it failed: do this\n"),
        ("raise console.SettingsError('PORT')", 1, "slipway: PORT\n"),
        ("raise console.Failed('one\\ntwo')", 1, "slipway: one\nslipway: two\n"),
        ("raise ValueError('no text')", 1, "slipway: no text\n"),
        ("open('/no/file')", 1, "slipway: [Errno 2] No such file or directory: '/no/file'\n"),
        ("console.warn('mind'); return 7", 7, "slipway: mind\n"),
        ("console.warn('a\\x1b[2J\\tb\\x9bz')", 0, "slipway: a\\x1b[2J\tb\\x9bz\n"),
        ("raise KeyboardInterrupt", 130, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGHUP)", 129, ""),
    ],
)
def test_an_error_is_a_line_and_a_status(
    project: Project, statement: str, status: int, says: str
) -> None:
    """No traceback for what is not the program's own fault."""
    path = project.path / "deploy" / "slipway" / "laptop" / "commands" / "size.py"
    path.write_text(RAISE.format(statement=statement))
    done = run("size", at=project.path)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", says)


def test_a_mistake_of_the_program_has_a_traceback(project: Project) -> None:
    """So that it can be reported; DEPLOY_DEBUG=1 shows that of any error."""
    path = project.path / "deploy" / "slipway" / "laptop" / "commands" / "size.py"
    path.write_text(RAISE.format(statement="{}['x']"))
    assert "KeyError" in run("size", at=project.path).stderr
    path.write_text(RAISE.format(statement="raise console.Failed('why')"))
    assert "Traceback" in run("size", at=project.path, DEPLOY_DEBUG="1").stderr


@pytest.mark.parametrize("name", ["a b", "it's", 'say "so"', "$HOME", "caf\u00e9"])
def test_it_runs_from_anywhere_and_whatever_its_folder_is_called(
    project: Project, tmp_path: Path, name: str
) -> None:
    """Blanks, quotes and dollar signs; a link to the folder; no module is found by chance."""
    place = tmp_path / name
    shutil.move(project.path, place)
    (tmp_path / "slipway.py").write_text("raise SystemExit('another one')")
    (tmp_path / "json.py").write_text("raise SystemExit('another one')")
    done = run("help", at=tmp_path, deploy=f"{place}/deploy", PYTHONPATH=str(tmp_path / "x"))
    assert (done.returncode, done.stderr) == (0, "")
    done = run("help", at=place / "deploy" / "slipway" / "laptop", deploy="../..")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "link").symlink_to(place / "deploy")
    assert run("help", at=tmp_path, deploy="link").returncode == 0


def test_the_scripts_without_make_start_it(project: Project) -> None:
    """build.sh takes steps, run.sh a word; both from anywhere."""
    path = project.path / "deploy" / "slipway" / "__main__.py"
    path.write_text("import sys; print(*sys.argv[1:])")
    for words, expected in [
        (["deploy/build.sh"], "image"),
        (["deploy/build.sh", "base", "wheels"], "base wheels"),
        (["deploy/run.sh"], "run"),
        (["deploy/run.sh", "stop"], "stop"),
    ]:
        assert project.run(*words).stdout == f"{expected}\n"
    done = subprocess.run(
        [str(project.path / "deploy" / "run.sh")], cwd="/", capture_output=True, text=True
    )
    assert done.stdout == "run\n"


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "slipway").rglob("*.py")), ids=lambda path: path.name
)
def test_every_module_is_syntax_of_python_3_9(path: Path) -> None:
    """The laptop's own Python may be any since then."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_an_old_python_is_told_so() -> None:
    """Before anything is imported that it does not have."""
    text = (DEPLOY / "slipway" / "__main__.py").read_text(encoding="utf-8")
    check = text.index("if sys.version_info < (3, 9)")
    assert check < text.index("from slipway.laptop")
    ast.parse(text, feature_version=(3, 7))


def test_no_module_of_the_laptop_is_a_program_of_its_own() -> None:
    """There is one way in."""
    for path in (DEPLOY / "slipway" / "laptop").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not text.startswith("#!"), path
            assert 'if __name__ == "__main__"' not in text, path
            assert not path.stat().st_mode & 0o111, path
