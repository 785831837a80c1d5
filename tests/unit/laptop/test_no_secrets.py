"""No command prints a secret: the password of a package index, or a value of run.env."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slipway.laptop.command_table import COMMANDS, HIDDEN
from tests.conftest import Project
from tests.unit.conftest import Program

SECRETS = ("index-password-9", "run-env-value-9")
# Docker fails at once, or after it has answered the questions that come before the first step.
DOCKERS = (
    "echo boom >&2; exit 1",
    'case "$*" in run*|build*|buildx*) exit 1 ;; *) echo "[]" ;; esac',
)


@pytest.mark.parametrize("name", [each.name for each in (*COMMANDS, *HIDDEN)])
def test_debugging_shows_no_secret(project: Project, program: Program, name: str) -> None:
    """DEPLOY_DEBUG=1 prints a traceback, VERBOSE=1 what the tools print, DRY_RUN=1 the commands."""
    (project.path / "deploy/run.env").write_text(f"DATABASE_URL=postgresql://me:{SECRETS[1]}@db/\n")
    (project.path / "requirements.in").write_text("idna\n")
    (project.path / "requirements.txt").write_text("idna==3.10 --hash=sha256:aa\n")
    ssh = program("ssh", 'case "$*" in *" -M "*) echo ready first; exec cat ;; esac; exit 1')
    for docker, dry_run in zip(DOCKERS, ("", "1"), strict=True):
        fake = program("docker", docker)
        done = subprocess.run(
            [sys.executable, "deploy/slipway", name, *(["ls"] if name == "exec" else [])],
            cwd=project.path,
            env={
                **{"PATH": f"{fake.parent}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
                **{"DEPLOY_DEBUG": "1", "VERBOSE": "1", "DRY_RUN": dry_run, "PIP_RETRIES": "0"},
                **{"DEPLOY_HOST": "server", "SSH": str(ssh)},
                "PIP_INDEX_URL": f"https://me:{SECRETS[0]}@127.0.0.1:1/simple",
                "PIP_EXTRA_INDEX_URL": f"https://me:{SECRETS[0]}@127.0.0.1:2/simple",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        for secret in SECRETS:
            assert secret not in done.stdout + done.stderr
