"""The builder reads any kind of application, and leaves wheels that the caller owns."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Baker, Project
from tests.containers.laptop import PORTS, SESSION, Laptop, answer_of, free_port, write

SERVER = """\
    from http.server import BaseHTTPRequestHandler, HTTPServer
    import os

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"Hello from {kind}!")

    def main():
        HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""


APPLICATIONS = {
    "pyproject": {
        "pyproject.toml": """\
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"
            [project]
            name = "greeter"
            version = "2.0"
            dependencies = ["idna"]
            [project.scripts]
            greet = "greeter:main"
        """,
        "greeter/__init__.py": SERVER.format(kind="pyproject"),
    },
    "setup.py": {
        "setup.py": """\
            from setuptools import setup
            setup(
                name="greeter", version="1.0", py_modules=["greeter"], install_requires=["idna"],
                entry_points={"console_scripts": ["greet = greeter:main"]},
            )
        """,
        "greeter.py": SERVER.format(kind="setup.py"),
        # what an earlier build left must not end up in the wheel
        "build/lib/stale.py": "raise SystemExit('an old build')\n",
    },
}


@pytest.fixture(scope="session")
def existing(generate: Baker, laptop: Laptop) -> Project:
    """A project without an application; each test puts one into it."""
    project = generate(
        project=f"own-{SESSION}",
        app="existing",
        python="CPython",
        command="greet",
        native_deps="",
        port=str(PORTS["existing"]),
    )
    # as a umask of 077 leaves it
    subprocess.run(["chmod", "-R", "go-rwx", project.path / "deploy"], check=True)
    laptop.make(project, "builder")
    return project


def put_in(project: Project, files: dict[str, str]) -> None:
    """Write this application into the project, and remove any other."""
    keep = {".git", ".gitignore", "Makefile", "README.md", "deploy", ".deploy", "wheelhouse"}
    for path in project.path.iterdir():
        if path.name not in keep:
            subprocess.run(["rm", "-rf", path], check=True)
    write(project.path, files)


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_any_kind_of_application_runs(existing: Project, laptop: Laptop, kind: str) -> None:
    """A modern and an old-fashioned source tree both come out answering."""
    put_in(existing, APPLICATIONS[kind])
    port = free_port()
    laptop.make(existing, "image", "run", f"PORT={port}")
    try:
        assert answer_of(f"127.0.0.1:{port}") == f"Hello from {kind}!"
    finally:
        laptop.make(existing, "stop")


def test_application_that_nobody_outside_reaches_is_not_healthy(
    existing: Project, laptop: Laptop
) -> None:
    """One that listens only on 127.0.0.1 of its container is reported."""
    files = dict(APPLICATIONS["pyproject"])
    files["greeter/__init__.py"] = files["greeter/__init__.py"].replace('("",', '("127.0.0.1",')
    put_in(existing, files)
    said = laptop.make_fails(existing, "run", f"PORT={free_port()}", "HEALTH_TIMEOUT=6")
    laptop.make(existing, "stop")
    assert "listens on 127.0.0.1 only: let it listen on 0.0.0.0" in said


def test_list_of_requirements_is_an_application(existing: Project, laptop: Laptop) -> None:
    """With only requirements.txt and a command, the package index provides it; the list stays."""
    wanted = "gunicorn\n# by hand\n"
    put_in(existing, {"requirements.txt": wanted})
    said = laptop.make(existing, "image", "COMMAND=gunicorn --version")
    assert "wrote requirements.lock" in said
    assert existing.read("requirements.txt") == wanted
    shown = laptop.docker("run", "--rm", f"own-{SESSION}-run")
    assert shown.startswith("gunicorn (version")


def test_command_that_no_wheel_brings_is_named(existing: Project, laptop: Laptop) -> None:
    """The error lists the programs that there are."""
    put_in(existing, {"requirements.txt": "gunicorn\n"})
    said = laptop.make_fails(existing, "image", "COMMAND=gunicron")
    assert "no wheel provides the program 'gunicron'" in said
    assert "gunicorn" in said.replace("gunicron", "")
    assert "COMMAND in deploy/settings.mk" in said


def test_folder_without_an_application_is_refused(existing: Project, laptop: Laptop) -> None:
    """The message comes before anything is built."""
    put_in(existing, {})
    said = laptop.make_fails(existing, "wheels")
    assert "there is nothing to build" in said


def test_dependency_that_the_lock_lacks_is_named(existing: Project, laptop: Laptop) -> None:
    """A new dependency requires a new lock, and the good wheelhouse stays as it was."""
    put_in(existing, APPLICATIONS["pyproject"])
    laptop.make(existing, "wheels")
    before = sorted(existing.path.glob("wheelhouse/*/*/*.whl"))
    text = existing.read("pyproject.toml")
    (existing.path / "pyproject.toml").write_text(text.replace('["idna"]', '["idna", "six"]'))
    said = laptop.make_fails(existing, "wheels")
    assert "the lock does not have six" in said
    assert "make lock" in said
    assert sorted(existing.path.glob("wheelhouse/*/*/*.whl")) == before
    assert "six" not in existing.read("requirements.txt")
    laptop.make(existing, "lock", "wheels")
    assert "six==" in existing.read("requirements.txt")


def test_download_that_is_not_what_was_locked_is_refused(existing: Project, laptop: Laptop) -> None:
    """A hash that differs ends the build; the wheelhouse stays as it was."""
    put_in(existing, APPLICATIONS["pyproject"])
    laptop.make(existing, "lock", "wheels")
    lock = existing.read("requirements.txt")
    line = next(line for line in lock.splitlines() if "--hash=sha256:" in line)
    digit = line.partition("sha256:")[2][0]
    wrong = lock.replace("sha256:" + digit, "sha256:" + ("0" if digit != "0" else "1"))
    (existing.path / "requirements.txt").write_text(wrong)
    before = sorted(existing.path.glob("wheelhouse/*/deps/*"))
    said = laptop.make_fails(existing, "wheels")
    name = lock[: lock.index(line)].splitlines()[-1].partition("==")[0].strip()
    [told] = [each for each in said.splitlines() if "does not have the SHA-256 of the lock" in each]
    assert told.startswith(f"builder: {name}-"), "the file is named"
    assert "run make upgrade" in told, "and so is what to do"
    assert sorted(existing.path.glob("wheelhouse/*/deps/*")) == before
    (existing.path / "requirements.txt").write_text(lock)


def test_wheels_are_owned_by_the_caller_and_the_source_is_untouched(
    existing: Project, laptop: Laptop, tmp_path: Path
) -> None:
    """The builder alone, by `docker run` with two volumes, as the root that docker gives it."""
    source, wheelhouse, ca = (tmp_path / name for name in ("source", "wheelhouse", "ca"))
    write(source, APPLICATIONS["setup.py"])
    wheelhouse.mkdir()
    shutil.copytree(existing.path / "deploy" / "ca", ca)
    subprocess.run(["chown", "-R", "4321:4321", wheelhouse, ca], check=True)
    before = sorted(source.rglob("*"))
    volumes = (
        *("--volume", f"{source}:/application:ro", "--volume", f"{wheelhouse}:/wheelhouse"),
        *("--volume", f"{ca}:/ca:ro"),
    )
    laptop.docker("run", "--rm", *volumes, f"own-{SESSION}-builder")
    made = [path for path in wheelhouse.rglob("*") if path.is_file()]
    names = sorted(path.name.partition("-")[0] for path in made if path.suffix == ".whl")
    assert names == ["greeter", "idna"]
    assert "--hash=sha256:" in (wheelhouse / "requirements.txt").read_text(), "the lock it made"
    assert {path.stat().st_uid for path in made} == {4321}
    assert sorted(source.rglob("*")) == before
