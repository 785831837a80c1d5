"""An application that nothing installs: files in a folder, as they are (the settings' FILES)."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import Baker, Project
from tests.containers.laptop import SESSION, Laptop, answer_of, free_port, write

APPLICATION = {
    "app.py": """\
        import os
        from http.server import BaseHTTPRequestHandler, HTTPServer

        import idna
        import words

        class Page(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                text = open("templates/page.txt").read().strip()
                self.wfile.write(f"{text} {words.NAME} {idna.encode('ü').decode()}".encode())

        HTTPServer(("", int(os.environ["PORT"])), Page).serve_forever()
    """,
    "words/__init__.py": "NAME = 'of ours'\n",
    "templates/page.txt": "a page\n",
    "README.md": "# A folder of files\n",
    "requirements.txt": "idna\n",
    "Dockerfile": 'FROM python:3.13\nCOPY . .\nCMD ["python", "app.py"]\n',
}


@pytest.fixture(scope="module")
def plain(generate: Baker, laptop: Laptop) -> Project:
    """Such a repository with a deploy/ that it has adopted, and a run image."""
    project = generate(
        project=f"plain-{SESSION}",
        app="existing",
        python="CPython",
        native_deps=" ",
        port=str(free_port()),
    )
    write(project.path, APPLICATION)
    laptop.make(project, "adopt", "YES=1", f"PROJECT=plain-{SESSION}")
    assert "FILES := app.py templates words\n" in project.read("deploy/settings.mk")
    assert "COMMAND := python app.py\n" in project.read("deploy/settings.mk")
    laptop.make(project, "wheels", "image")
    return project


def test_it_answers_as_from_its_own_folder(plain: Project, laptop: Laptop) -> None:
    """It finds its modules and its files by the names that they have there; so does a command."""
    said = laptop.make(plain, "run")
    try:
        (address,) = re.findall(r"http://([\d.:]+)", said)
        assert answer_of(address) == "a page of ours xn--tda"
        name = f"plain-{SESSION}-local"
        inside = laptop.docker(
            "exec", name, "python", "-c", "import words; print(words.__cached__)"
        )
        assert inside.startswith("/appenv/app/words/__pycache__/")
        files = laptop.docker("exec", name, "find", ".", "-type", "f", "!", "-name", "*.pyc")
        assert {*files.split()} == {"./app.py", "./templates/page.txt", "./words/__init__.py"}
    finally:
        laptop.make(plain, "stop")


def test_what_is_not_named_rebuilds_nothing(plain: Project, laptop: Laptop) -> None:
    """And what is named is in the next image."""
    write(plain.path, {"README.md": "# Another word\n", "more.py": ""})
    laptop.make(plain, "wheels")
    assert "packed" not in laptop.make(plain, "wheels", "image")
    write(plain.path, {"templates/page.txt": "another page\n"})
    laptop.make(plain, "wheels", "image")
    image = f"plain-{SESSION}-run"
    text = laptop.runs(image, "cat templates/page.txt")
    assert text.strip() == "another page"
    config = json.loads(laptop.docker("image", "inspect", image))[0]["Config"]
    assert config["Labels"]["org.opencontainers.image.version"] == "0"


def test_a_name_that_is_not_there_is_reported(plain: Project, laptop: Laptop) -> None:
    """With the line's name, and what was built before stays."""
    before = laptop.image_id(f"plain-{SESSION}-run")
    said = laptop.make_fails(plain, "wheels", "FILES=app.py pages")
    assert "FILES in deploy/settings.mk names pages, which does not exist" in said
    assert laptop.image_id(f"plain-{SESSION}-run") == before
