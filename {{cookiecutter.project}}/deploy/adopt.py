#!/usr/bin/env python3
"""Read from a repository what the settings need: make adopt.

It shows a table of what is set and what was found where, and writes that to settings.mk when it is
told to: by a y at the terminal, or YES=1. What is typed on make's command line counts as found.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import edit
import findings
import lockfile
import settings as settings_module
from findings import Finding, Repository
from settings import DEPLOY, ROOT, die

SETTINGS = DEPLOY / "settings.mk"
WRITTEN = ("PROJECT", "FILES", "COMMAND", "PORT", "PYTHON", "NATIVE")
# What python3 and pypy3 are in Debian's releases.
VERSIONS = {
    "bullseye": {"python3": (3, 9), "pypy3": (3, 7)},
    "bookworm": {"python3": (3, 11), "pypy3": (3, 9)},
    "trixie": {"python3": (3, 13), "pypy3": (3, 11)},
}


def found_in(repository: Repository, settings: dict[str, str]) -> tuple[list[Finding], list[str]]:
    """Give the best finding of each setting, and what else there is to say."""
    typed = set(os.environ.get("DEPLOY_OVERRIDES", "").split())
    chosen = [Finding(name, settings[name], "as typed") for name in WRITTEN if name in typed]
    taken = {each.setting for each in chosen}
    said: list[str] = []
    # CPython runs every package, so an application that names no interpreter gets it.
    usual = None if settings["PYTHON"] else Finding("PYTHON", "python3", "no file names another")
    candidates = {
        "PROJECT": findings.first(repository.names()),
        "FILES": None if settings["FILES"] else repository.files(),
        "PORT": findings.first(repository.ports()),
        "PYTHON": findings.first(repository.interpreters()) or usual,
        "NATIVE": findings.first(repository.libraries(settings["NATIVE"])),
    }
    chosen += [each for name, each in candidates.items() if each and name not in taken]
    if "COMMAND" not in taken:
        port = next((each.value for each in chosen if each.setting == "PORT"), settings["PORT"])
        files = next((each.value for each in chosen if each.setting == "FILES"), settings["FILES"])
        command = command_of(repository, port, files.split(), said)
        chosen += [command] if command else []
    good = []
    for each in chosen:
        try:
            settings_module.check(each.setting, each.value, each.where)
            good.append(each)
        except settings_module.SettingsError as problem:
            said.append(str(problem))
    return sorted(good, key=lambda each: WRITTEN.index(each.setting)), said


def command_of(
    repository: Repository, port: str, files: list[str], said: list[str]
) -> Finding | None:
    """Choose what starts the application; what hinders that is added to said."""
    started = [
        each._replace(value=findings.as_command(each.value, port)) for each in repository.started()
    ]
    for each in started:
        program = each.value.split(" ")[0]
        fits = re.fullmatch(settings_module.RULES["COMMAND"][0], each.value)
        if (
            fits
            and not re.search(r"\.(sh|py)(?![\w.])", each.value if program == "sh" else program)
            and (program != "sh" or each.value.startswith("sh -c "))
            and program not in ("bash", "uv", "poetry", "pdm", "pipenv", "hatch", "npm")
        ):
            started_file = each.value.split(" ")[1:2]
            if program.startswith("python") and started_file not in ([], ["-m"]):
                if started_file[0].removeprefix("./").split("/")[0] in files:
                    return each
                said.append(
                    f"{each.where} starts a file, `{each.value}`, which nothing installs: name it"
                    " in FILES, or give it a console script, or COMMAND := python -m MODULE"
                )
                continue
            return each
    scripts = repository.scripts()
    names = {each.value for each in repository.names()}
    named = [each for each in scripts if findings.image_name(each.value) in names]
    if len(scripts) == 1 or named:
        return (named or scripts)[0]
    if scripts:
        listed = ", ".join(each.value for each in scripts)
        said.append(f"there are several console scripts: choose by COMMAND=…, of {listed}")
    elif (repository.folder / "manage.py").is_file():
        wsgi = next(repository.folder.glob("*/wsgi.py"), None)
        module = f"{wsgi.parent.name}.wsgi" if wsgi else "PROJECT.wsgi"
        said.append(
            "manage.py is Django's: add gunicorn to what is required, and try"
            f" COMMAND='gunicorn --bind 0.0.0.0:{port} {module}'"
        )
    return None


def notes(repository: Repository, settings: dict[str, str]) -> Iterator[str]:
    """Say what fits together, and what does not."""
    wanted = repository.requires_python()
    release = re.search(r"|".join(VERSIONS), settings["BASE_IMAGE"])
    if wanted and release:
        version = VERSIONS[release.group()].get(settings["PYTHON"])
        if version and not findings.allows(wanted.value, version):
            fitting = [
                f"{name} on {each}"
                for each, there in VERSIONS.items()
                for name, other in there.items()
                if findings.allows(wanted.value, other)
            ]
            use = f": use {' or '.join(fitting)}" if fitting else ""
            yield (
                f"{wanted.where} asks for Python {wanted.value}, and {settings['PYTHON']} of"
                f" {release.group()} is {version[0]}.{version[1]}{use}"
            )
    yield from lock_notes(repository)


def lock_notes(repository: Repository) -> Iterator[str]:
    """Say what the lock will be, and what it begins with."""
    path = lockfile.lock_path(repository.folder)
    if path.name == "requirements.lock":
        yield (
            "requirements.txt has no hashes: it is what is asked for and stays as it is; its lock"
            " is requirements.lock"
        )
    elif path.is_file() and lockfile.locked_for(lockfile.read(path)) is None:
        yield f"{path.name} is a lock of another tool's: it is used as it is, until make lock"
    other = repository.other_lock()
    if other:
        yield f"{other.name} has {len(other.pins)} pins: make lock begins with them"


def table(found: list[Finding], present: dict[str, str]) -> str:
    """Show what is set and what was found where."""
    rows = [("setting", "present", "found", "where")]
    rows += [(each.setting, present[each.setting], each.value, each.where) for each in found]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0))).rstrip()
        for row in rows
    )


def is_told(changes: list[Finding]) -> bool:
    """Ask whether to write; without a terminal YES=1 says so."""
    typed = os.environ.get("DEPLOY_OVERRIDES")
    if os.environ.get("YES") and (typed is None or "YES" in typed.split()):
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    names = ", ".join(each.setting for each in changes)
    try:
        return input(f"write {names} to deploy/settings.mk? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def main() -> int:
    """Do what the module's docstring says; gives the exit status."""
    written = settings_module.load()
    # what the file says, whatever was typed
    text = SETTINGS.read_text(encoding="utf-8-sig")
    in_file = settings_module.parse(text, dict(os.environ))
    present = {name: in_file.get(name, (settings_module.DEFAULTS[name], 0))[0] for name in WRITTEN}
    repository = Repository(ROOT)
    try:
        found, said = found_in(repository, written)
        changed = {**written, **{each.setting: each.value for each in found}}
        said += list(notes(repository, changed))
    except (OSError, ValueError) as problem:
        die(str(problem))
    print(table(found, present))
    for sentence in (*repository.said, *said):
        print(f"adopt.py: {sentence}")
    changes = [each for each in found if each.value != present[each.setting]]
    if not changes:
        print("adopt.py: deploy/settings.mk says so already: make wheels image run")
    elif is_told(changes):
        for each in changes:
            text = edit.with_value(text, each.setting, each.value)
        edit.write(SETTINGS, text)
        print("adopt.py: wrote that to deploy/settings.mk: make wheels image run")
    else:
        print("adopt.py: nothing is written; to write that: make adopt YES=1")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (KeyboardInterrupt, subprocess.SubprocessError):
        raise SystemExit(1) from None
