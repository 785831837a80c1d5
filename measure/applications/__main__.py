"""Fill the table of applications from PyPI: `python -m measure.applications [NAME…]`.

For each application, a project with app=existing is generated, and its requirements.in and settings
are written. Then `make wheels image push deploy` deploys it to a server, where it must answer.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import testbed
from measure.applications.applications import APPLICATIONS, PORT, Application
from measure.applications.report import page
from measure.table import Table, baker, for_interpreter
from testbed.network import free_port
from testbed.projects import ROOT, Project

OUTPUT = ROOT / "docs" / "figures" / "apps.json"
CACHE = "apps-table"
STEPS = ("wheels", "image", "push", "deploy")


class Laptop:
    """An engine, a server, and a project for each application in turn."""

    def __init__(self, engine: testbed.Engine, server: testbed.Server, place: Path) -> None:
        """Remember the engine and the server; the projects are generated below place."""
        self.engine = engine
        self.server = server
        self.bake = baker(place)
        self.pin = place / "base.lock"
        self.registry_port = free_port()
        self.state = place / "state"

    def make(self, project: Project, *words: str) -> subprocess.CompletedProcess[str]:
        """Run make in a project."""
        settings = (
            f"DEPLOY_HOST={self.server.host}",
            f"SSH={self.server.ssh}",
            f"REGISTRY_PORT={self.registry_port}",
        )
        state = {"XDG_STATE_HOME": str(self.state)}
        variables = {**self.engine.environment, "DEPLOY_CACHE": CACHE, **state}
        return project.run("make", *words, *settings, **variables)

    def generate(self, application: Application, python: str) -> Project:
        """Generate a project, and write the files that the application's user writes."""
        project = self.bake(
            **{"project": f"apps-{application.name}", "app": "existing", "python": python},
            **{"native_deps": " ", "command": application.command, "port": PORT},
        )
        testbed.copy_certificates(project.path / "deploy" / "ca")
        if self.pin.exists():
            (project.path / "deploy" / "base.lock").write_bytes(self.pin.read_bytes())
        application.put_into(project)
        return project

    def row(self, application: Application, python: str) -> dict[str, Any]:
        """Deploy an application and send a request to it; return the row."""
        project = self.generate(application, python)
        began = time.monotonic()
        row: dict[str, Any] = {
            "requirements": application.requirements,
            "command": application.command,
            "settings": [*application.settings],
            "environment": [*application.environment],
        }
        try:
            done = self.make(project, *STEPS)
            row["seconds"] = round(time.monotonic() - began)
            if project.has("deploy/base.lock"):
                self.pin.write_bytes((project.path / "deploy" / "base.lock").read_bytes())
            if project.has("requirements.txt"):
                lock = project.read("requirements.txt")
                row["dependencies"] = len(re.findall(r"^[\w.-]+==", lock, re.M))
            refused = re.findall(r"^.*does not work on PyPy.*$", done.stdout, re.M)
            if done.returncode and refused:
                row["refused"] = refused[-1].strip()
            elif done.returncode:
                row["error"] = "\n".join(done.stdout.strip().splitlines()[-40:])
            else:
                row["answer"] = application.answer_at(self.server.address(int(PORT)))
        finally:
            self.make(project, "clean")
            name = project.path.name
            self.server.run(
                *("sh", "-c"),
                f"docker rm --force --volumes $(docker ps --all --quiet --filter name={name});"
                " docker image prune --all --force; docker volume prune --all --force",
            )
        return row

    def end(self) -> None:
        """Remove the registry."""
        name = f"registry-{self.registry_port}"
        self.engine.succeeds("docker", "rm", "--force", "--volumes", f"{name}-registry-1")
        self.engine.succeeds("docker", "network", "rm", f"{name}_default")
        self.engine.succeeds("docker", "volume", "rm", f"{name}_storage")


def measure(python: str, names: Sequence[str], output: Path) -> None:
    """Fill the rows of an interpreter with these names, or those that are missing."""
    table = Table("apps-table", output, page)
    with (
        testbed.engine_session() as engine,
        tempfile.TemporaryDirectory() as folder,
        testbed.Server(engine, ports=[int(PORT)]) as server,
    ):
        for image in (testbed.BASE, testbed.REGISTRY):
            testbed.provide(engine, image)
        laptop = Laptop(engine, server, Path(folder))
        try:
            table.fill(APPLICATIONS, names, lambda each: laptop.row(each, python), python)
        finally:
            laptop.end()


if __name__ == "__main__":
    sys.exit(for_interpreter("measure.applications", __doc__, OUTPUT, measure))
