"""Look once more at the native dependencies, tidy up, and say what to type next."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

SAMPLE = """\
{project} is ready:
    cd {project} && make wheels image run
    make help"""
NEXT = {
    "hello": SAMPLE,
    "attachments": SAMPLE,
    "existing": """\
{project} is ready for an application (pyproject.toml, setup.py or requirements.in):
    put it into {project}, or copy deploy/ into its repository
    make wheels image run""",
}

if __name__ == "__main__":
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")

    # cruft does not tell pre_gen_project.py where the catalogue is; here it is at hand.
    check = [sys.executable, "-B", "deploy/native.py", "build", *answers["native_deps"].split()]
    if subprocess.run(check, stdout=subprocess.DEVNULL).returncode:
        sys.exit(1)

    # cookiecutter makes a directory before it knows whether any file goes into it: the sample's,
    # where no sample was asked for, are empty. Nothing else is removed, and never a file.
    package = f"src/{answers['__package']}"
    samples = (
        "src/blobfiles/migrations",
        "src/blobfiles",
        f"{package}/migrations",
        f"{package}/static",
    )
    for directory in (*samples, package, "src", "tests"):
        with contextlib.suppress(OSError):
            os.rmdir(directory)

    # Not on standard output: `cruft diff` generates the project too, and prints a patch there.
    print(NEXT[answers["app"]].format(**answers), file=sys.stderr)
