"""deploy.mk in a Makefile that has targets, variables and a default goal of its own."""

from __future__ import annotations

import re
import shutil

import pytest

from slipway.laptop.command_table import COMMANDS
from slipway.laptop.settings import rules
from tests.conftest import Project
from tests.unit.conftest import DEPLOY

INCLUDE = "include deploy/deploy.mk\n"
RULES = """\
.PHONY: all clean
all: ; @echo their all
clean: a
\t@echo their clean
a: ; @echo their a
run stop: ; @echo their $@
"""

# In place of the command line: prints what it was started with.
PRINT = """\
import os, sys
print(*(["{name}"] if "{name}" else []), *sys.argv[1:])
for name, value in os.environ.items():
    print(f"{{name}}={{value}}")
"""


def stub(project: Project, deploy: str = "deploy", name: str = "ours:") -> None:
    """Replace a project's commands by one that prints its name and environment."""
    path = project.path / deploy / "slipway" / "__main__.py"
    path.write_text(PRINT.format(name=name), encoding="utf-8")


@pytest.fixture(params=["before", "after"])
def owned(request: pytest.FixtureRequest, project: Project) -> Project:
    """A repository whose Makefile has the include line before or after its own rules."""
    stub(project)
    text = INCLUDE + RULES if request.param == "before" else RULES + INCLUDE
    (project.path / "Makefile").write_text(text, encoding="utf-8")
    return project


def write(project: Project, text: str) -> None:
    """Write the Makefile."""
    (project.path / "Makefile").write_text(text, encoding="utf-8")


def said(project: Project, *words: str, **environment: str) -> list[str]:
    """Return what make prints, line by line; it must end well."""
    done = project.run("make", *words, **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_a_bare_make_does_what_it_did(owned: Project) -> None:
    """The first target is theirs, wherever the line was put, and nothing else is said."""
    assert said(owned) == ["their all"]


def test_their_target_stays_theirs(owned: Project) -> None:
    """It alone is done, and nothing else is printed."""
    assert said(owned, "clean") == ["their a", "their clean"]


def real(project: Project) -> None:
    """Put the real command line of a project back."""
    name = "slipway/__main__.py"
    shutil.copy(DEPLOY / name, project.path / "deploy" / name)


def test_their_targets_are_pointed_out_once(owned: Project) -> None:
    """One line names them with their places, and slipway's; it comes again when they change."""
    real(owned)
    note = said(owned, "help")[0]
    assert re.fullmatch(
        r"slipway: your Makefile's own targets keep their names: run \(Makefile:\d\)"
        r" stop \(Makefile:\d\) clean \(Makefile:\d\); slipway's are:"
        r" slipway-run slipway-stop slipway-clean",
        note,
    )
    assert [line for line in said(owned, "help") if "own targets" in line] == []
    (owned.path / "Makefile").open("a").write("push: ; @echo their push\n")
    assert "push (Makefile:" in said(owned, "help")[0]
    assert "own targets" not in said(owned, "help")[0]
    write(owned, INCLUDE)
    assert "own targets" not in said(owned, "help")[0]
    assert (owned.path / ".deploy" / ".gitignore").is_file()


def test_a_dry_run_writes_no_note_down(owned: Project) -> None:
    """Nothing is changed, and nothing but command lines is printed."""
    real(owned)
    assert "own targets" not in said(owned, "help", "DRY_RUN=1")[0]
    assert not owned.has(".deploy")


def test_ours_is_there_by_its_long_name(owned: Project) -> None:
    """Also of those whose short name is theirs, and what ours need is ours."""
    assert said(owned, "slipway-clean")[0] == "ours: clean"
    assert said(owned, "slipway-run")[0] == "ours: run"
    (owned.path / "Makefile").open("a").write("push: ; @echo their push\n")
    lines = [line for line in said(owned, "deploy") if line.startswith(("ours:", "their"))]
    assert lines == ["ours: push", "ours: deploy"]


def test_targets_that_are_nobody_elses_have_their_short_names(owned: Project) -> None:
    """All steps of one build are one call, by either name."""
    for words in (("wheels", "image"), ("slipway-wheels", "image")):
        lines = said(owned, *words)
        assert [line for line in lines if line.startswith("ours:")] == ["ours: wheels image"]
        assert "DEPLOY_GOALS=wheels image" in lines


def test_help_names_each_target_as_it_can_be_typed(owned: Project) -> None:
    """The long name of what is taken, the short one of what is not."""
    real(owned)
    named = re.findall(r"^  ([a-z-]+)  ", "\n".join(said(owned, "help")), re.M)
    assert {"lock", "deploy", "slipway-clean", "slipway-run"} <= {*named}
    assert not {"clean", "run", "stop", "slipway-lock"} & {*named}


@pytest.mark.parametrize(
    "text",
    [
        "clean:: ; @echo their clean\n",
        "CLEAN = clean\n$(CLEAN): ; @echo their clean\n",
        f"{INCLUDE}NAMES := tidy clean\n${{NAMES}}: ; @echo their clean\n",
        "a \\\n  clean \\\n  : ; @echo their clean\n",
        "include more.mk\n",
        f"{INCLUDE}-include more.mk # below\n",
        "ifdef ABSENT\nrun: ; @echo no\nendif\nclean : ; @echo their clean\n",
        ".RECIPEPREFIX = >\nclean:\n>@echo their clean\n",
        "%: ; @echo their $@\n",
        "define X\nrun: ; @echo no\nendef\nclean: ; @echo their clean\n",
        "MAKEFLAGS += --warn-undefined-variables\nclean: ; @echo their clean\n",
    ],
)
def test_a_target_is_seen_however_it_is_written(project: Project, text: str) -> None:
    """Double colons, variables, continued lines, other files, conditionals, patterns."""
    (project.path / "more.mk").write_text("clean: ; @echo their clean\n", encoding="utf-8")
    write(project, text if INCLUDE in text else text + INCLUDE)
    lines = said(project, "clean")
    assert lines[-1] == "their clean"
    own = said(project, "slipway-help")[0]
    assert "clean" in own.partition("slipway's are: ")[0]
    assert "slipway-clean" in own.partition("slipway's are: ")[2]
    assert not [line for line in lines if "overriding" in line or "undefined" in line]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# clean: nothing\n",
        "clean := 1\nrun ?= a:b\nexport stop = x\n",
        "define clean\nrun: x\nendef\n",
        "%.o: %.c ; @echo no\n",
        "ifeq ($(A),a:b)\nendif\n",
        "all: run-it\n\techo clean: it\n\t# run: x\n",
        "$(info run: clean)\n",
    ],
)
def test_what_is_no_target_takes_no_name(project: Project, text: str) -> None:
    """Variables, recipes, comments, definitions and patterns for files."""
    write(project, text + INCLUDE)
    stub(project)
    lines = said(project, "clean")
    assert "ours: clean" in lines
    assert "DEPLOY_OWN=" in lines


def test_a_makefile_without_targets_is_for_ours(project: Project) -> None:
    """A bare make lists them, as in a project that was generated."""
    write(project, INCLUDE)
    assert any(line.startswith("  wheels ") for line in said(project))


def test_no_exported_variable_of_theirs_reaches_a_command(project: Project) -> None:
    """Whatever it is called; what is typed and what the shell exported does."""
    stub(project)
    names = ["PYTHON", "TAG", "PORT", "VENV", "ADD", "VERBOSE", "DOCKER", "BIND"]
    write(project, "".join(f"export {name} := theirs\n" for name in names) + INCLUDE)
    lines = said(project, "push", DOCKER="podman")
    assert [line for line in lines if line.endswith("=theirs")] == ["VENV=theirs"]
    assert "PORT=9" in said(project, "push", "PORT=9")
    write(project, "TAG ?= theirs\n" + INCLUDE)
    assert "TAG=mine" in said(project, "push", TAG="mine")


def test_no_variable_of_ours_reaches_their_recipes(project: Project) -> None:
    """Neither in make nor in the environment of what they start."""
    write(
        project,
        f"{INCLUDE}show: ; @env | grep -i '^[^=]*deploy.*=' || echo nothing; echo [$(PORT)]\n",
    )
    assert said(project, "show") == ["nothing", "[]"]


def listed(name: str) -> list[str]:
    """Return the words of a list in deploy.mk."""
    text = (DEPLOY / "deploy.mk").read_text(encoding="utf-8").replace("\\\n", "")
    found = re.search(rf"^{name} := (.*)", text, re.M)
    assert found
    return found[1].split()


def test_every_name_that_the_commands_take_from_outside_is_known() -> None:
    """The list in deploy.mk has each setting, and the variables of single commands."""
    assert sorted(listed("DEPLOY_KNOWN")) == sorted([*rules.DEFAULTS, *rules.VARIABLES])


def test_every_command_is_a_target() -> None:
    """All but exec, whose program and arguments no make target can have."""
    commands = [command.name for command in COMMANDS if command.name != "exec"]
    assert sorted(listed("DEPLOY_TARGETS")) == sorted(commands)


def test_several_projects_go_into_one_makefile_by_prefixes(project: Project) -> None:
    """Each has its own targets; without a prefix the second one is refused in words."""
    for name in ("a", "b"):
        shutil.copytree(project.path / "deploy", project.path / "services" / name / "deploy")
        path = project.path / "services" / name / "deploy" / "slipway" / "__main__.py"
        path.write_text(f'import sys\nprint("{name}", *sys.argv[1:])\n', encoding="utf-8")
    line = "include services/{0}/deploy/deploy.mk\n"
    both = [f"DEPLOY_PREFIX := {name}-\n" + line.format(name) for name in ("a", "b")]
    write(project, "".join(both) + "all: a-image b-wheels\n")
    assert said(project) == ["a image", "b wheels"]
    assert said(project, "a-wheels", "a-image", "b-image") == ["a wheels image", "b image"]
    write(project, line.format("a") + line.format("b"))
    done = project.run("make", "image")
    assert done.returncode != 0
    assert "write DEPLOY_PREFIX := NAME- above its include" in done.stdout
