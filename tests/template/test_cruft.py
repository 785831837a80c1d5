"""The template through cruft, which people use to get later versions of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, ROOT, Baker, Project, copy_template

GIT = ["git", "-c", "user.name=tests", "-c", "user.email=tests@example.com"]

# The last commit in which file names had Jinja, the package of the attachments was called like the
# project, and all machinery was directly in deploy/.
BEFORE_THE_MOVE = "d46ba45"
TOP = "{{cookiecutter.project}}"
LAYOUT = ("deploy/slipway/__main__.py", "slipway-apps/existing/Makefile")
# The answers that a project of any application had before `existing` left them open.
ANSWERED = {"python": "PyPy", "native_deps": "openssl libffi", "command": "run-the-app"}


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


@pytest.mark.parametrize("app", ["hello", "attachments", "existing"])
def test_cruft_finds_a_new_project_up_to_date(repository: Path, tmp_path: Path, app: str) -> None:
    """`cruft check` and `cruft diff` report nothing about a project that was just created."""
    answers = json.dumps({"app": app})
    words = ("create", "--no-input", repository, "--extra-context", answers)
    assert cruft(tmp_path, *words).returncode == 0
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
    """Return the oldest commit with the questions, the layout and the memory setting of today.

    Without the generated version to merge from, git applies a later version only where three lines
    on each side of an edit are unchanged. The next test updates across the change of the layout.
    """

    def git(*words: str) -> str:
        return subprocess.check_output([*GIT, *words], cwd=ROOT, text=True)

    def is_alike(commit: str) -> bool:
        text = git("show", f"{commit}:cookiecutter.json")
        names = [name for name in json.loads(text) if not name.startswith("_")]
        there = git(
            "ls-tree", "-r", "--name-only", commit, "--", *(f"{TOP}/{name}" for name in LAYOUT)
        )
        if names != questions or len(there.splitlines()) != len(LAYOUT):
            return False
        return around(git("show", f"{commit}:{TOP}/{settings}")) == here

    def around(text: str) -> list[str]:
        lines = text.splitlines()
        place = lines.index("MEMORY := 1g")
        return lines[place - 3 : place + 4]

    settings = "deploy/settings.mk"
    here = around((ROOT / TOP / settings).read_text(encoding="utf-8"))
    text = (ROOT / "cookiecutter.json").read_text(encoding="utf-8")
    questions = [name for name in json.loads(text) if not name.startswith("_")]
    commits = git("log", "--format=%H", "--reverse", f"{BEFORE_THE_MOVE}..HEAD")
    return next(each for each in commits.split() if is_alike(each))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository with its history, and what is here now as its last commit."""
    clone = tmp_path_factory.mktemp("history") / "template"
    subprocess.run([*GIT, "clone", "--quiet", ROOT, clone], check=True)
    names = subprocess.check_output([*GIT, "ls-files", "-z"], cwd=clone, text=True).split("\0")
    for name in filter(None, names):  # what is not here any more
        (clone / name).unlink()
    copy_template(clone)
    subprocess.run([*GIT, "add", "--all"], cwd=clone, check=True)
    now = [*GIT, "commit", "--quiet", "--allow-empty", "--message=Now"]
    subprocess.run(now, cwd=clone, check=True)
    return clone


def created(history: Path, place: Path, commit: str, **answers: str) -> Project:
    """Generate a project from an earlier commit, in a git repository without commits."""
    words = ("create", "--no-input", history, "--checkout", commit)
    done = cruft(place, *words, "--extra-context", json.dumps(answers))
    assert done.returncode == 0, done.stdout
    project = Project(place / "deployme", done.stdout)
    assert project.run(*GIT, "init", "--quiet").returncode == 0
    return project


def commit_all(project: Project) -> None:
    """Commit the owner's work, as cruft requires."""
    for command in (("add", "--all"), ("commit", "--quiet", "-m", "Mine")):
        assert project.run(*GIT, *command).returncode == 0


def edit(project: Project, edits: dict[str, tuple[str, str]]) -> None:
    """Replace a text in each file."""
    for name, (old, new) in edits.items():
        text = project.read(name)
        assert old in text, name
        (project.path / name).write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("app", ["hello", "existing"])
def test_update_brings_a_later_version_and_keeps_what_its_owner_edited(
    history: Path, bake: Baker, tmp_path: Path, app: str
) -> None:
    """Between two commits of this repository: the oldest that will do, and what is here now."""
    project = created(history, tmp_path, oldest_commit(), app=app, port="9000")
    edits = {
        "README.md": ("Runs in a container", "Sells shoes. Runs in a container"),
        "deploy/settings.mk": ("MEMORY := 1g", "MEMORY := 2g"),
        "deploy/run.sh": ("exec python3", "# mine\nexec python3"),
    }
    if app == "hello":
        edits["src/deployme/__init__.py"] = ("Hello, world!", "Hello, shoes!")
    edit(project, edits)
    (project.path / "mine.txt").write_text("mine\n", encoding="utf-8")
    commit_all(project)
    done = cruft(project.path, "update", "--skip-apply-ask")
    assert done.returncode == 0, done.stdout
    assert not [name for name in project.files() if name.endswith(".rej")], done.stdout
    for name, (_, new) in edits.items():
        assert new in project.read(name), name
    assert project.read("mine.txt") == "mine\n"
    fresh = bake(app=app, port="9000", **ANSWERED)
    differing = [name for name in fresh.files() if project.read(name) != fresh.read(name)]
    assert sorted(differing) == sorted(edits)
    assert "PORT := 9000" in project.read("deploy/settings.mk")


@pytest.mark.parametrize(
    ("app", "before", "after", "change"),
    [
        (
            *("hello", "src/deployme/__init__.py", "src/deployme/__init__.py"),
            ("Hello, world!", "Hello, shoes!"),
        ),
        (
            *("attachments", "src/deployme/lanes.py", "src/attachments/lanes.py"),
            ("from __future__", "# mine\nfrom __future__"),
        ),
        ("existing", "Makefile", "Makefile", ("deploy.mk\n", "deploy.mk\nmine: ;\n")),
    ],
)
def test_update_across_the_move_keeps_edits(
    history: Path,
    bake: Baker,
    tmp_path: Path,
    app: str,
    before: str,
    after: str,
    change: tuple[str, str],
) -> None:
    """git merges what the owner edited into the new version, under the new name if there is one.

    A dockerfile is machinery at the same path, so git merges it like any other file. What git
    cannot merge has both versions between conflict markers. Files that the owner added stay.
    """
    project = created(history, tmp_path, BEFORE_THE_MOVE, app=app)
    commit_all(project)  # so that git has what it merges from
    dockerfile = project.read("deploy/base.docker")
    edit(project, {before: change, "deploy/settings.mk": ("MEMORY := 1g", "MEMORY := 2g")})
    (project.path / "deploy/base.docker").write_text(f"{dockerfile}LABEL of=mine\n")
    (project.path / before).with_name("added.py").write_text("mine = True\n", encoding="utf-8")
    commit_all(project)

    done = cruft(project.path, "update", "--skip-apply-ask")
    assert done.returncode == 0, done.stdout
    fresh = bake(app=app, **ANSWERED)
    added = str(Path(before).with_name("added.py"))
    files = {name: mode for name, mode in project.files().items() if not name.startswith(".git/")}
    assert files == {**fresh.files(), added: "644", ".cruft.json": "644"}, done.stdout
    assert project.read(added) == "mine = True\n"
    expected = {
        after: fresh.read(after).replace(*change, 1),
        "deploy/settings.mk": fresh.read("deploy/settings.mk").replace(
            "MEMORY := 1g", "MEMORY := 2g"
        ),
        "deploy/base.docker": f"{fresh.read('deploy/base.docker')}LABEL of=mine\n",
    }
    for name in fresh.files():
        assert project.read(name) == expected.get(name, fresh.read(name)), name
    commit_all(project)
    assert cruft(project.path, "check").returncode == 0


def test_an_edited_file_that_was_rewritten_stays_where_it_was(
    history: Path, bake: Baker, tmp_path: Path
) -> None:
    """The owner's version is not lost: it is under its old name, beside the new file."""
    project = created(history, tmp_path, BEFORE_THE_MOVE, app="attachments")
    commit_all(project)
    edit(project, {"src/deployme/application.py": ("from __future__", "# mine\nfrom __future__")})
    edited = project.read("src/deployme/application.py")
    commit_all(project)

    done = cruft(project.path, "update", "--skip-apply-ask")
    assert done.returncode == 0, done.stdout
    assert "*.rej files" in done.stdout
    assert project.read("src/deployme/application.py") == edited
    new = "src/attachments/application.py"
    fresh = bake(app="attachments", **ANSWERED)
    assert project.read(new) == fresh.read(new)


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
