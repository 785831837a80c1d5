"""Inspect the image from inside: `python -I FOLDER DISTRIBUTION…` prints a JSON object.

The modules of these distributions are imported, and their sources are searched for libraries that
they load by name. The ELF files of all installed distributions are read. Keys of the object:

    missing, used, interpreter, provided, there, files    see shared_libraries.report
    loads                                                 see dlopen_calls.report
    problems                                              see module_imports.report
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
import sysconfig
from pathlib import Path

# Only this folder is mounted, at slipway/image/check. Its modules keep their usual names.
sys.path[0] = str(Path(__file__).resolve().parents[3])

from slipway.image.check import dlopen_calls, module_imports, shared_libraries


def main(names: list[str]) -> None:
    """Print the JSON object; redirect the output of imported modules to standard error."""
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        site = sysconfig.get_path("purelib")
        files = {
            each.metadata["Name"]: [str(path) for path in each.files or ()]
            for each in importlib.metadata.distributions(path=[site])
        }
        normal = {re.sub("[-_.]+", "-", name).lower(): found for name, found in files.items()}
        asked = {name: normal[name] for name in names if name in normal}
        # A child process reads the files while this process imports the modules.
        read, write = os.pipe()
        if not os.fork():
            os.close(read)
            with os.fdopen(write, "w") as out:
                found = shared_libraries.report(files, site)
                json.dump({**found, "loads": dlopen_calls.report(asked, site)}, out)
            os._exit(0)
        os.close(write)
        problems = module_imports.report(asked)
        with os.fdopen(read) as found_files:
            json.dump({**json.load(found_files), "problems": problems}, output)


if __name__ == "__main__":
    main(sys.argv[1:])
