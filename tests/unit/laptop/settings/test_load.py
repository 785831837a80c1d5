"""settings.mk as make reads it, which value wins, and what is said of one that cannot be used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from slipway.laptop import console
from slipway.laptop.settings import load as settings
from slipway.laptop.settings import make_syntax, rules
from tests.conftest import Project
from tests.unit.conftest import SETTINGS

NAMES = ("FIRST", "SECOND", "THIRD")
ENVIRONMENT = {"SECOND": "from the environment", "OUTSIDE": "outside"}

# Prints the variables that an included settings.mk leaves.
PROBE = "$(foreach name,{names},$(info $(name)=$($(name))))\nall:;@:\n"

GOOD_PIECES = st.sampled_from(
    [
        *("x", "two words", "a=b", "a:=b", "8081", "/", "é", "$$", "$$x", " ", "\t", "=", ":", "+"),
        *("$(FIRST)", "${FIRST}", "$(SECOND)", "$(OUTSIDE)", "\\#", " # a comment", "\\", "'", '"'),
        *(" \\\n", "\\\n  ", "(", "}", "%", "\f", "\u2028", "\u00a0"),
    ]
)
ODD_PIECES = st.sampled_from(
    ["$(NOWHERE)", "$(THIRD)", "$(shell id)", "$x", "$", "$(FIRST:x=y)", "$(A$(B))", "#", "\\\\"]
)
OPERATORS = st.sampled_from([":=", ":=", ":=", "?=", "+=", "=", "::="])


def assignments(
    prefixes: list[str], operators: st.SearchStrategy[str], pieces: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    """Lines that set one of NAMES."""
    blanks = st.sampled_from([" ", "", "  "])
    values = st.lists(pieces, max_size=4).map("".join)
    names = st.sampled_from(NAMES)
    return st.builds(
        "{}{}{}{}{}{}".format, st.sampled_from(prefixes), names, blanks, operators, blanks, values
    )


GOOD_LINES = assignments(["", "", "export ", "  ", "\t"], OPERATORS, GOOD_PIECES)
ODD_LINES = st.one_of(
    assignments([""], OPERATORS, ODD_PIECES | GOOD_PIECES),
    assignments(["override "], OPERATORS, GOOD_PIECES),
    assignments([""], st.just("!="), GOOD_PIECES),
    st.sampled_from(["", "   ", "# a comment", "# continued \\", "ifdef FIRST", "all: x", "x"]),
)
TEXTS = st.builds(
    lambda lines, odd, more: "\n".join((*lines, *odd, *more)),
    st.lists(GOOD_LINES, max_size=4),
    st.lists(ODD_LINES, max_size=1),
    st.lists(GOOD_LINES, max_size=2),
)


def ask_make(folder: Path, text: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the values that make reads from the text, with one blank for several."""
    (folder / "settings.mk").write_text(text + "\n", encoding="utf-8")
    probe = "include settings.mk\n" + PROBE.format(names=" ".join(names))
    (folder / "Makefile").write_text(probe, encoding="utf-8")
    done = subprocess.run(
        ["make", "-s"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **ENVIRONMENT},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    lines = (line.partition("=") for line in done.stdout.split("\n") if line)
    return {name: " ".join(value.split()) for name, _, value in lines}


@hypothesis_settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_any_text_means_what_make_says_or_is_refused_with_its_line(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No text of settings.mk is read otherwise than by make."""
    try:
        read = make_syntax.parse(text + "\n", ENVIRONMENT)
    except console.SettingsError as problem:
        line = int(str(problem).partition("deploy/settings.mk, line ")[2].split(":")[0])
        assert 1 <= line <= text.count("\n") + 1
        return
    folder = tmp_path_factory.getbasetemp()
    made = ask_make(folder, text, tuple(read))
    assert {name: " ".join(value.split()) for name, (value, _) in read.items()} == made


def test_every_form_of_assignment_is_understood(tmp_path: Path) -> None:
    """The forms that people write are not refused, and mean what they mean to make."""
    text = """\
# a comment, \\
  which goes on
FIRST := one  # and why
export SECOND ?= not this
  THIRD=$(FIRST) and ${SECOND}
THIRD += more \\
    and more
FOURTH = costs $$5 \\# not a comment
FOURTH ?= not this either
FIFTH ::= $(FOURTH)$(OUTSIDE)
SIXTH +=
SIXTH += last"""
    read = make_syntax.parse(text, ENVIRONMENT)
    names = ("FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH", "SIXTH")
    assert {name: value.strip() for name, (value, _) in read.items()} == {
        "FIRST": "one",
        "SECOND": "from the environment",
        "THIRD": "one   and from the environment more and more",
        "FOURTH": "costs $5 # not a comment",
        "FIFTH": "costs $5 # not a commentoutside",
        "SIXTH": "last",
    }
    made = ask_make(tmp_path, text, names)
    assert made == {name: " ".join(read[name][0].split()) for name in names}


def test_a_value_remembers_the_line_on_which_it_begins() -> None:
    """A message about a continued line names its first."""
    assert make_syntax.parse("\nA := x \\\n  y\nB := z", {}) == {"A": ("x y", 2), "B": ("z", 4)}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("PORT 8081", 1, "write `NAME := value` instead of 'PORT 8081'"),
        ("\n\nifeq (1,1)", 3, "write `NAME := value`"),
        ("# fine\ninclude other.mk", 2, "write `NAME := value`"),
        ("A != id -u", 1, "write `NAME := value`"),
        ("override A := 1", 1, "write `NAME := value`"),
        ("PORT\u00a0:= 1", 1, "'PORT\\xa0:= 1'"),
        ("A := 1\nB := $(C)", 2, "no earlier line sets $(C); write $$ for a dollar sign"),
        ("A := cost: 5$", 1, "write $$ for a dollar sign"),
        ("A := $(shell id)", 1, "no earlier line sets $(shell id)"),
        ("A := 1\nB = $(A)\nA := 2", 3, "A is used before this line sets it"),
        ("A := 1\nA = $(A) 2", 2, "A is used before this line sets it"),
        ("A := 1\nB := \\", 2, "remove the \\ at the file's end"),
        ("A := x\\\\#y", 1, "write one \\ instead of several"),
        ("A := x\\\\\nB := y", 1, "write one \\ instead of several"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    """Nothing is guessed: the line is named, and what to write instead."""
    with pytest.raises(console.SettingsError) as refused:
        make_syntax.parse(text, {})
    assert str(refused.value).startswith(f"deploy/settings.mk, line {line}: ")
    assert says in str(refused.value)


# In place of the command line: prints the settings that any command would see.
PRINT = """\
import json, os, sys
from pathlib import Path
sys.path[0] = str(Path(__file__).resolve().parents[1])
from slipway.laptop import console
from slipway.laptop.settings import load
try:
    print(json.dumps(load.load()))
except console.Failed as problem:
    console.warn(str(problem))
    sys.exit(1)
"""


@pytest.fixture
def printing(project: Project) -> Project:
    """A project whose commands print the settings that they see."""
    (project.path / "Makefile").write_text("include deploy/deploy.mk\n", encoding="utf-8")
    (project.path / "deploy" / "slipway" / "__main__.py").write_text(PRINT, encoding="utf-8")
    return project


def settings_of(project: Project, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without make."""
    return project.run(sys.executable, "-S", "deploy/slipway", "stop", **environment)


def read(project: Project, **environment: str) -> dict[str, str]:
    """Return the settings that a command sees without make."""
    done = settings_of(project, **environment)
    assert done.returncode == 0, done.stdout
    found: dict[str, str] = json.loads(done.stdout)
    return found


def make(project: Project, *typed: str, **environment: str) -> dict[str, str]:
    """Return the settings that a command sees below `make` with these words."""
    done = project.run("make", "-s", "stop", *typed, **environment)
    assert done.returncode == 0, done.stdout
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_settings_file_beats_the_environment_below_make(printing: Project) -> None:
    """A PORT that merely stands in the environment is somebody else's."""
    seen = make(printing, PORT="9000", PYTHON="pypy3", REGISTRY_PORT="1")
    assert (seen["PORT"], seen["PYTHON"], seen["REGISTRY_PORT"]) == ("8081", "python3", "5051")


def test_a_variable_on_the_command_line_of_make_beats_the_settings_file(printing: Project) -> None:
    """`make PORT=9000` is meant, also when the environment has another PORT."""
    seen = make(printing, "PORT=9000", "SSH=ssh  -F file", PORT="9001")
    assert (seen["PORT"], seen["SSH"]) == ("9000", "ssh  -F file")


def test_the_port_inside_the_image_stays_that_of_the_settings_file(printing: Project) -> None:
    """`make run PORT=9000` publishes elsewhere and rebuilds nothing."""
    assert make(printing, "PORT=9000")["IMAGE_PORT"] == "8081"


def test_a_variable_in_front_of_a_command_beats_the_settings_file(printing: Project) -> None:
    """Without make there is no command line to tell apart from the environment."""
    assert read(printing, PORT="9000")["PORT"] == "9000"
    done = printing.run("deploy/run.sh", PORT="9000")
    assert json.loads(done.stdout)["PORT"] == "9000"


def test_the_environment_beats_only_a_question_mark(printing: Project) -> None:
    """`DEPLOY_HOST ?=` is there to be set by a shell's profile or a CI job."""
    assert make(printing, DEPLOY_HOST="me@there")["DEPLOY_HOST"] == "me@there"
    assert make(printing, "DEPLOY_HOST=me@here", DEPLOY_HOST="x")["DEPLOY_HOST"] == "me@here"


def test_the_environment_counts_for_a_name_that_the_settings_file_lacks(printing: Project) -> None:
    """`export DOCKER=podman` in a shell's profile reaches `make`."""
    assert make(printing, DOCKER="podman")["DOCKER"] == "podman"


def test_a_name_that_nobody_sets_has_its_default(printing: Project) -> None:
    """Old settings files work with a newer deploy/."""
    (printing.path / "deploy" / "settings.mk").write_text("PROJECT = a\nCOMMAND = b\n")
    seen = read(printing)
    assert {name: seen[name] for name in rules.DEFAULTS} == {
        **rules.DEFAULTS,
        "PROJECT": "a",
        "COMMAND": "b",
    }
    assert seen["IMAGE_PORT"] == rules.DEFAULTS["PORT"]


def test_interpreter_and_command_may_be_unknown() -> None:
    """As in an adopted repository, until `make adopt` or the owner says them."""
    found = settings.resolve("PROJECT := a\nPYTHON :=\nCOMMAND :=\n", {})
    assert (found["PYTHON"], found["COMMAND"]) == ("", "")
    for name in ("PYTHON", "COMMAND"):
        says = f"{name} is not set: run make adopt, or set {name} := "
        with pytest.raises(console.SettingsError, match=re.escape(says)):
            settings.require({**found, "PROJECT": "a"}, "PROJECT", name)
    settings.require(settings.resolve(SETTINGS, {}), "PYTHON", "COMMAND")


def test_other_commands_are_named_and_one_is_chosen() -> None:
    """All of them are in the image; PROGRAM says which one a container is for."""
    text = SETTINGS + "COMMAND_worker := celery  -A shop worker\nCOMMAND_mail := mail 'a  b'\n"
    found = settings.resolve(text, {})
    assert json.loads(found["COMMANDS"]) == {
        "mail": "mail 'a  b'",
        "worker": "celery  -A shop worker",
    }
    assert (found["SERVICE"], found["ENDS"]) == ("shop", "")
    found = settings.resolve(text + "HEALTH_worker := ends\n", {"PROGRAM": "worker"})
    assert (found["SERVICE"], found["ENDS"]) == ("shop-worker", "yes")
    assert found["HEALTH"] == "/", "it is a part of the image"
    assert settings.resolve(SETTINGS, {})["COMMANDS"] == ""


@pytest.mark.parametrize(
    ("lines", "program", "says"),
    [
        ("COMMAND_worker := a; b", "", "COMMAND_worker in deploy/settings.mk, line 10, is 'a; b'"),
        ("COMMAND_next := a", "", "write one such as COMMAND_worker"),
        ("COMMAND_Big := a", "", "write one such as COMMAND_worker"),
        ("COMMAND_worker := a", "wroker", "no COMMAND_wroker (there are: worker)"),
        ("", "worker", "no COMMAND_worker (there are: none)"),
        ("COMMAND_a := a\nHEALTH_a := /", "a", "HEALTH_a in deploy/settings.mk is '/'"),
    ],
)
def test_another_command_that_cannot_be_is_refused(lines: str, program: str, says: str) -> None:
    """In a line that names the setting."""
    with pytest.raises(console.SettingsError, match=re.escape(says)):
        settings.resolve(f"{SETTINGS}{lines}\n", {"PROGRAM": program})


def test_images_are_named_by_the_project(printing: Project) -> None:
    """Which verify.py does otherwise, to build beside them."""
    assert make(printing)["IMAGES"] == "shop"
    assert make(printing, DEPLOY_IMAGES="")["IMAGES"] == "shop"
    assert make(printing, "PROJECT=other")["IMAGES"] == "other"
    beside = make(printing, DEPLOY_IMAGES="shop-verify-1")
    assert (beside["IMAGES"], beside["PROJECT"]) == ("shop-verify-1", "shop")


def test_an_including_makefile_keeps_its_own_variables(printing: Project) -> None:
    """PYTHON and PORT of a Makefile that includes deploy.mk are its own, and change nothing."""
    (printing.path / "Makefile").write_text(
        "PYTHON := mine\nexport PORT := 1234\nTAG = mine too\n"
        "include deploy/deploy.mk\n"
        "show:\n\t@echo $(PYTHON) $(PORT) $(TAG)\n"
    )
    assert printing.run("make", "-s", "show").stdout == "mine 1234 mine too\n"
    seen = make(printing)
    assert (seen["PYTHON"], seen["PORT"], seen["TAG"]) == ("python3", "8081", "")


def test_deploy_mk_works_from_any_folder_of_a_repository(printing: Project) -> None:
    """The folder is found from the file, not from where make stands."""
    (printing.path / "Makefile").rename(printing.path / "deploy" / "outer.mk")
    (printing.path / "Makefile").write_text("include tools/deploy/deploy.mk\n")
    (printing.path / "tools").mkdir()
    (printing.path / "deploy").rename(printing.path / "tools" / "deploy")
    assert make(printing, "PORT=7000")["PORT"] == "7000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("PROJECT", value) for value in ("a", "my-app", "my__app.2", "a--b")],
        *[("PYTHON", value) for value in ("pypy3", "python3", "python3.12", "pypy3.11")],
        *[("COMMAND", value) for value in ("run-the-app", "gunicorn -w 2 --bind=0:8081 shop:app")],
        *[("COMMAND", value) for value in ("gunicorn 'shop:app()'", 'a "b  c" --x="d e"f', "a ''")],
        *[
            ("COMMAND", value)
            for value in ("sh -c 'a && exec b --port $PORT'", r'a "b\"c"', "a \u00e9!")
        ],
        *[("PORT", value) for value in ("1", "65535")],
        *[("HEALTH", value) for value in ("/", "/health?deep=1&x='y'", "tcp", "none")],
        *[("HEALTH_TIMEOUT", value) for value in ("1", "600")],
        *[("BASE_IMAGE", value) for value in ("debian:trixie-slim", "h.example:5/a/b@sha256:0f")],
        *[("DEPLOY_HOST", value) for value in ("", "me@one two", "me@[2001:db8::1]", "alias_1")],
        *[("BIND", value) for value in ("0.0.0.0", "127.0.0.1", "none")],
        *[("REGISTRY_PORT", value) for value in ("5051",)],
        *[("PLATFORM", value) for value in ("", "linux/arm64", "linux/arm/v7")],
        *[("TAG", value) for value in ("", "1.4.0", "_x" * 64)],
        *[("DOCKER", value) for value in ("podman", "sudo -n docker", "/my-programs/docker")],
        *[("SSH", value) for value in ("ssh -F '/my  files/config'",)],
    ],
)
def test_a_good_value_is_taken_as_it_is(name: str, value: str) -> None:
    """Nothing is added to a value, and nothing lost."""
    assert settings.resolve(SETTINGS, {name: value})[name] == value


def test_a_value_reaches_the_commands_as_it_is(printing: Project) -> None:
    """What is written is what they get; it is never run by a shell or expanded by make."""
    path = "/$(id>made)/'`\";&x"
    seen = read(printing, HEALTH=path, SSH="ssh -F '/my  files/$HOME'")
    assert (seen["HEALTH"], seen["SSH"]) == (path, "ssh -F '/my  files/$HOME'")
    typed = path.replace("$", "$$")
    assert make(printing, f"HEALTH={typed}")["HEALTH"] == path
    assert not printing.has("made")


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        *[("PROJECT", value, "`deployme`") for value in ("", "My-App", "-a", "a..b", "a/b", "a b")],
        *[("PYTHON", value, "`pypy3` or `python3`") for value in ("python", "python2", "ruby")],
        *[("COMMAND", value, "`run-the-app`") for value in ("a; b", "$HOME", "/bin/sh", "-c")],
        *[
            ("COMMAND", value, "`sh -c '…'`")
            for value in ("a 'b", "a &", "a (b)", "a *.py", "a ~", "a $PORT", 'a "$PORT"', "a `b`")
        ],
        ("COMMAND", "a \\b", "`sh -c '…'`"),
        ("COMMAND", "'a' b", "`run-the-app`"),
        *[("PORT", value, "a port from 1 to 65535") for value in ("", "0", "65536", "08", "http")],
        *[("HEALTH", value, "`none` or `ends`") for value in ("", "health", "/a b", "/é", "http")],
        *[("HEALTH_TIMEOUT", value, "number of seconds") for value in ("", "0", "1.5", "60s")],
        *[("BASE_IMAGE", value, "`debian:trixie-slim`") for value in ("", "-x", "a b", "a:$x")],
        *[("DEPLOY_HOST", value, "`user@server`") for value in ("-oProxyCommand=id", "a;b", "a'b")],
        *[("BIND", value, "`0.0.0.0`, `127.0.0.1` or `none`") for value in ("", "localhost", "::")],
        *[("REGISTRY_PORT", value, "a port from 1 to 65535") for value in ("", "99999", "\u0665")],
        *[("PLATFORM", value, "`linux/arm64`") for value in ("arm64", "windows/amd64", "linux/")],
        *[("TAG", value, "`1.4.0`") for value in (".1", "a b", "a:b", "x" * 129)],
        *[
            ("DOCKER", value, "`docker` or `podman`")
            for value in ("", "  ", "dock\u00e9r", "'d", "a\\ b")
        ],
        *[("SSH", value, "`ssh -F file`") for value in ("", "ss\x1bh", 'ssh -F "x')],
    ],
)
def test_a_bad_value_is_refused_with_what_to_write(name: str, value: str, instead: str) -> None:
    """One line names the setting, the value and a good one."""
    with pytest.raises(console.SettingsError) as refused:
        settings.resolve(SETTINGS, {name: value})
    assert str(refused.value).startswith(f"{name} on the command line is ")
    assert instead in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_bad_value_ends_a_command_in_one_line(project: Project) -> None:
    """The line is on standard error, and standard output is empty."""
    command = [sys.executable, "-S", "deploy/slipway", "image"]
    environment = {**os.environ, "PORT": "http"}
    done = subprocess.run(
        command, cwd=project.path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    says = "slipway: PORT on the command line is 'http': write a port from 1 to 65535\n"
    assert done.stderr == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            SETTINGS + "PORT := http\n",
            "PORT in deploy/settings.mk, line 10, is 'http': write a port",
        ),
        (SETTINGS.replace("PROJECT", "X"), "PROJECT, which deploy/settings.mk does not set, is ''"),
        ("\n\nnonsense\n", "deploy/settings.mk, line 3: write `NAME := value`"),
    ],
)
def test_a_bad_settings_file_is_refused_with_its_line(
    printing: Project, text: str, says: str
) -> None:
    """Whoever edits settings.mk is told where to look."""
    (printing.path / "deploy" / "settings.mk").write_text(text, encoding="utf-8")
    done = settings_of(printing)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith(f"slipway: {says}")


def test_a_bad_port_of_the_image_shows_behind_one_that_is_typed(printing: Project) -> None:
    """`make run PORT=9000` does not hide that the image would listen on nonsense."""
    path = printing.path / "deploy" / "settings.mk"
    path.write_text(SETTINGS.replace("8081", "http"), encoding="utf-8")
    done = settings_of(printing, PORT="9000")
    assert done.returncode == 1
    assert "PORT in deploy/settings.mk, line 5, is 'http'" in done.stdout


def test_settings_saved_by_an_editor_on_windows_are_read(printing: Project) -> None:
    """A byte order mark and carriage returns are no reason to stop."""
    path = printing.path / "deploy" / "settings.mk"
    path.write_bytes(b"\xef\xbb\xbf" + SETTINGS.replace("\n", "\r\n").encode())
    seen = read(printing)
    assert (seen["PROJECT"], seen["PORT"]) == ("shop", "8081")


def test_settings_that_are_no_text_are_refused_in_words(printing: Project) -> None:
    """The file is named, and what to do with it."""
    path = printing.path / "deploy" / "settings.mk"
    path.write_bytes(b"PROJECT := caf\xe9\n")
    done = settings_of(printing)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert "settings.mk is not UTF-8 text: save it as UTF-8" in done.stdout


def test_missing_settings_are_said_in_words(printing: Project) -> None:
    """A folder that was copied in part is what happens when somebody copies deploy/ by hand."""
    (printing.path / "deploy" / "settings.mk").unlink()
    done = settings_of(printing)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert "copy the whole deploy/ folder" in done.stdout


@pytest.mark.parametrize(
    ("python", "platform", "folder"),
    [
        ("pypy3", "", "wheelhouse/pypy3"),
        ("python3", "", "wheelhouse/python3"),
        ("python3", "linux/arm/v7", "wheelhouse/python3-linux-arm-v7"),
    ],
)
def test_each_interpreter_and_platform_has_its_own_wheelhouse(
    python: str, platform: str, folder: str
) -> None:
    """Changing PYTHON to and fro rebuilds nothing."""
    values = settings.resolve(SETTINGS, {"PYTHON": python, "PLATFORM": platform})
    assert values["WHEELHOUSE"] == folder
