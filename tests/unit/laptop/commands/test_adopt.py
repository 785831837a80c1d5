"""make adopt: what a repository says, shown, and written when it is told to."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import Project

findings: Any = importlib.import_module("findings")
edit: Any = importlib.import_module("edit")
tables: Any = importlib.import_module("tables")

PYPROJECT = """\
[project]
name = "My.Web Shop"
requires-python = ">=3.9"
[project.scripts]
my-tool = "shop:tool"
my-web-shop = "shop:main"
"""
DOCKERFILE = """\
FROM node:22 AS page
EXPOSE 3000
FROM docker.io/library/python:3.12-slim
EXPOSE 8000/tcp
CMD ["sh", "-c", "exec gunicorn --bind 0.0.0.0:${PORT:-8000} shop:app"]
"""


def put(project: Project, **files: str) -> None:
    """Write files of the repository, whose names have __ for a dot."""
    for name, text in files.items():
        (project.path / name.replace("__", ".")).write_text(text, encoding="utf-8")


def adopt(project: Project, typed: str = "", **variables: str) -> str:
    """Run it without a terminal; gives what it says."""
    done = subprocess.run(
        [sys.executable, "deploy/adopt.py"],
        cwd=project.path,
        env={"PATH": "/usr/bin:/bin", "DEPLOY_OVERRIDES": typed, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def found(project: Project, typed: str = "", **variables: str) -> dict[str, tuple[str, str]]:
    """Give what was found for each setting, and where."""
    lines = adopt(project, typed, **variables).splitlines()
    begins = lines[0].index("found"), lines[0].index("where")
    rows = [line for line in lines[1:] if not line.startswith("adopt.py:")]
    return {
        row.split()[0]: (row[begins[0] : begins[1]].strip(), row[begins[1] :].strip())
        for row in rows
    }


def test_what_is_found_is_shown_with_its_line(project: Project) -> None:
    """Name, command, port and interpreter, of the last stage of the Dockerfile."""
    put(project, pyproject__toml=PYPROJECT, Dockerfile=DOCKERFILE)
    assert found(project) == {
        "PROJECT": ("my.web-shop", "pyproject.toml:2"),
        "COMMAND": ("gunicorn --bind 0.0.0.0:8000 shop:app", "Dockerfile:5"),
        "PORT": ("8000", "Dockerfile:4"),
        "PYTHON": ("python3", "Dockerfile:3"),
    }


def test_files_that_nothing_installs_are_named(project: Project) -> None:
    """What is beside the application is left out, and what git ignores; a command may start one."""
    put(
        project,
        app__py="",
        config__json="{}",
        README__md="",
        Makefile="",
        requirements__txt="idna\n",
        secrets__ini="",
        __gitignore="secrets.ini\n",
        Dockerfile="FROM python:3.13\nCMD python ./app.py --quiet\n",
    )
    for folder in ("templates", "tests"):
        (project.path / folder).mkdir()
        (project.path / folder / "page.html").write_text("", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=project.path, check=True)
    assert found(project)["FILES"] == (
        "app.py config.json templates",
        "no pyproject.toml installs them",
    )
    assert found(project)["COMMAND"] == ("python ./app.py --quiet", "Dockerfile:2")
    put(project, pyproject__toml=PYPROJECT)
    assert "FILES" not in found(project)


def test_nothing_is_written_unless_it_is_told_to(project: Project) -> None:
    """A stray YES in the environment does not tell it; the command to run next is named."""
    put(project, pyproject__toml=PYPROJECT)
    before = project.read("deploy/settings.mk")
    assert "make adopt YES=1" in adopt(project, YES="1")
    assert project.read("deploy/settings.mk") == before


def test_a_second_run_has_nothing_to_change(project: Project) -> None:
    """What is written is only what was shown; all else in the file stays."""
    put(project, pyproject__toml=PYPROJECT, Dockerfile=DOCKERFILE)
    before = project.read("deploy/settings.mk").splitlines()
    assert "wrote" in adopt(project, "YES", YES="1")
    after = project.read("deploy/settings.mk").splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        "PROJECT := my.web-shop",
        "COMMAND := gunicorn --bind 0.0.0.0:8000 shop:app",
        "PORT := 8000",
    ]
    assert len(before) == len(after)
    assert "says so already" in adopt(project, "YES", YES="1")
    assert project.read("deploy/settings.mk").splitlines() == after


def test_the_script_that_has_the_projects_name_is_the_command(project: Project) -> None:
    """Of several; without one of that name they are listed, and a typed one is taken."""
    put(project, pyproject__toml=PYPROJECT.replace("My.Web Shop", "my-web-shop"))
    assert found(project)["COMMAND"] == ("my-web-shop", "pyproject.toml:6")
    put(project, pyproject__toml=PYPROJECT.replace("My.Web Shop", "other"))
    assert "COMMAND" not in found(project)
    assert "choose by COMMAND=…, of my-tool, my-web-shop" in adopt(project)
    assert "my-tool" in adopt(project, "COMMAND YES", COMMAND="my-tool", YES="1")
    assert "COMMAND := my-tool" in project.read("deploy/settings.mk")


@pytest.mark.parametrize(
    ("files", "setting", "value", "where"),
    [
        (
            {"pyproject__toml": '[tool.poetry]\nname="a1"\n[tool.poetry.scripts]\nserve="a:b"'},
            *("COMMAND", "serve", "pyproject.toml:4"),
        ),
        (
            {
                "setup__cfg": "[metadata]\nname = shop\n[options.entry_points]\nconsole_scripts =\n"
                "    shop = shop:main\n"
            },
            *("COMMAND", "shop", "setup.cfg:5"),
        ),
        (
            {"setup__py": 'setup(entry_points={"console_scripts": ["go = a:b"]})'},
            *("COMMAND", "go", "setup.py:1"),
        ),
        (
            {"Procfile": "worker: celery\nweb: gunicorn shop.wsgi -b 0.0.0.0:$PORT\n"},
            *("COMMAND", "gunicorn shop.wsgi -b 0.0.0.0:8081", "Procfile:2"),
        ),
        (
            {"Procfile": 'web: gunicorn "shop:create()" --bind 0.0.0.0:${PORT:-80}\n'},
            *("COMMAND", 'gunicorn "shop:create()" --bind 0.0.0.0:8081', "Procfile:1"),
        ),
        (
            {"Procfile": "web: prepare && exec serve --port $PORT\n"},
            *("COMMAND", "sh -c 'prepare && exec serve --port 8081'", "Procfile:1"),
        ),
        (
            {"Dockerfile": 'FROM x\nCMD ["gunicorn", "shop:create()"]\n'},
            *("COMMAND", "gunicorn 'shop:create()'", "Dockerfile:2"),
        ),
        (
            {"Dockerfile": 'FROM x\nCMD ["/bin/sh", "-c", "exec gunicorn a:b"]\n'},
            *("COMMAND", "gunicorn a:b", "Dockerfile:2"),
        ),
        ({"Procfile": "web: serve --port 9000\n"}, "PORT", "9000", "Procfile:1"),
        (
            {"compose__yaml": 'services:\n  web:\n    ports:\n      - "80:5000"\n'},
            *("PORT", "5000", "compose.yaml:4"),
        ),
        (
            {"pyproject__toml": '[build-system]\nrequires = ["maturin>=1"]\n'},
            *("NATIVE", "openssl rust", "pyproject.toml:2"),
        ),
        ({"__python-version": "pypy3.10\n"}, "PYTHON", "pypy3", ".python-version:1"),
        (
            {"uv__lock": '[[package]]\nname = "uvloop"\nversion = "1"\n'},
            *("PYTHON", "python3", "uv.lock has uvloop"),
        ),
        ({}, "PROJECT", "a-place", "the folder's name"),
    ],
)
def test_each_place_is_read(
    project: Project, files: dict[str, str], setting: str, value: str, where: str
) -> None:
    """Poetry, setup.cfg, setup.py, Procfile, compose, .python-version, locks, the folder."""
    put(project, **files)
    assert found(project)[setting] == (value, where)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"pyproject__toml": "[project\n"}, "pyproject.toml is left out: line 1 is no TOML"),
        ({"setup__cfg": "name\n"}, "setup.cfg is left out: line 1 is no INI"),
        ({"Pipfile__lock": "{"}, "Pipfile.lock is not what its tool writes"),
        (
            {"pyproject__toml": '[project]\nname="a"\nrequires-python="<3.12"'},
            "pyproject.toml:3 asks for Python <3.12, and python3 of trixie is 3.13: use",
        ),
        ({"manage__py": ""}, "COMMAND='gunicorn --bind 0.0.0.0:8081 PROJECT.wsgi'"),
        ({"Dockerfile": "FROM x\nCMD python app.py\n"}, "Dockerfile:2 starts a file"),
        ({"requirements__txt": "flask\n"}, "its lock is requirements.lock"),
        (
            {"uv__lock": '[[package]]\nname = "six"\nversion = "1"\n'},
            "uv.lock has 1 pins: make lock begins with them",
        ),
    ],
)
def test_what_hinders_is_said(project: Project, files: dict[str, str], says: str) -> None:
    """In one line; the other files are read all the same."""
    put(project, **files, Procfile="web: serve --port 9000\n")
    if "Dockerfile" in files or "manage__py" in files:
        (project.path / "Procfile").unlink()
    said = adopt(project)
    assert says in said
    assert "PROJECT" in said


@pytest.mark.parametrize(
    ("specifier", "good", "bad"),
    [
        (">=3.9", (3, 9), (3, 8)),
        (">=3.9,<3.12", (3, 11), (3, 12)),
        ("^3.10", (3, 13), (3, 9)),
        ("~=3.11", (3, 13), (3, 10)),
        ("~3.11", (3, 11), (3, 12)),
        ("==3.11.*", (3, 11), (3, 12)),
        (">3.9,!=3.12.1", (3, 12), (3, 9)),
        ("<3.12.5", (3, 12), (3, 13)),
        (">=3.9, <4", (3, 13), (3, 8)),
    ],
)
def test_versions_of_python_are_compared(
    specifier: str, good: tuple[int, int], bad: tuple[int, int]
) -> None:
    """By their minor versions, of which any release will do."""
    assert findings.allows(specifier, good)
    assert not findings.allows(specifier, bad)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A := 1\nB := 2 # why\n", "B := x # why"),
        ("B ?= 2\n", "B := x"),
        ("B := 1 \\\n  2\nA := 3\n", "B := x"),
        ("A := 1\n", "B := x"),
    ],
)
def test_one_setting_is_changed_in_its_place(text: str, line: str) -> None:
    """Its comment stays, continued lines go with it, and what is not there is added."""
    lines = edit.with_value(text, "B", "x").splitlines()
    assert line in lines
    assert [each for each in lines if each.startswith("A")] == [
        each for each in text.splitlines() if each.startswith("A")
    ]
    assert not any("2" in each for each in lines)


def test_toml_is_read_as_its_parser_does() -> None:
    """Every form of text, arrays over several lines, dotted keys and inline tables."""
    tomllib = importlib.import_module("tomllib")
    text = (
        'a.b = "x\\u0041\\n\\"" # no\n[ "t x" . y ]\nc = [\n "1", # one\n \'2\',\n]\n'
        "d = {e = 'f', g.h = [\"i\"]}\nlong = \"\"\"\nlines\n\"\"\"\nraw = '''\n\\n'''\n"
    )
    read = tables.toml(text)
    known = tomllib.loads(text)
    assert read["a", "b"].value == known["a"]["b"]
    for name in ("c", "long", "raw"):
        assert read["t x", "y", name].value == known["t x"]["y"][name]
    assert read["t x", "y", "d", "g", "h"].value == ["i"]
    assert read["t x", "y", "raw"].line == 11
