"""The recipes in docs/how-to: the files and the commands of each page, exactly as written there."""

from __future__ import annotations

import re
import shlex
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import ROOT, Baker, Project
from tests.containers.build.test_private_index import PASSWORD, Index
from tests.containers.laptop import SESSION, Laptop, free_port, write
from tests.containers.package_index import serving

PAGES = ROOT / "docs" / "how-to"
NAME = f"shop-{SESSION}"
PROJECT_FILES = (".git", ".gitignore", "Makefile", "README.md", "deploy", ".deploy", "wheelhouse")


@dataclass(frozen=True)
class Recipe:
    """A page of docs/how-to."""

    text: str

    @classmethod
    def of(cls, page: str) -> Recipe:
        """Read the recipe from the page of that name."""
        return cls((PAGES / f"{page}.md").read_text(encoding="utf-8"))

    @property
    def files(self) -> dict[str, str]:
        """Its files: a name that ends a line, and the block below it."""
        named = re.findall(r"`([\w./]+)`\n\n```\w*\n(.*?)^```$", self.text, re.M | re.S)
        empty = dict.fromkeys(re.findall(r"`([\w./]+)` is empty", self.text), "")
        return {**empty, **dict(named)}

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Its commands, each with the output that the page shows."""
        blocks = re.findall(r"^```console\n(.*?)^```$", self.text, re.M | re.S)
        return re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", "".join(blocks), re.M)


@dataclass(frozen=True)
class Kitchen:
    """A project in which one recipe after the other is tried."""

    laptop: Laptop
    project: Project
    settings: str
    port: int

    def put_in(self, recipe: Recipe) -> None:
        """Write the files of a recipe into the project, and remove any other application."""
        for path in self.project.path.iterdir():
            if path.name not in PROJECT_FILES:
                subprocess.run(["rm", "-rf", path], check=True)
        (self.project.path / "deploy" / "run.env").unlink(missing_ok=True)
        files = recipe.files
        changed = files.pop("deploy/settings.mk").replace("shop-files", f"{NAME}-files")
        settings = self.settings
        for line in changed.splitlines():
            name = line.partition(" ")[0]
            settings = re.sub(rf"^{name} :=.*\n", "", settings, flags=re.M) + f"{line}\n"
        write(self.project.path, {**files, "deploy/settings.mk": settings})

    def do(self, command: str, **environment: str) -> str:
        """Run a command of the page, and return its output."""
        words = shlex.split(command)
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            environment.setdefault(name, value)
        if words[0] == "make":
            return self.laptop.make(self.project, *words[1:], f"PORT={self.port}", **environment)
        assert words[0] == "curl"
        address = words[1].replace(":8081", f":{self.port}")
        with urllib.request.urlopen(address, timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def follow(self, recipe: Recipe, **environment: str) -> None:
        """Run all commands of a recipe, and compare their output with the page."""
        self.put_in(recipe)
        assert recipe.commands
        for command, expected in recipe.commands:
            assert expected.strip() in self.do(command, **environment)

    def clear(self) -> None:
        """Stop what was started, and remove its volume."""
        for name in (f"{NAME}-local", f"{NAME}-worker-local"):
            self.laptop.engine.succeeds("docker", "rm", "--force", "--volumes", name)
        self.laptop.engine.succeeds("docker", "volume", "rm", f"{NAME}-files")


@pytest.fixture(scope="module")
def shop(generate: Baker) -> Project:
    """Return a project as the first command of docs/how-to/README.md generates it."""
    return generate(project=NAME, app="existing", python="CPython", native_deps=" ")


@pytest.fixture
def kitchen(laptop: Laptop, shop: Project) -> Iterator[Kitchen]:
    """The project, with its own settings."""
    settings = shop.read("deploy/settings.mk")
    found = Kitchen(laptop, shop, settings, free_port())
    yield found
    found.clear()
    write(shop.path, {"deploy/settings.mk": settings})


@pytest.mark.parametrize(
    "page", ["pypi-application", "flask", "fastapi", "django", "workers", "one-off-jobs"]
)
def test_recipe_works_as_written(kitchen: Kitchen, page: str) -> None:
    """With its files, settings and commands, and nothing else."""
    kitchen.follow(Recipe.of(page))


def test_recipe_of_a_private_index_works_as_written(kitchen: Kitchen, gateway: str) -> None:
    """With the address of an index here, for the one on the page."""
    with serving(ThreadingHTTPServer((gateway, 0), Index)) as port:
        kitchen.follow(
            Recipe.of("private-package-index"),
            PIP_EXTRA_INDEX_URL=f"http://ann:{PASSWORD}@{gateway}:{port}/simple/",
            PIP_TRUSTED_HOST=gateway,
        )


def test_recipe_of_a_monorepo_works_as_written(
    kitchen: Kitchen, laptop: Laptop, tmp_path: Path
) -> None:
    """Two services, each with a copy of deploy/, built by one make at the top."""
    service = Recipe.of("one-off-jobs")
    for name in ("shop", "mail"):
        folder = tmp_path / "services" / name
        kitchen.put_in(service)
        folder.mkdir(parents=True)
        subprocess.run(["cp", "-r", kitchen.project.path / "deploy", folder], check=True)
        files = {path: text for path, text in service.files.items() if "deploy" not in path}
        settings = (folder / "deploy" / "settings.mk").read_text(encoding="utf-8")
        settings = settings.replace(f"PROJECT := {NAME}", f"PROJECT := {NAME}-{name}")
        write(folder, {**files, "deploy/settings.mk": settings})
    recipe = Recipe.of("monorepo")
    write(tmp_path, recipe.files)
    repository = Project(tmp_path, "")
    try:
        for command, _ in recipe.commands:
            laptop.make(repository, *shlex.split(command)[1:])
        for name in ("shop", "mail"):
            said = laptop.docker("run", "--rm", f"{NAME}-{name}-run")
            assert said == "3 apples are left\n"
    finally:
        laptop.run(repository, "make", "shop-clean", "mail-clean")
