"""Importing the modules of distributions, including those that fail or crash."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from slipway.image.check import module_imports


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        (["idna/__init__.py", "idna/core.py", "idna-3.dist-info/METADATA"], ["idna"]),
        (["six.py", "__pycache__/six.cpython-313.pyc"], ["six"]),
        (["zope/interface/__init__.py", "zope/interface/x.py"], ["zope.interface"]),
        (
            ["_cffi_backend.cpython-313-x86_64-linux-gnu.so", "cffi/__init__.py"],
            ["_cffi_backend", "cffi"],
        ),
        (["_private/__init__.py", "_one.py", "tests/__init__.py", "setup.py"], []),
        (["pkg.libs/libz.so", "../../bin/tool", "pkg.data/x.py"], []),
        (["a-b/__init__.py", "loose/part.py"], ["loose.part"]),
        ([], []),
    ],
)
def test_the_modules_of_a_distribution_are_those_that_users_import(
    files: list[str], modules: list[str]
) -> None:
    """Public modules, compiled modules, and packages inside a namespace."""
    assert module_imports.modules_of(files) == modules


def test_every_module_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that ends the interpreter or raises anything does not stop the others."""
    bad = {
        "a_exits.py": "import sys; sys.exit(3)",
        "b_dies.py": "import faulthandler, os; faulthandler.disable(); os.abort()",
        "c_leaves.py": "import os; os._exit(0)",
        "d_lacks.py": "import no_such_module",
        "e_loads.py": "import ctypes; ctypes.CDLL('libnone.so.1')",
        "f_chains.py": "try:\n import none\nexcept ImportError as e:\n raise ImportError from e",
        "g_good.py": "print('noise')",
    }
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = module_imports.report(
        {f"dist-{name[0]}": [name] for name in sorted(os.listdir(tmp_path))}
    )
    kinds = {name: problems[0]["kind"] for name, problems in found.items()}
    assert kinds == {
        "dist-a": "other",
        "dist-b": "crash",
        "dist-c": "crash",
        "dist-d": "ModuleNotFoundError",
        "dist-e": "OSError",
        "dist-f": "ImportError",
    }
    assert found["dist-d"][0]["lacks"] == "no_such_module"
    assert len(found["dist-f"][0]["said"]) == 2
