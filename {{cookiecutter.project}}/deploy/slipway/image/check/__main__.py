"""Inspect the image from inside: `python -I FOLDER DISTRIBUTION…` prints what it finds as JSON.

The distributions are those whose modules are imported and whose calls are searched. The keys of the
JSON object: `missing`, `used`, `interpreter`, `provided` and `there` (shared_libraries.py), `loads`
(dlopen_calls.py), `problems` (module_imports.py).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
import sysconfig
from pathlib import Path

# Run as a folder, whose own modules are found by the package's name from here on.
sys.path[0] = str(Path(__file__).resolve().parents[3])

from slipway.image.check import dlopen_calls, module_imports, shared_libraries


def main(names: list[str]) -> None:
    """Print one JSON object; whatever the imported modules print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        site = sysconfig.get_path("purelib")
        files = {
            each.metadata["Name"]: [str(path) for path in each.files or ()]
            for each in importlib.metadata.distributions(path=[site])
        }
        normal = {re.sub("[-_.]+", "-", name).lower(): found for name, found in files.items()}
        asked = {name: normal[name] for name in names if name in normal}
        # The files are read by a process of their own while this one imports.
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
            json.dump({**json.load(found_files), "problems": problems}, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
