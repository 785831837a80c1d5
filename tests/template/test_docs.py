"""The documentation names what there is: every make target, file and question in it exists."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, Baker

OWN = ("README.md", "CONTRIBUTING.md", "docs/decisions.md", "docs/existing.md")
COMMAND = re.compile(
    r"`(?:[A-Z_]+=\S+ )?make ([^`…]*?)`|^\s*(?:\$ |    )?make ([a-z][^#`|]*?)$", re.M
)


def targets_named(text: str) -> set[str]:
    """Find every target that a text tells to make."""
    words = " ".join(first or second for first, second in COMMAND.findall(text)).split()
    return {word for word in words if re.fullmatch(r"[a-z-]+", word)} - {"make"}


def targets_of(folder: Path) -> set[str]:
    """List the targets that a folder's Makefile has, as make itself knows them."""
    command = ["make", "--print-data-base", "--dry-run", "--question", "help"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"^([a-z][a-z-]*):", said, re.M))


@pytest.mark.parametrize("name", OWN)
def test_documented_targets_exist(bake: Baker, name: str) -> None:
    """Each `make …` in the repository's documents is a target here or in a generated project."""
    named = targets_named((ROOT / name).read_text(encoding="utf-8"))
    assert named
    assert named <= targets_of(ROOT) | targets_of(bake().path)


def test_generated_readme_names_targets_that_exist(bake: Baker) -> None:
    """Each `make …` in a generated README is a target there, and all targets are named."""
    project = bake()
    text = project.read("README.md")
    assert targets_named(text) <= targets_of(project.path)
    contract = {name for name in targets_of(project.path) if not name.startswith("slipway-")}
    contract -= {"help", "test"}
    assert not [target for target in contract if f"`{target}`" not in text]


def test_attachments_are_documented_as_they_are(bake: Baker) -> None:
    """Each setting with its default, each address, each target and each module."""
    project = bake(app="attachments")
    text = project.read("ATTACHMENTS.md")
    code = project.read("src/deployme/settings.py")
    fields = re.findall(r"^    ([a-z_]+): (?:int|str) = (.*)", code, re.M)
    assert len(fields) > 10
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| ([^|]+) \|$", text, re.M))
    for name, default in fields:
        if name != "port":
            documented = rows.pop(name.upper())
            value = default.replace("_", "").replace(" << 30", "G").replace("1 << 40", "1T")
            assert name in ("database_url", "write_token") or documented == value
    assert not rows
    assert {"backup", "restore", "database"} <= targets_named(text) <= targets_of(project.path)
    modules = [name for name in project.files() if name.startswith("src/deployme/")]
    for name in modules:
        file = name.removeprefix("src/deployme/")
        known = file.split("/")[0]
        assert known in text or known == "__init__.py", file


def test_readme_shows_the_questions_that_are_asked() -> None:
    """The transcript in the README has each prompt and each default."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    questions = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    asked = {name: default for name, default in questions.items() if not name.startswith("_")}
    assert len(asked) == 8
    for name, default in asked.items():
        prompt = questions["__prompts__"][name]
        if isinstance(default, list):
            assert prompt["__prompt__"] in text
            assert all(prompt[choice] in text for choice in default)
        else:
            assert f"{prompt} ({default}):" in text


def test_every_file_that_the_map_names_exists() -> None:
    """No row of the README's map is out of date."""
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) > 5
    assert not [name for name in rows if not (ROOT / name).exists()]
