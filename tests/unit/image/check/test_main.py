"""The inspection of an image as a program, started from a folder that has nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from pathlib import Path

from slipway.image.run import wheel_installer
from tests.unit.conftest import DEPLOY, make_wheel


def test_the_check_needs_only_its_own_folder(tmp_path: Path) -> None:
    """It runs isolated, and prints one JSON object whatever the imported modules print."""
    venv.create(tmp_path / "appenv", with_pip=False, symlinks=True)
    wheels = [make_wheel(tmp_path, name, "1.0") for name in ("good", "two-bad", "not-asked")]
    wheel_installer.into(tmp_path / "appenv", wheels, compiled=False)
    packages = wheel_installer.site_packages(tmp_path / "appenv")
    (packages / "good.py").write_text("import os\nos.write(1, b'noise\\n')\n")
    text = "import ctypes\nctypes.CDLL('libnone.so.1')\n"
    (packages / "two_bad.py").write_text(text)
    folder = tmp_path / "mnt" / "slipway" / "image" / "check"
    shutil.copytree(
        DEPLOY / "slipway" / "image" / "check",
        folder,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    python = tmp_path / "appenv" / "bin" / "python"
    done = subprocess.run(
        [python, "-I", "-B", folder, "good", "two-bad", "unknown"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "noise\n"
    found = json.loads(done.stdout)
    assert set(found) == {
        *("missing", "used", "interpreter", "provided", "there", "files", "loads", "problems"),
    }
    assert found["loads"] == {"two-bad": [["libnone.so.1"]]}
    assert set(found["problems"]) == {"two-bad"}
    assert found["problems"]["two-bad"][0]["kind"] == "OSError"
    assert (found["missing"], found["files"]) == ({}, 0)
    assert any(name.startswith("libc.so") for name in found["interpreter"])
