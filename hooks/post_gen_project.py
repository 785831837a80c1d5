"""Look once more at the native dependencies, tidy up, and say what to type next."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

SAMPLE = """\
{project} is ready:
    cd {project} && make wheels image run
    make help"""
NEXT = {
    "hello": SAMPLE,
    "attachments": SAMPLE,
    "existing": """\
{project} is ready for an application (pyproject.toml, setup.py, requirements.in or plain files):
    put it into {project}, or copy deploy/ into its repository
    make adopt""",
}

INCLUDE = "include deploy/deploy.mk"


def earlier() -> dict[str, str]:
    """Give what was there before, as pre_gen_project.py has noted; nothing of a new directory."""
    note = Path(".generated-into.json")
    found: dict[str, str] = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    note.unlink(missing_ok=True)
    return found


def became(before: dict[str, str], generated: set[str]) -> str:
    """Say which files that were there are replaced, and which of the template's were kept."""
    files = {name: sum_ for name, sum_ in before.items() if sum_}
    now = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in files}
    replaced = sorted(name for name in files if now[name] != files[name])
    kept = sorted(name for name in files if now[name] == files[name] and name in generated)
    lines = [f"replaced: {name}" for name in replaced] + [f"as it was: {name}" for name in kept]
    makefile = Path("Makefile")
    text = makefile.read_text(encoding="utf-8", errors="replace") if makefile.is_file() else ""
    if files and INCLUDE not in text:
        lines.append(f"add this line to your Makefile: {INCLUDE}")
    return "\n".join(lines)


if __name__ == "__main__":
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")

    # cruft does not tell pre_gen_project.py where the catalogue is; here it is at hand.
    module = ("-B", "-m", "slipway.shared.native.catalogue", "build")
    check = [sys.executable, *module, *answers["native_deps"].split()]
    if subprocess.run(check, cwd="deploy", stdout=subprocess.DEVNULL).returncode:
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
    before = earlier()
    for directory in (*samples, package, "src", "tests"):
        with contextlib.suppress(OSError):
            if directory not in before:
                os.rmdir(directory)
    if before:
        deploy = {path.as_posix() for path in Path("deploy").rglob("*")}
        said = became(before, {*deploy, "Makefile", "README.md", "pyproject.toml"})
        print(said or "nothing that was there is replaced", file=sys.stderr)

    # Not on standard output: `cruft diff` generates the project too, and prints a patch there.
    print(NEXT[answers["app"]].format(**answers), file=sys.stderr)
