"""make clean: what other commands made is removed, and nothing else."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.unit.conftest import Program

REMOVALS = [
    "stop shop-local",
    "rm --force --volumes shop-local",
    "volume rm --force shop-sandbox",
    "image rm shop-run",
    "image rm shop-builder",
    "image rm shop-builder:tools",
    "image rm shop-base",
]


def write(project: Project, *names: str) -> None:
    """Write files of the project."""
    for name in names:
        path = project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


@pytest.fixture
def docker(program: Program) -> Path:
    """A docker command that records its command lines, and removes nothing."""
    return program("docker", 'echo "$*" >>"$0.log"; exit 1')


def asked(docker: Path) -> list[str]:
    """Return the command lines that docker was given."""
    log = docker.with_name("docker.log")
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if not line.startswith("image ls ")]


def clean(project: Project, docker: Path | str, **variables: str) -> str:
    """Run the command; return its output."""
    words = (sys.executable, "deploy/slipway", "clean")
    done = project.run(*words, DOCKER=str(docker), **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_images_and_folders_are_removed_and_nothing_else(project: Project, docker: Path) -> None:
    """The application and its lock stay; that an image is not there is no failure."""
    write(project, "requirements.txt", "src/shop/__init__.py")
    before = project.files()
    write(project, "wheelhouse/python3/app/x.whl", ".deploy/tools/bin/x", "appenv/.made")
    said = clean(project, docker)
    assert said == (
        "slipway: removed the container, images, wheelhouse, appenv and .deploy of shop\n"
    )
    assert asked(docker) == REMOVALS
    assert project.files() == before


def test_the_name_that_was_pushed_is_removed(project: Project, docker: Path) -> None:
    """A push gives the image a second name here."""
    name = "127.0.0.1:5051/shop-run:1"
    write(project, ".deploy/state.json")
    record = {"push": {"name": name}}
    (project.path / ".deploy/state.json").write_text(json.dumps(record))
    clean(project, docker)
    assert asked(docker)[-1] == f"image rm {name}"


# Keeps images in a file; one that a container uses cannot be removed.
IMAGES = """\
case "$1 $2" in
"image ls") cat "$0.images" ;;
"image rm") case "$3" in
    *used*) exit 1 ;;
    *) grep -v "^${3%:*} ${3##*:}$" "$0.images" | grep -v "^$3 latest$" >"$0.new"
        mv "$0.new" "$0.images" ;;
    esac ;;
*) echo "$*" >>"$0.log" ;;
esac
"""
OTHER = "postgres 17\nshop-run-of-others latest\nshop-run <none>\n"


def test_no_image_is_left_behind(project: Project, program: Program) -> None:
    """Under any tag, here and for the registry; also of a program that runs here."""
    docker = program("docker", IMAGES)
    listed = docker.with_name("docker.images")
    own = "shop-run latest\nshop-run 1.4.0\nshop-builder tools\n127.0.0.1:5051/shop-run 1.3.0\n"
    listed.write_text(OTHER + own)
    with (project.path / "deploy/settings.mk").open("a") as file:
        file.write("COMMAND_worker := work\n")
    clean(project, docker)
    assert listed.read_text() == OTHER
    assert asked(docker)[2:4] == [
        "stop shop-worker-local",
        "rm --force --volumes shop-worker-local",
    ]


def test_an_image_that_is_still_used_is_reported(project: Project, program: Program) -> None:
    """With the command that lists its container."""
    docker = program("docker", IMAGES)
    docker.with_name("docker.images").write_text("shop-run used\n")
    words = (sys.executable, "deploy/slipway", "clean")
    done = project.run(*words, DOCKER=str(docker))
    assert done.returncode == 1
    assert "these images are used by a container and stay: shop-run:used" in done.stdout


def test_an_appenv_of_the_users_own_stays(project: Project, docker: Path) -> None:
    """make venv marks the one that it makes."""
    write(project, "appenv/theirs")
    clean(project, docker)
    assert project.has("appenv/theirs")


def test_a_linked_folder_stays_where_it_is(project: Project, docker: Path, tmp_path: Path) -> None:
    """The link is removed, and what it leads to is the user's."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x").touch()
    (project.path / "wheelhouse").symlink_to(tmp_path / "elsewhere")
    clean(project, docker)
    assert not project.has("wheelhouse")
    assert (tmp_path / "elsewhere/x").exists()


def test_folders_are_removed_without_docker(project: Project) -> None:
    """Such as those of make venv."""
    write(project, "appenv/.made", "wheelhouse/host-CPython-3.13/app/x.whl")
    clean(project, "/no/docker")
    assert not project.has("appenv")
    assert not project.has("wheelhouse")


def test_a_dry_run_prints_the_command_lines_and_removes_nothing(
    project: Project, docker: Path
) -> None:
    """In their order, ready to be pasted."""
    write(project, "appenv/.made", ".deploy/x")
    before = project.files()
    said = clean(project, docker, DRY_RUN="1")
    *images, folders = (shlex.split(line) for line in said.splitlines())
    assert images == [[str(docker), *line.split()] for line in REMOVALS]
    names = ("appenv", "wheelhouse", ".deploy")
    assert folders == ["rm", "-rf", *(str(project.path / name) for name in names)]
    assert asked(docker) == []
    assert project.files() == before
