"""The first `make run` of a generated project chooses a token."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import Baker


def test_the_first_run_chooses_a_token(bake: Baker) -> None:
    """It is another one each time, only its owner can read it, and it is never replaced."""
    tokens = set()
    for _ in range(2):
        project = bake(app="attachments")
        variables = Path(project.path, "deploy", "run.env")
        plan = project.run("make", "--dry-run", "run").stdout
        assert plan.index(">deploy/run.env") < plan.index("deploy/slipway' run")
        assert ">deploy/run.env" not in project.run("make", "--dry-run", "run", "DRY_RUN=1").stdout
        assert ">deploy/run.env" in project.run("make", "--dry-run", "serve").stdout
        said = project.run("make", "deploy/run.env").stdout
        assert said.startswith("wrote deploy/run.env with a random WRITE_TOKEN")
        assert re.fullmatch(r"WRITE_TOKEN=\S{40,}\n", variables.read_text(encoding="utf-8"))
        assert variables.stat().st_mode & 0o777 == 0o600
        tokens.add(variables.read_text(encoding="utf-8"))
        variables.write_text("WRITE_TOKEN=\n", encoding="utf-8")
        assert ">deploy/run.env" not in project.run("make", "--dry-run", "run").stdout
    assert len(tokens) == 2
