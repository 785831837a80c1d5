"""Generation into an existing directory, with cookiecutter's own flags; nothing is lost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Baker, Project, copy_template

MINE = {"README.md": "mine\n", "Makefile": "all: ; @echo mine\n", "src/shop.py": "x = 1\n"}


@pytest.fixture
def mine(tmp_path: Path) -> Project:
    """A repository with files of the same names as generated ones, and an empty folder."""
    for name, text in MINE.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "shop" / "tests").mkdir()
    return Project(tmp_path / "shop", "")


def generate(bake: Baker, project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """Run cookiecutter in a repository, for the directory that it is."""
    config = project.path.parent / "config.yaml"
    home = project.path.parent
    config.write_text(f"cookiecutters_dir: {home}\nreplay_dir: {home}/replay\n", encoding="utf-8")
    command: list[str | Path] = [
        BIN / "cookiecutter",
        "--no-input",
        "--config-file",
        config,
        "-o",
        "..",
    ]
    answers = (f"project={project.path.name}", "app=existing")  # the last answer of a name counts
    return project.run(*command, bake.template, *answers, *words)


def has_what_was_there(project: Project, *but: str) -> bool:
    """Return whether all files but some are as they were, and nothing temporary is left."""
    same = all(project.read(name) == text for name, text in MINE.items() if name not in but)
    return same and project.has("tests") and not project.has("slipway-apps")


def test_without_a_flag_it_stops(bake: Baker, mine: Project) -> None:
    """The directory is named, and nothing is written into it."""
    done = generate(bake, mine)
    assert done.returncode != 0
    assert "shop" in done.stdout
    assert has_what_was_there(mine)
    assert not mine.has("deploy")


def test_skip_keeps_what_is_there_and_lists_it(bake: Baker, mine: Project) -> None:
    """The line that the Makefile lacks is said; then its make does what it did, and ours too."""
    done = generate(bake, mine, "--overwrite-if-exists", "--skip-if-file-exists")
    assert done.returncode == 0, done.stdout
    assert has_what_was_there(mine)
    assert "kept: Makefile\nkept: README.md\nno existing files were changed\n" in done.stdout
    assert "add this line to your Makefile: include deploy/deploy.mk" in done.stdout
    assert "replaced" not in done.stdout
    (mine.path / "Makefile").open("a").write("include deploy/deploy.mk\n")
    assert mine.run("make").stdout == "mine\n"
    assert "\n  wheels " in mine.run("make", "help").stdout


def test_overwrite_lists_what_it_replaced(bake: Baker, mine: Project) -> None:
    """As cookiecutter says: files of the template's names, and no others."""
    done = generate(bake, mine, "--overwrite-if-exists")
    assert done.returncode == 0, done.stdout
    assert "replaced: Makefile\nreplaced: README.md\n" in done.stdout
    assert "kept" not in done.stdout
    assert "no existing files" not in done.stdout
    assert has_what_was_there(mine, "Makefile", "README.md")


SAMPLES = pytest.mark.parametrize(
    ("app", "module"),
    [("hello", "src/shop/__init__.py"), ("attachments", "src/blobfiles/blobs.py")],
)


@SAMPLES
def test_flags_hold_for_a_sample_application_too(
    bake: Baker, mine: Project, app: str, module: str
) -> None:
    """The hook moves the application's files, and no flag of cookiecutter's reaches a hook."""
    own = ("Makefile", "pyproject.toml", module)
    for name in own:
        (mine.path / name).parent.mkdir(parents=True, exist_ok=True)
        (mine.path / name).write_text("include deploy/deploy.mk # mine\n", encoding="utf-8")
    both = ("--overwrite-if-exists", "--skip-if-file-exists")
    done = generate(bake, mine, *both, f"app={app}")
    assert done.returncode == 0, done.stdout
    assert all("mine" in mine.read(name) for name in own)
    kept = sorted((*own, "README.md"))
    assert "\n".join(f"kept: {name}" for name in kept) in done.stdout
    assert "replaced" not in done.stdout
    # The rest of the application is there.
    fresh = bake(app=app, project="shop")
    assert fresh.files().keys() <= mine.files().keys()
    done = generate(bake, mine, "--overwrite-if-exists", f"app={app}")
    assert done.returncode == 0, done.stdout
    assert "\n".join(f"replaced: {name}" for name in kept) in done.stdout
    assert all(mine.read(name) == fresh.read(name) for name in fresh.files())
    assert has_what_was_there(mine, "Makefile", "README.md")


@pytest.mark.parametrize("flags", [(), ("--skip-if-file-exists",)])
def test_machinery_is_replaced_whatever_the_flags_are(
    bake: Baker, mine: Project, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """An edit in deploy/slipway is lost, an obsolete file is removed, and both are listed."""
    template = copy_template(tmp_path / "template")
    machinery = template / "{{cookiecutter.project}}" / "deploy" / "slipway"
    machinery.mkdir(exist_ok=True)
    (machinery / "probe.py").write_text("A = '{{ cookiecutter.none }}'\n", encoding="utf-8")
    there = Baker(template, bake.directory)
    assert generate(there, mine, "--overwrite-if-exists").returncode == 0
    ours = mine.path / "deploy"
    (ours / "slipway/probe.py").write_text("edited\n", encoding="utf-8")
    (ours / "slipway/old.py").write_text("old\n", encoding="utf-8")
    (ours / "base.docker").write_text("edited\n", encoding="utf-8")
    (ours / "ca/corporation.crt").write_text("mine\n", encoding="utf-8")
    (ours / "run.env").write_text("A=mine\n", encoding="utf-8")
    done = generate(there, mine, "--overwrite-if-exists", *flags)
    assert done.returncode == 0, done.stdout
    assert "removed: deploy/slipway/old.py\n" in done.stdout
    assert "replaced: deploy/base.docker\nreplaced: deploy/slipway/probe.py\n" in done.stdout
    assert mine.read("deploy/slipway/probe.py") == "A = '{{ cookiecutter.none }}'\n"
    assert not mine.has("deploy/slipway/old.py")
    assert (mine.read("deploy/ca/corporation.crt"), mine.read("deploy/run.env")) == (
        "mine\n",
        "A=mine\n",
    )
    assert has_what_was_there(mine, "Makefile", "README.md")


def test_a_setting_survives_with_skip_alone(bake: Baker, mine: Project) -> None:
    """settings.mk is the owner's, and rendered: kept with the flag, replaced without."""
    assert generate(bake, mine, "--overwrite-if-exists").returncode == 0
    settings = mine.path / "deploy/settings.mk"
    fresh = settings.read_text(encoding="utf-8")
    settings.write_text(edited := fresh.replace("MEMORY := 1g", "MEMORY := 2g"), encoding="utf-8")
    assert fresh != edited
    both = ("--overwrite-if-exists", "--skip-if-file-exists")
    done = generate(bake, mine, *both)
    assert "kept: deploy/settings.mk\n" in done.stdout
    assert mine.read("deploy/settings.mk") == edited
    done = generate(bake, mine, "--overwrite-if-exists")
    assert "replaced: deploy/settings.mk\n" in done.stdout
    assert mine.read("deploy/settings.mk") == fresh


def test_without_hooks_the_applications_stay_in_their_folder(bake: Baker, mine: Project) -> None:
    """Nobody moves them then; a later generation with hooks stops at that folder, and says so."""
    done = generate(bake, mine, "--overwrite-if-exists", "--accept-hooks=no")
    assert done.returncode == 0, done.stdout
    assert mine.read("slipway-apps/existing/Makefile") == "include deploy/deploy.mk\n"
    assert mine.read("Makefile") == MINE["Makefile"]
    done = generate(bake, mine, "--overwrite-if-exists")
    assert done.returncode != 0
    assert "slipway-apps exists: remove or rename it" in done.stdout
    assert mine.has("slipway-apps/hello/src/hello/__init__.py")


@pytest.mark.parametrize("flags", [(), ("--skip-if-file-exists",)])
def test_an_application_that_cannot_be_moved_is_not_half_there(
    bake: Baker, mine: Project, flags: tuple[str, ...]
) -> None:
    """A file where the application has a folder: the message names it, and nothing else changes."""
    (mine.path / "src/shop").write_text("mine\n", encoding="utf-8")
    done = generate(bake, mine, "--overwrite-if-exists", *flags, "app=hello")
    assert done.returncode != 0
    assert "none of its files is there" in done.stdout
    assert "src/shop" in done.stdout
    assert has_what_was_there(mine, *(() if flags else ("README.md",)))
    assert not mine.has("pyproject.toml")
    assert mine.read("src/shop") == "mine\n"
    assert not [name for name in mine.files() if name.endswith(".new")]


@pytest.mark.parametrize("answer", ["native_deps=opensl", "port=0"])
def test_a_refused_answer_loses_nothing(bake: Baker, mine: Project, answer: str) -> None:
    """A hook that fails leaves a directory that was there as it was."""
    done = generate(bake, mine, "--overwrite-if-exists", answer)
    assert done.returncode != 0
    assert has_what_was_there(mine)


@pytest.mark.parametrize(
    ("version", "interpreter"), [("", "python3"), ("3.12\n", "python3"), ("pypy3.11\n", "pypy3")]
)
def test_a_new_project_assumes_nothing_until_it_is_adopted(
    bake: Baker, version: str, interpreter: str
) -> None:
    """Interpreter and command are open: make says so in a line, and `make adopt` sets them."""
    project = bake(app="existing", project="shop")
    script = '[project]\nname = "shop"\nversion = "1"\n[project.scripts]\nsell = "shop:main"\n'
    (project.path / "pyproject.toml").write_text(script, encoding="utf-8")
    if version:
        (project.path / ".python-version").write_text(version, encoding="utf-8")
    wanted = "PYTHON is not set: run make adopt, or set PYTHON := pypy3 or python3 in"
    for target in ("lock", "wheels", "image", "run", "venv", "deploy-venv"):
        done = project.run("make", "-s", target, "DEPLOY_HOST=server")
        assert done.returncode != 0
        assert f"{wanted} deploy/settings.mk\n" in done.stdout, target
    done = project.run("make", "-s", "adopt", "YES=1")
    assert done.returncode == 0, done.stdout
    lines = project.read("deploy/settings.mk").splitlines()
    assert {f"PYTHON := {interpreter}", "COMMAND := sell", "NATIVE :="} <= set(lines)


def test_no_usual_gitignore_hides_the_machinery(bake: Baker, tmp_path: Path) -> None:
    """Whoever clones the repository gets all of deploy/, but neither secrets nor caches."""
    project = Project(tmp_path, "")
    shutil.copytree(bake().path / "deploy", tmp_path / "deploy")
    usual = "build/ dist/ lib/ vendor/ wheels/ env/ venv/ target/ *.log *.spec"
    (tmp_path / ".gitignore").write_text(usual.replace(" ", "\n") + "\n", encoding="utf-8")
    (tmp_path / "deploy/run.env").write_text("SECRET=1\n", encoding="utf-8")
    cache = tmp_path / "deploy/slipway/laptop/__pycache__"
    cache.mkdir()
    (cache / "x.pyc").touch()
    expected = {name for name in project.files() if name.startswith("deploy/")}
    assert project.run("git", "init", "--quiet").returncode == 0
    assert project.run("git", "add", "--all").returncode == 0
    tracked = project.run("git", "ls-files", "deploy").stdout.split()
    assert {*tracked} == expected - {
        "deploy/run.env",
        "deploy/slipway/laptop/__pycache__/x.pyc",
    }
