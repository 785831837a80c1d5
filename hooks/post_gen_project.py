"""Move the chosen application into place, report what changed, and print what to type next."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

APPS = Path("slipway-apps")
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


def files_of(app: str, package: str) -> dict[Path, Path]:
    """Return where each file of an application belongs in the project."""
    chosen = APPS / app
    names = [path.relative_to(chosen) for path in sorted(chosen.rglob("*")) if path.is_file()]
    # hello is the start of its owner's application, so its package has the project's name.
    return {
        chosen / name: Path(*(package if part == "hello" else part for part in name.parts))
        for name in names
    }


def move(files: dict[Path, Path]) -> None:
    """Put all files into place, or none: they are copied first, and renamed once all are copied."""
    copies = {target.with_name(f".{target.name}.new"): source for source, target in files.items()}
    try:
        for copy, source in copies.items():
            if files[source].is_dir():
                raise IsADirectoryError(f"{files[source]} is a directory")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    except OSError:
        for copy in copies:
            with contextlib.suppress(OSError):
                copy.unlink()
        raise
    for copy, source in copies.items():
        copy.replace(files[source])


def changes(before: dict[str, str], generated: set[str]) -> list[str]:
    """Return a line for each file that was replaced, removed or kept, and what remains to do."""
    files = {name: checksum for name, checksum in before.items() if checksum}
    now = {
        name: hashlib.sha256(Path(name).read_bytes()).hexdigest() if Path(name).is_file() else None
        for name in files
    }
    lines = [f"removed: {name}" for name in sorted(files) if now[name] is None]
    lines += [f"replaced: {name}" for name in sorted(files) if now[name] not in (None, files[name])]
    changed = bool(lines)
    lines += [f"kept: {name}" for name in sorted(generated) if now.get(name) == files.get(name, "")]
    if not changed:
        lines.append("no existing files were changed")
    makefile = Path("Makefile")
    text = makefile.read_text(encoding="utf-8", errors="replace") if makefile.is_file() else ""
    if INCLUDE not in text:
        lines.append(f"add this line to your Makefile: {INCLUDE}")
    return lines


def main(answers: dict[str, str]) -> None:
    """Finish a project, or leave the user's own files as they are and exit."""
    note = APPS / ".before.json"  # of a directory that was not empty
    before: dict[str, str] = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    # cookiecutter replaces the file of pre_gen_project.py unless it keeps existing files.
    keep = (APPS / ".existing-files").read_text(encoding="utf-8") == "keep\n"

    # cruft does not tell pre_gen_project.py where the catalogue is; here it is known.
    module = ("-B", "-m", "slipway.shared.native.catalogue", "build")
    check = [sys.executable, *module, *answers["native_deps"].split()]
    if subprocess.run(check, cwd="deploy", stdout=subprocess.DEVNULL).returncode:
        sys.exit(1)

    files = files_of(answers["app"], answers["__package"])
    # lexists: a link that leads nowhere is the user's as well
    move({s: target for s, target in files.items() if not (keep and os.path.lexists(target))})
    if before:
        names = {
            "deploy/settings.mk",
            "README.md",
            ".gitignore",
            *map(Path.as_posix, files.values()),
        }
        print(*changes(before, names), sep="\n", file=sys.stderr)
    # Not on standard output: `cruft diff` generates the project too, and prints a patch there.
    print(NEXT[answers["app"]].format(**answers), file=sys.stderr)


if __name__ == "__main__":
    try:
        main(json.loads(r"""{{ cookiecutter | tojson }}"""))
    except OSError as problem:
        sys.exit(
            f"cannot move the application into place, so none of its files is there: {problem}"
        )
    finally:
        shutil.rmtree(APPS, ignore_errors=True)
