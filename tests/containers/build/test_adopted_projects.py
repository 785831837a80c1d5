"""Two projects on one laptop share the builder's cache and the registry, and never mix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Baker, Project
from tests.containers.laptop import SESSION, Laptop, commit, write

BACK_ENDS = {
    "setuptools": ("setuptools>=77", "setuptools.build_meta", "src/"),
    "hatchling": ("hatchling", "hatchling.build", ""),
    "flit": ("flit_core>=3.11,<4", "flit_core.buildapi", "src/"),
    "poetry-core": ("poetry-core>=2", "poetry.core.masonry.api", ""),
    "pdm": ("pdm-backend", "pdm.backend", "src/"),
    "uv-build": ("uv_build>=0.9,<0.10", "uv_build", "src/"),
}


def application(name: str, back_end: str) -> dict[str, str]:
    """Write an application of one module, which prints its name, and what it is built by."""
    requires, module, layout = BACK_ENDS[back_end]
    return {
        "pyproject.toml": f"""\
            [build-system]
            requires = ["{requires}"]
            build-backend = "{module}"
            [project]
            name = "{name}"
            version = "1.0"
            description = "It says its name"
            [project.scripts]
            {name} = "{name}:main"
        """,
        f"{layout}{name}/__init__.py": f"""\
            def main():
                print("{name} by {back_end}")
        """,
    }


def adopted(generate: Baker, laptop: Laptop, name: str, back_end: str) -> Project:
    """Write an application beside a deploy/ of the defaults, and let make adopt find out."""
    project = generate(
        project=f"{name}-{SESSION}", app="existing", python="CPython", native_deps=" "
    )
    write(project.path, application(name, back_end))
    laptop.make(project, "adopt", "YES=1", f"PROJECT={name}-{SESSION}")
    return project


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_every_back_end_builds_an_adopted_application(
    generate: Baker, laptop: Laptop, back_end: str
) -> None:
    """In a src folder or beside it; the command is the one that make adopt found."""
    name = f"say{back_end.replace('-', '')}"
    project = adopted(generate, laptop, name, back_end)
    laptop.make(project, "wheels", "image")
    assert laptop.docker("run", "--rm", f"{name}-{SESSION}-run").strip() == f"{name} by {back_end}"


def test_it_builds_in_a_submodule_and_without_git(
    generate: Baker, laptop: Laptop, tmp_path: Path
) -> None:
    """A submodule's .git is a file; its commit is in the label. Without git there is none."""
    project = adopted(generate, laptop, "inner", "hatchling")
    laptop.make(project, "wheels")
    revision = commit(project, "Adopt, and lock")
    outer = Project(tmp_path, "")
    for words in (
        ("init", "--quiet"),
        ("-c", "protocol.file.allow=always", "submodule", "add", str(project.path), "inner"),
    ):
        done = outer.run("git", *words)
        assert done.returncode == 0, done.stdout
    inner = Project(tmp_path / "inner", "")
    label = '{{index .Config.Labels "org.opencontainers.image.revision"}}'
    image = f"inner-{SESSION}-run"
    laptop.make(inner, "wheels", "image")
    assert laptop.docker("image", "inspect", "--format", label, image).strip() == revision
    laptop.make(inner, "clean")
    (inner.path / ".git").unlink()
    laptop.make(inner, "wheels", "image")
    assert laptop.docker("run", "--rm", image).strip() == "inner by hatchling"
    assert laptop.docker("image", "inspect", "--format", label, image).strip() == ""


def test_two_projects_share_a_registry_and_never_mix(generate: Baker, laptop: Laptop) -> None:
    """Each has its images and its place in the registry; cleaning one leaves the other."""
    one = adopted(generate, laptop, "one", "setuptools")
    two = adopted(generate, laptop, "two", "setuptools")
    pushed = [laptop.make(each, "push") for each in (one, two)]
    digests = {said.rpartition("@sha256:")[2].split("\n")[0] for said in pushed}
    assert len(digests) == 2
    wheels = [[path.name for path in each.path.rglob("app/*.whl")] for each in (one, two)]
    assert wheels == [["one-1.0-py3-none-any.whl"], ["two-1.0-py3-none-any.whl"]]
    laptop.make(one, "registry-gc")
    laptop.make(one, "clean")
    assert not laptop.image_id(f"one-{SESSION}-run")
    assert laptop.docker("run", "--rm", f"two-{SESSION}-run").strip() == "two by setuptools"
    assert "nothing to do" in laptop.make(two, "image")
