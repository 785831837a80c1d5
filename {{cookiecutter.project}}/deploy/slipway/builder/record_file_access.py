"""Record which files of a source tree a back end reads while it builds a wheel.

This file is copied into a back end's virtualenv, and Python imports it when it starts. READS_OF
names the source tree. READS_TO names the file that receives the paths, each followed by a NUL.
MODULES_TO names one for the virtualenv's own files. Without these variables nothing is recorded.
The path `*` means that another program was started, which may have read any file. Files that are
not recorded can be edited without changing the wheel.

The source of information are Python's audit events (PEP 578).
"""

from __future__ import annotations

import os
import sys

# Programs that read no file of the tree: PyPy's platform module starts uname, poetry-core git.
READ_NOTHING = ("uname", "git")
STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system")


def listen(tree: str, output: str) -> None:
    """Add the audit hook, which stays as long as the process."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    tree = os.path.join(os.path.realpath(tree), "")
    seen = set()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in STARTS:
            if os.path.basename(str(arguments[0])) in READ_NOTHING:
                return
            line = "*"
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(tree):
                return
            line = path[len(tree) :]
        else:
            return
        if line not in seen:
            seen.add(line)
            os.write(descriptor, os.fsencode(line) + b"\0")

    sys.addaudithook(hook)


if os.environ.get("READS_TO"):
    listen(os.environ["READS_OF"], os.environ["READS_TO"])
if os.environ.get("MODULES_TO"):
    listen(sys.prefix, os.environ["MODULES_TO"])
