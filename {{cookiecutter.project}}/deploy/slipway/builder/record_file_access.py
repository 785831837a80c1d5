"""Write down which files of a source tree a back end reads while it builds a wheel.

Lies in a back end's virtualenv, which imports it when Python starts. READS_OF is the tree and
READS_TO the file that gets each path, ended by a NUL; without them it does nothing. A path `*` says
that another program was started, which may have read anything. What is not named here can be edited
without another wheel coming out (PEP 578's audit events are what it listens to).
"""

from __future__ import annotations

import os
import sys

# PyPy's platform module starts uname; poetry-core asks git, whose folder is not in the tree.
READ_NOTHING = ("uname", "git")
STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system")


def listen(tree: str, output: str) -> None:
    """Add the audit hook; it can not be taken away again, and ends with the process."""
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
