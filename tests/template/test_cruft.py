"""The template through cruft, which people use to get later versions of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, ROOT, Baker, Project, copy_template

GIT = ["git", "-c", "user.name=tests", "-c", "user.email=tests@example.com"]


@pytest.fixture(scope="module")
def repository(template: Path) -> Path:
    """The template as a git repository with one commit."""
    subprocess.run([*GIT, "init", "--quiet", "--initial-branch=main"], cwd=template, check=True)
    subprocess.run([*GIT, "add", "--all"], cwd=template, check=True)
    subprocess.run([*GIT, "commit", "--quiet", "--message=It"], cwd=template, check=True)
    return template


def cruft(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run cruft without the user's own cookiecutter configuration."""
    return subprocess.run(
        [BIN / "cruft", *arguments],
        cwd=directory,
        env={**os.environ, "HOME": str(directory)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize("app", ["hello", "attachments", "existing"])
def test_cruft_creates_what_cookiecutter_does(
    repository: Path, bake: Baker, tmp_path: Path, app: str
) -> None:
    """The same files, modes and texts, and cruft's own note of where they came from."""
    done = cruft(
        tmp_path, "create", "--no-input", repository, "--extra-context", json.dumps({"app": app})
    )
    assert done.returncode == 0, done.stdout
    made, baked = Project(tmp_path / "deployme", done.stdout), bake(app=app)
    assert made.files() == {**baked.files(), ".cruft.json": "644"}
    for name in baked.files():
        assert made.read(name) == baked.read(name)


def test_cruft_finds_a_new_project_up_to_date(repository: Path, tmp_path: Path) -> None:
    """`cruft check` and `cruft diff` have nothing to say of what was just created."""
    assert cruft(tmp_path, "create", "--no-input", repository).returncode == 0
    assert cruft(tmp_path / "deployme", "check").returncode == 0
    assert "@@" not in cruft(tmp_path / "deployme", "diff").stdout


def test_cruft_refuses_an_unknown_library(repository: Path, tmp_path: Path) -> None:
    """cruft does not say where the catalogue is; the name is refused all the same."""
    answers = json.dumps({"native_deps": "opensl"})
    done = cruft(tmp_path, "create", "--no-input", repository, "--extra-context", answers)
    assert done.returncode != 0
    assert "openssl" in done.stdout
    assert not (tmp_path / "deployme").exists()


def oldest_commit() -> str:
    """Find the oldest commit of this repository with the questions and most settings of today.

    git takes an edit into a later version that changes no line within three of it.
    """

    def git(*words: str) -> str:
        return subprocess.check_output([*GIT, *words], cwd=ROOT, text=True)

    def questions(commit: str) -> set[str]:
        text = git("show", f"{commit}:cookiecutter.json")
        return {name for name in json.loads(text) if not name.startswith("_")}

    commits = git(
        "log", "--format=%H", "--reverse", "--", "{{cookiecutter.project}}/deploy/adopt.py"
    )
    return next(each for each in commits.split() if questions(each) == questions("HEAD"))


@pytest.mark.parametrize("app", ["hello", "existing"])
def test_update_brings_a_later_version_and_keeps_what_its_owner_edited(
    bake: Baker, tmp_path: Path, app: str
) -> None:
    """Between two commits of this repository: the oldest that will do, and what is here now."""
    history = tmp_path / "template"
    subprocess.run([*GIT, "clone", "--quiet", ROOT, history], check=True)
    copy_template(history)
    subprocess.run([*GIT, "add", "--all"], cwd=history, check=True)
    now = [*GIT, "commit", "--quiet", "--allow-empty", "--message=Now"]
    subprocess.run(now, cwd=history, check=True)
    answers = json.dumps({"app": app, "port": "9000"})
    words = ("create", "--no-input", history, "--checkout", oldest_commit())
    done = cruft(tmp_path, *words, "--extra-context", answers)
    assert done.returncode == 0, done.stdout
    project = Project(tmp_path / "deployme", done.stdout)
    edits = {
        "README.md": ("Runs in a container", "Sells shoes. Runs in a container"),
        "deploy/settings.mk": ("MEMORY := 1g", "MEMORY := 2g"),
        "deploy/lock.sh": ("#!/usr/bin/env bash\n", "#!/usr/bin/env bash\n# mine\n"),
    }
    if app == "hello":
        edits["src/deployme/__init__.py"] = ("Hello, world!", "Hello, shoes!")
    for name, (old, new) in edits.items():
        text = project.read(name)
        assert old in text, name
        (project.path / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    (project.path / "mine.txt").write_text("mine\n", encoding="utf-8")
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "-m", "Mine")):
        assert project.run(*GIT, *command).returncode == 0
    done = cruft(project.path, "update", "--skip-apply-ask")
    assert done.returncode == 0, done.stdout
    assert not [name for name in project.files() if name.endswith(".rej")], done.stdout
    for name, (_, new) in edits.items():
        assert new in project.read(name), name
    assert project.read("mine.txt") == "mine\n"
    fresh = bake(app=app, port="9000")
    differing = [name for name in fresh.files() if project.read(name) != fresh.read(name)]
    assert sorted(differing) == sorted(edits)
    assert "PORT := 9000" in project.read("deploy/settings.mk")


def test_replay_generates_the_same_project(template: Path, tmp_path: Path) -> None:
    """The answers of the last time, without a question."""
    config = tmp_path / "config.yaml"
    config.write_text(f"cookiecutters_dir: {tmp_path}\nreplay_dir: {tmp_path}/replay\n")
    made = []
    for option, answers in (("--no-input", ("port=9000", "project=shop")), ("--replay", ())):
        place = tmp_path / option
        command: list[str | Path] = [
            BIN / "cookiecutter",
            option,
            "--config-file",
            config,
            "-o",
            place,
        ]
        done = subprocess.run([*command, template, *answers], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        made.append(Project(place / "shop", done.stderr))
    assert made[0].files() == made[1].files()
    assert all(made[0].read(name) == made[1].read(name) for name in made[0].files())
