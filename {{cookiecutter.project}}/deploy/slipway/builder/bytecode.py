"""The bytecode of back ends, for the modules that a build was seen to use.

Virtualenvs of the sandbox belong to root, so that Python cannot keep bytecode there. Compiling the
modules of setuptools takes longer than most builds. A build says only which modules it used. Their
source is that of the wheels, which were compared with the lock.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import py_compile
import tempfile
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

MODULES = 4000
SOURCE_LIMIT = 4 << 20  # bytes


def pack(place: Path, wheels: Sequence[Path], used: Collection[str]) -> None:
    """Write a zip archive of the bytecode of modules; names are those of files in a virtualenv.

    Modules that are in no wheel, or that cannot be compiled, are left out.
    """
    wanted = {name.partition("/site-packages/")[2] for name in sorted(used)[:MODULES]}
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as scratch:
        archive = Path(scratch, "archive")
        with zipfile.ZipFile(archive, "w") as packed:
            for wheel in wheels:
                with zipfile.ZipFile(wheel) as modules:
                    for name in sorted(wanted.intersection(modules.namelist())):
                        if name.endswith(".py") and modules.getinfo(name).file_size < SOURCE_LIMIT:
                            add(packed, name, modules.read(name), Path(scratch))
        os.replace(archive, place)


def add(packed: zipfile.ZipFile, name: str, source: bytes, scratch: Path) -> None:
    """Compile one module, and add its bytecode to an archive."""
    module, compiled = scratch / "module.py", scratch / "module.pyc"
    module.write_bytes(source)
    if compile_module(str(module), str(compiled), name):
        packed.write(compiled, importlib.util.cache_from_source(name))


def compile_module(source: str, compiled: str, name: str) -> bool:
    """Write the bytecode of a module, which calls itself by a name; return whether it could be."""
    with contextlib.suppress(py_compile.PyCompileError, ValueError, RecursionError, MemoryError):
        # not by time: the module in the virtualenv has another one each time
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(source, compiled, name, doraise=True, invalidation_mode=mode, quiet=1)
        return True
    return False
