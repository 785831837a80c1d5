"""make adopt: what a repository's files say is shown, and written if the user agrees."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Project

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
    """Write files of the repository; __ in a name stands for a dot."""
    for name, text in files.items():
        (project.path / name.replace("__", ".")).write_text(text, encoding="utf-8")


def adopt(project: Project, typed: str = "", **variables: str) -> str:
    """Run the command without a terminal; return its output."""
    done = subprocess.run(
        [sys.executable, "deploy/slipway", "adopt"],
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
    """Return what was found for each setting, and where."""
    lines = adopt(project, typed, **variables).splitlines()
    begins = lines[0].index("found"), lines[0].index("where")
    rows = [line for line in lines[1:] if not line.startswith("slipway:")]
    return {
        row.split()[0]: (row[begins[0] : begins[1]].strip(), row[begins[1] :].strip())
        for row in rows
    }


def test_findings_are_shown_with_their_places(project: Project) -> None:
    """A key of pyproject.toml, or a line; of the Dockerfile the last stage counts."""
    put(project, pyproject__toml=PYPROJECT, Dockerfile=DOCKERFILE)
    assert found(project) == {
        "PROJECT": ("my.web-shop", "pyproject.toml [project] name"),
        "COMMAND": ("gunicorn --bind 0.0.0.0:8000 shop:app", "Dockerfile:5"),
        "PORT": ("8000", "Dockerfile:4"),
        "PYTHON": ("python3", "Dockerfile:3"),
    }


def test_files_that_nothing_installs_become_the_setting(project: Project) -> None:
    """Tests, documents and files that git ignores are left out; a command may start a file."""
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


def test_nothing_is_written_unless_the_user_agrees(project: Project) -> None:
    """A YES that is in the environment by chance does not count."""
    put(project, pyproject__toml=PYPROJECT)
    before = project.read("deploy/settings.mk")
    assert "make adopt YES=1" in adopt(project, YES="1")
    assert project.read("deploy/settings.mk") == before


def test_a_dry_run_writes_nothing(project: Project) -> None:
    """Whatever else is on the command line."""
    put(project, pyproject__toml=PYPROJECT)
    before = project.read("deploy/settings.mk")
    said = adopt(project, "YES DRY_RUN", YES="1", DRY_RUN="1")
    assert "my.web-shop" in said
    assert "nothing was written" in said
    assert project.read("deploy/settings.mk") == before


def test_a_second_run_has_nothing_to_change(project: Project) -> None:
    """Only the values of the table are written; the rest of the file stays."""
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
    assert "has these values already" in adopt(project, "YES", YES="1")
    assert project.read("deploy/settings.mk").splitlines() == after


def test_a_project_without_interpreter_and_command_gets_one_and_a_hint(project: Project) -> None:
    """No file of the repository names them."""
    settings = project.read("deploy/settings.mk")
    for line in ("PYTHON := python3", "COMMAND := run-the-app"):
        settings = settings.replace(line, line.split("=")[0] + "=")
    (project.path / "deploy/settings.mk").write_text(settings)
    assert found(project)["PYTHON"] == ("python3", "no file names another")
    assert "no file names the command that starts the application: set COMMAND" in adopt(project)
    put(project, **{"__python-version": "pypy3.11"})
    assert found(project)["PYTHON"] == ("pypy3", ".python-version:1")


def test_the_script_with_the_projects_name_is_the_command(project: Project) -> None:
    """Without one of that name all are listed, and the user chooses on the command line."""
    put(project, pyproject__toml=PYPROJECT.replace("My.Web Shop", "my-web-shop"))
    assert found(project)["COMMAND"] == ("my-web-shop", "pyproject.toml [project.scripts]")
    put(project, pyproject__toml=PYPROJECT.replace("My.Web Shop", "other"))
    assert "COMMAND" not in found(project)
    assert "choose one by COMMAND=…: my-tool, my-web-shop" in adopt(project)
    assert "my-tool" in adopt(project, "COMMAND YES", COMMAND="my-tool", YES="1")
    assert "COMMAND := my-tool" in project.read("deploy/settings.mk")


@pytest.mark.parametrize(
    ("files", "setting", "value", "where"),
    [
        (
            {"pyproject__toml": '[tool.poetry]\nname="a1"\n[tool.poetry.scripts]\nserve="a:b"'},
            *("COMMAND", "serve", "pyproject.toml [tool.poetry.scripts]"),
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
            *("NATIVE", "openssl rust", "pyproject.toml [build-system] requires"),
        ),
        (
            {"pyproject__toml": "[build-system]\nrequires = [\n  \"x\", # y\n  'maturin',\n]\n"},
            *("NATIVE", "openssl rust", "pyproject.toml [build-system] requires"),
        ),
        (
            {"pyproject__toml": 'project = {"name" = "a\\u0041", version = "1"}\n'},
            *("PROJECT", "aa", "pyproject.toml [project] name"),
        ),
        (
            {"pyproject__toml": "project.scripts.'serve.it' = 'a:b'\n"},
            *("COMMAND", "serve.it", "pyproject.toml [project.scripts]"),
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
    """In every form that TOML has, and in the files of other tools."""
    put(project, **files)
    assert found(project)[setting] == (value, where)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"pyproject__toml": "[project\n"}, "pyproject.toml is not valid TOML: "),
        ({"pyproject__toml": "[project\n"}, "at line 1"),
        ({"pyproject__toml": "project = 1\n[tool]\npoetry = []\n"}, "PROJECT"),
        ({"setup__cfg": "name\n"}, "setup.cfg is not valid INI: see line 1; the file is ignored"),
        ({"Pipfile__lock": "{"}, "Pipfile.lock does not have the form that its tool writes"),
        (
            {"pyproject__toml": '[project]\nname="a"\nrequires-python="<3.12"'},
            "pyproject.toml [project] requires-python requires Python <3.12, but python3 in trixie"
            " is 3.13: use",
        ),
        ({"manage__py": ""}, "COMMAND='gunicorn --bind 0.0.0.0:8081 PROJECT.wsgi'"),
        ({"Dockerfile": "FROM x\nCMD python app.py\n"}, "Dockerfile:2 starts a file"),
        ({"requirements__txt": "flask\n"}, "its lock is requirements.lock"),
        (
            {"uv__lock": '[[package]]\nname = "six"\nversion = "1"\n'},
            "uv.lock has 1 pins: make lock starts from them",
        ),
    ],
)
def test_problems_are_reported(project: Project, files: dict[str, str], says: str) -> None:
    """Each in one line; the other files are read all the same."""
    put(project, **files, Procfile="web: serve --port 9000\n")
    if "Dockerfile" in files or "manage__py" in files:
        (project.path / "Procfile").unlink()
    said = adopt(project)
    assert says in said
    assert "PROJECT" in said
