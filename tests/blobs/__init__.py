"""What tests and benchmarks of `blobfiles` share: the package, databases, and a busy application.

The package's files have conditional names in the template, so it is copied under its real name; the
folder that it is in is on `sys.path` here, and can be on the PYTHONPATH of other processes.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "{{cookiecutter.project}}"
CONDITION = ("{% if cookiecutter.app == 'attachments' %}", "{% endif %}")


def copy_of(name: str, folder: Path) -> Path:
    """Copy a file or folder of app=attachments as cookiecutter names it, but never renders it."""
    start, end = CONDITION
    source, target = TEMPLATE / name, folder / Path(name).name
    if source.is_dir():
        target.mkdir()
        for path in source.iterdir():
            plain = path.name.removeprefix(start).removesuffix(end)
            copy_of(f"{name}/{plain}", target)
    else:
        shutil.copy(source.with_name(f"{start}{source.name}{end}"), target)
    return target


SOURCES = Path(tempfile.mkdtemp(prefix="blobfiles-"))
atexit.register(shutil.rmtree, SOURCES, ignore_errors=True)
SUITE = copy_of("tests/test_blobfiles.py", SOURCES)
PACKAGE = copy_of("src/blobfiles", SOURCES)
sys.path.insert(0, str(SOURCES))
