"""What is generated: which files, with which modes, and what is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, Baker

TEMPLATE = ROOT / "{{cookiecutter.project}}"
LISTING = Path(__file__).with_name("files.txt")
APPS = ("hello", "attachments", "existing")
EVERY = pytest.mark.parametrize(
    ("app", "python"),
    [(app, python) for app in APPS for python in ("PyPy", "CPython")],
)


def listed(app: str) -> dict[str, str]:
    """Read files.txt: `mode  apps  path`, where apps is the one that has the file, or `all`."""
    lines = [line.split() for line in LISTING.read_text(encoding="utf-8").splitlines()]
    return {path: mode for mode, apps, path in lines if apps in (app, "all")}


@EVERY
def test_exactly_the_listed_files_are_generated(bake: Baker, app: str, python: str) -> None:
    """No file more or less than in files.txt, each with its run bit, and no empty directory."""
    assert bake(app=app, python=python).files() == listed(app)


@EVERY
def test_machinery_is_copied_as_it_stands(bake: Baker, app: str, python: str) -> None:
    """Everything in deploy/ but settings.mk is the template's, byte for byte."""
    project = bake(app=app, python=python)
    for name in project.files():
        if name.startswith("deploy/") and name != "deploy/settings.mk":
            assert (project.path / name).read_bytes() == (TEMPLATE / name).read_bytes(), name


@pytest.mark.parametrize("app", APPS)
def test_sources_are_copied_as_they_stand(bake: Baker, app: str) -> None:
    """Nothing below an application's src/ is rendered, so it can be tested in the template."""
    project = bake(app=app)
    generated = {
        path: path.read_bytes() for path in project.path.glob("src/**/*") if path.is_file()
    }
    sources = TEMPLATE / "slipway-apps" / app / "src"
    template = {
        project.path / "src" / path.relative_to(sources): path.read_bytes()
        for path in sources.rglob("*")
        if path.is_file()
    }
    if app == "hello":  # whose package is called like the project
        package = project.path / "src"
        template = {
            package / "deployme" / path.relative_to(package / "hello"): text
            for path, text in template.items()
        }
    assert generated == template


def test_no_file_name_of_the_template_has_jinja(template: Path) -> None:
    """Only the top folder's name has; so editors and linters know each file by its name."""
    folder = template / TEMPLATE.name
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    assert names
    assert [name for name in names if re.search(r"[{}%]", name)] == []


def test_forges_see_the_machinery_as_vendored(bake: Baker) -> None:
    """deploy/.gitattributes comes along when deploy/ is copied into a repository."""
    project = bake()
    assert project.run("git", "init", "--quiet").returncode == 0
    listed = project.run(
        *("git", "check-attr", "linguist-vendored", "linguist-generated", "--"),
        *("deploy/slipway/laptop/x.py", "deploy/settings.mk", "src/deployme/__init__.py"),
    )
    states = [line.rpartition(": ")[2] for line in listed.stdout.splitlines()]
    assert states == ["set", "set", *["unspecified"] * 4]


@EVERY
def test_no_jinja_is_left(bake: Baker, app: str, python: str) -> None:
    """What cookiecutter renders has none of Jinja's braces, in its name or its text."""
    project = bake(app=app, python=python)
    for name in project.files():
        assert not re.search(r"[{}%]", name)
        if not name.startswith("deploy/") or name == "deploy/settings.mk":
            assert not re.search(r"\{\{|\{%|\{#|cookiecutter\.", project.read(name)), name


@pytest.mark.parametrize(
    ("answers", "lines"),
    [
        ({}, ["PROJECT := deployme", "PYTHON := pypy3", "HEALTH := /", "DEPLOY_HOST ?="]),
        ({"python": "CPython"}, ["PYTHON := python3"]),
        ({"app": "existing", "command": "gunicorn a:b"}, ["COMMAND := gunicorn a:b"]),
        (
            {"app": "existing", "command": "sh -c 'exec gunicorn -b :$PORT #'"},
            ["COMMAND := sh -c 'exec gunicorn -b :$$PORT \\#'"],
        ),
        ({"app": "existing"}, ["HEALTH := tcp", "PYTHON :=", "COMMAND :=", "NATIVE :="]),
        ({"app": "existing", "python": "PyPy"}, ["PYTHON := pypy3"]),
        ({"app": "existing", "native_deps": "xml2"}, ["NATIVE := xml2"]),
        ({"app": "attachments"}, ["PYTHON := pypy3", "COMMAND := run-the-app"]),
        ({"native_deps": ""}, ["NATIVE :="]),
        ({"app": "attachments"}, ["HEALTH := /health", "VOLUMES := deployme-files:/files"]),
        ({"app": "attachments", "native_deps": "xml2"}, ["NATIVE := xml2 postgresql"]),
        ({"deploy_host": "me@one two"}, ["DEPLOY_HOST ?= me@one two"]),
    ],
)
def test_settings_have_the_answers(bake: Baker, answers: dict[str, str], lines: list[str]) -> None:
    """Each answer is one plain line of settings.mk."""
    assert set(lines) <= set(bake(**answers).read("deploy/settings.mk").splitlines())


def test_every_setting_is_explained(bake: Baker) -> None:
    """Above each line of settings.mk stands a comment; a heading may come before several."""
    text = bake().read("deploy/settings.mk")
    for paragraph in text.strip().split("\n\n")[1:]:
        setting = r"(# .+\n)*# .+\.\n[A-Z_]+ (:=|\?=).*"
        assert re.fullmatch(rf"{setting}|# .+:", paragraph), paragraph


def test_interpreter_is_one_line_of_difference(bake: Baker) -> None:
    """From PyPy to CPython only `PYTHON := …` differs, in the whole project."""
    one, other = bake(python="PyPy"), bake(python="CPython")
    differing = [name for name in one.files() if one.read(name) != other.read(name)]
    assert differing == ["deploy/settings.mk"]
    changed = one.read("deploy/settings.mk").replace("PYTHON := pypy3", "PYTHON := python3")
    assert changed == other.read("deploy/settings.mk")


@pytest.mark.parametrize(
    ("app", "word"),
    [
        ("hello", "make wheels image run"),
        ("attachments", "make wheels image run"),
        ("existing", "put it into"),
    ],
)
def test_generation_ends_with_what_to_type_next(bake: Baker, app: str, word: str) -> None:
    """The last lines name the next command."""
    assert word in bake(app=app).output


def test_generation_overwrites_nothing(bake: Baker) -> None:
    """A directory of that name stops stock cookiecutter, and stays as it is."""
    project = bake()
    (project.path / "README.md").write_text("mine\n", encoding="utf-8")
    done, _ = bake.cookiecutter({}, project.path.parent)
    assert done.returncode != 0
    assert project.read("README.md") == "mine\n"
    assert project.files() == listed("hello")
