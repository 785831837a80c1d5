"""deploy.mk in a Makefile that has targets, variables and a default goal of its own."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from tests.conftest import Project
from tests.unit.conftest import DEPLOY

settings: Any = importlib.import_module("settings")

INCLUDE = "include deploy/deploy.mk\n"
RULES = """\
.PHONY: all clean
all: ; @echo their all
clean: a
\t@echo their clean
a: ; @echo their a
run stop: ; @echo their $@
"""


@pytest.fixture(params=["before", "after"])
def owned(request: pytest.FixtureRequest, project: Project) -> Project:
    """A repository whose Makefile has the include line before or after its own rules."""
    for script in ("clean.sh", "run.sh", "push.py", "deploy.py", "build.sh"):
        path = project.path / "deploy" / script
        path.write_text(f'#!/bin/sh\necho "our {script}" $*; env\n')
    text = INCLUDE + RULES if request.param == "before" else RULES + INCLUDE
    (project.path / "Makefile").write_text(text, encoding="utf-8")
    return project


def write(project: Project, text: str) -> None:
    """Write the Makefile."""
    (project.path / "Makefile").write_text(text, encoding="utf-8")


def said(project: Project, *words: str, **environment: str) -> list[str]:
    """Give what make says, line by line; it must end well."""
    done = project.run("make", *words, **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_a_bare_make_does_what_it_did(owned: Project) -> None:
    """The first target is theirs, wherever the line was put, and nothing else is said."""
    assert said(owned) == ["their all"]


def test_their_target_stays_theirs_and_that_is_pointed_out(owned: Project) -> None:
    """It alone is done, and one line says where it is and how ours is called."""
    note, *rest = said(owned, "clean")
    assert rest == ["their a", "their clean"]
    assert re.search(r"run \(Makefile:\d\) stop \(Makefile:\d\) clean \(Makefile:\d\)", note)
    assert note.endswith("slipway-run slipway-stop slipway-clean")


def test_ours_is_there_by_its_long_name(owned: Project) -> None:
    """Also of those whose short name is theirs, and what ours need is ours."""
    assert said(owned, "slipway-clean")[1] == "our clean.sh"
    assert said(owned, "slipway-run")[1] == "our run.sh"
    (owned.path / "Makefile").open("a").write("push: ; @echo their push\n")
    lines = [line for line in said(owned, "deploy") if line.startswith(("our", "their"))]
    assert lines == ["our push.py", "our deploy.py deploy"]


def test_targets_that_are_nobody_elses_have_their_short_names(owned: Project) -> None:
    """All steps of one build are one call, by either name."""
    assert said(owned, "wheels", "image")[1] == "our build.sh wheels image"
    assert said(owned, "slipway-wheels", "image")[1] == "our build.sh wheels image"


def test_help_names_each_target_as_it_can_be_typed(owned: Project) -> None:
    """The long name of what is taken, the short one of what is not."""
    named = re.findall(r"^  make (\S+)", "\n".join(said(owned, "help")), re.M)
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
    assert "clean" in lines[0]
    assert "slipway-clean" in lines[0]
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
    (project.path / "deploy" / "clean.sh").write_text('#!/bin/sh\necho "our clean"\n')
    assert said(project, "clean")[-1] == "our clean"
    assert "left alone" not in "\n".join(said(project, "clean"))


def test_a_makefile_without_targets_is_for_ours(project: Project) -> None:
    """A bare make lists them, as in a project that was generated."""
    write(project, INCLUDE)
    assert any("make wheels" in line for line in said(project))


def test_no_exported_variable_of_theirs_reaches_a_script(project: Project) -> None:
    """Whatever it is called; what is typed and what the shell exported does."""
    (project.path / "deploy" / "push.py").write_text("#!/bin/sh\nenv\n")
    names = ["PYTHON", "TAG", "PORT", "VENV", "BUILDER", "QUIET", "DOCKER", "BIND"]
    write(project, "".join(f"export {name} := theirs\n" for name in names) + INCLUDE)
    lines = said(project, "push", DOCKER="podman")
    assert [line for line in lines if line.endswith("=theirs")] == ["VENV=theirs"]
    assert "PORT=9" in said(project, "push", "PORT=9")
    write(project, "TAG ?= theirs\n" + INCLUDE)
    assert "TAG=mine" in said(project, "push", TAG="mine")


def test_no_variable_of_ours_reaches_their_recipes(project: Project) -> None:
    """Neither in make nor in the environment of what they start."""
    write(project, f"{INCLUDE}show: ; @env | grep -i deploy || echo nothing; echo [$(PORT)]\n")
    assert said(project, "show") == ["nothing", "[]"]


def test_every_name_that_the_scripts_take_from_outside_is_known() -> None:
    """The list in deploy.mk has each setting, and what the scripts tell each other."""
    text = (DEPLOY / "deploy.mk").read_text(encoding="utf-8").replace("\\\n", "")
    known = re.search(r"^DEPLOY_KNOWN := (.*)", text, re.M)
    assert known
    assert {*settings.DEFAULTS, "BUILDER", "QUIET", "ALONE", "SETTINGS_BY"} <= {*known[1].split()}


def test_every_target_is_listed() -> None:
    """What DEPLOY_TARGETS names has a rule with a line of help, and nothing else has."""
    text = (DEPLOY / "deploy.mk").read_text(encoding="utf-8")
    listed = re.search(r"^DEPLOY_TARGETS := (.*)", text.replace("\\\n", ""), re.M)
    assert listed
    rules = re.findall(r"^\$\(DEPLOY_PREFIX\)([a-z-]+):.* ## ", text, re.M)
    assert listed[1].split() == rules
    assert not re.findall(r"^[a-z-]+:", text, re.M)


def test_several_projects_go_into_one_makefile_by_prefixes(project: Project) -> None:
    """Each has its own targets; without a prefix the second one is refused in words."""
    for name in ("a", "b"):
        folder = project.path / "services" / name / "deploy"
        folder.mkdir(parents=True)
        for file in ("deploy.mk", "targets.awk"):
            (folder / file).write_bytes((DEPLOY / file).read_bytes())
        (folder / "build.sh").write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (folder / "build.sh").chmod(0o755)
    line = "include services/{0}/deploy/deploy.mk\n"
    both = [f"DEPLOY_PREFIX := {name}-\n" + line.format(name) for name in ("a", "b")]
    write(project, "".join(both) + "all: a-image b-wheels\n")
    assert said(project) == ["a image", "b wheels"]
    assert said(project, "a-wheels", "a-image", "b-image") == ["a wheels image", "b image"]
    write(project, line.format("a") + line.format("b"))
    done = project.run("make", "image")
    assert done.returncode != 0
    assert "write DEPLOY_PREFIX := NAME- above its include" in done.stdout
