"""Read from a repository what the settings need, and write it to settings.mk: make adopt.

A table shows the present values and what was found where. It is written after a `y` at the
terminal, or with YES=1. Variables on make's command line take precedence over what was found.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence

from slipway.laptop import console
from slipway.laptop.adopt import repository as findings
from slipway.laptop.adopt.repository import Finding, Repository
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.laptop.settings import edit, make_syntax, rules
from slipway.laptop.settings.load import load
from slipway.shared import lockfile

SETTINGS = DEPLOY / "settings.mk"
WRITTEN = ("PROJECT", "FILES", "COMMAND", "PORT", "PYTHON", "NATIVE")
# The versions of python3 and pypy3 in Debian's releases.
VERSIONS = {
    "bullseye": {"python3": (3, 9), "pypy3": (3, 7)},
    "bookworm": {"python3": (3, 11), "pypy3": (3, 9)},
    "trixie": {"python3": (3, 13), "pypy3": (3, 11)},
}


def run(command: str, arguments: Sequence[str]) -> int:
    """Show what was found, and write it if the user agrees; return the exit status."""
    settings = load()
    # The table shows the values in the file, whatever was given on the command line.
    text = SETTINGS.read_text(encoding="utf-8-sig")
    in_file = make_syntax.parse(text, dict(os.environ))
    present = {name: in_file.get(name, (rules.DEFAULTS[name], 0))[0] for name in WRITTEN}
    repository = Repository(ROOT)
    found, sentences = found_in(repository, settings)
    sentences += notes(repository, {**settings, **{each.setting: each.value for each in found}})
    print(table(found, present))
    for sentence in (*repository.notes, *sentences):
        console.say(sentence)
    changes = [each for each in found if each.value != present[each.setting]]
    if not changes:
        console.say("deploy/settings.mk has these values already: run make wheels image run")
    elif not settings["DRY_RUN"] and may_write(changes):
        for each in changes:
            text = edit.with_value(text, each.setting, each.value)
        edit.write(SETTINGS, text)
        console.say("wrote these values to deploy/settings.mk: run make wheels image run")
    else:
        console.say("nothing was written; to write these values: make adopt YES=1")
    return 0


def found_in(repository: Repository, settings: dict[str, str]) -> tuple[list[Finding], list[str]]:
    """Return the best finding of each setting, and sentences for the owner."""
    given = set(os.environ.get("DEPLOY_OVERRIDES", "").split())
    chosen = [Finding(name, settings[name], "command line") for name in WRITTEN if name in given]
    taken = {each.setting for each in chosen}
    sentences: list[str] = []
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
        changed = {**settings, "PORT": port, "FILES": files}
        command = command_of(repository, changed, sentences)
        chosen += [command] if command else []
    good = []
    for each in chosen:
        try:
            rules.check(each.setting, each.value, each.where)
            good.append(each)
        except console.SettingsError as problem:
            sentences.append(str(problem))
    return sorted(good, key=lambda each: WRITTEN.index(each.setting)), sentences


def command_of(
    repository: Repository, settings: dict[str, str], sentences: list[str]
) -> Finding | None:
    """Return the command that starts the application; problems are added to sentences."""
    port, files = settings["PORT"], settings["FILES"].split()
    started = [
        each._replace(value=findings.as_command(each.value, port)) for each in repository.started()
    ]
    for each in started:
        program = each.value.split(" ")[0]
        fits = rules.accepts("COMMAND", each.value)
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
                sentences.append(
                    f"{each.where} starts a file, `{each.value}`, which nothing installs: add it"
                    " to FILES, or define a console script, or set COMMAND := python -m MODULE"
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
        sentences.append(f"there are several console scripts: choose one by COMMAND=…: {listed}")
    elif (repository.folder / "manage.py").is_file():
        wsgi = next(repository.folder.glob("*/wsgi.py"), None)
        module = f"{wsgi.parent.name}.wsgi" if wsgi else "PROJECT.wsgi"
        sentences.append(
            "this is a Django project: add gunicorn to its requirements, and try"
            f" COMMAND='gunicorn --bind 0.0.0.0:{port} {module}'"
        )
    elif not settings["COMMAND"]:
        sentences.append("no file names the command that starts the application: set COMMAND")
    return None


def notes(repository: Repository, settings: dict[str, str]) -> Iterator[str]:
    """Return sentences about versions and locks that do not match."""
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
                f"{wanted.where} requires Python {wanted.value}, but {settings['PYTHON']} in"
                f" {release.group()} is {version[0]}.{version[1]}{use}"
            )
    yield from lock_notes(repository)


def lock_notes(repository: Repository) -> Iterator[str]:
    """Return sentences about the lock that will be used, and what it starts from."""
    path = lockfile.lock_path(repository.folder)
    if path.name == "requirements.lock":
        yield (
            "requirements.txt has no hashes: it is read as the list of requirements and stays"
            " unchanged; its lock is requirements.lock"
        )
    elif path.is_file() and lockfile.locked_for(lockfile.read(path)) is None:
        yield f"{path.name} was made by another tool: it is used unchanged until you run make lock"
    other = repository.other_lock()
    if other:
        yield f"{other.name} has {len(other.pins)} pins: make lock starts from them"


def table(found: list[Finding], present: dict[str, str]) -> str:
    """Return a table of the present values and of what was found where."""
    rows = [("setting", "present", "found", "where")]
    rows += [(each.setting, present[each.setting], each.value, each.where) for each in found]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0))).rstrip()
        for row in rows
    )


def may_write(changes: list[Finding]) -> bool:
    """Return whether the user agrees to write: by YES=1, or at the terminal."""
    given = os.environ.get("DEPLOY_OVERRIDES")
    if os.environ.get("YES") and (given is None or "YES" in given.split()):
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    names = ", ".join(each.setting for each in changes)
    try:
        return input(f"write {names} to deploy/settings.mk? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
