#!/usr/bin/env python3
"""Know what is done: which step must be done next, and what the last ones made.

    state.py next GOAL              print the first step up to GOAL that must be done, or nothing
    state.py plan GOAL              print the same as step='…', with the settings, for a shell
    state.py done STEP [GOAL]       record that STEP was done just now; with GOAL, print the next
    state.py get STEP KEY           print what was recorded of STEP
    state.py set STEP KEY=VALUE…    record something of STEP
    state.py lock                   print where the lock is
    state.py sources                print one digest over the application and its lock

A step is done when the content of all that goes into it is what it was (no times are compared, so
a touched file or a branch switched to and back rebuilds nothing) and when what it made is still
there. Kept in .deploy/state.json beside the application.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import engine
import lockfile
import native
import settings as settings_module
from settings import DEPLOY, ROOT, die

STEPS = ("base", "builder", "wheels", "image")
STATE = ROOT / ".deploy" / "state.json"


def digest(*parts: object) -> str:
    """Give one SHA-256 over several values; files count by their content."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else json.dumps(part).encode()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


def source_digest(application: Path) -> str:
    """Give one SHA-256 over the names, modes and contents of the application's files."""
    total = hashlib.sha256()
    for folder, folders, files in os.walk(application):
        left_out = lockfile.not_source(application, Path(folder), (*folders, *files))
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted({*folders} - left_out)
        for name in sorted({*files, *linked} - left_out):
            path = Path(folder, name)
            content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
            relative = path.relative_to(application).as_posix()
            executable = os.access(path, os.X_OK)
            total.update(os.fsencode(f"{relative}\0{executable}\0"))
            total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def sources() -> str:
    """Give one SHA-256 over the application and its lock."""
    lock = lockfile.lock_path(ROOT)
    return digest(lockfile.read(lock) if lock.is_file() else "", source_digest(ROOT))


class State:
    """What was made from what: one dictionary a step, written whole or not at all."""

    def __init__(self, path: Path = STATE) -> None:
        self.path = path
        self.steps: dict[str, dict[str, str]] = {}
        # what cannot be understood is as good as not there: everything is looked at again
        with contextlib.suppress(FileNotFoundError, ValueError):
            read = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(read, dict) and all(isinstance(step, dict) for step in read.values()):
                self.steps = read

    def get(self, step: str, key: str) -> str:
        """Give what was recorded, or an empty text."""
        return self.steps.get(step, {}).get(key, "")

    def record(self, step: str, **values: str) -> None:
        """Record what a step made."""
        self.steps[step] = values
        folder = self.path.parent
        folder.mkdir(exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# made by make; `make clean` removes it\n*\n", encoding="utf-8")
        new = folder / f".state.{os.getpid()}"
        new.write_text(json.dumps(self.steps, indent=1) + "\n", encoding="utf-8")
        new.replace(self.path)


class Steps:
    """The steps of a build: what each is made from, and whether that is done."""

    def __init__(self, settings: dict[str, str], state: State) -> None:
        self.settings = settings
        self.state = state
        self.wheelhouse = ROOT / settings["WHEELHOUSE"]
        project = settings["PROJECT"]
        self.image_of = {
            "base": f"{project}-base",
            "builder": f"{project}-builder",
            "image": f"{project}-run",
        }
        self.images = self._inspect()

    @functools.cached_property
    def _sources(self) -> str:
        # recording a step and naming the next would read the application twice
        return sources()

    def _inspect(self) -> dict[str, dict[str, Any] | None]:
        names = [self.settings["BASE_IMAGE"], *self.image_of.values()]
        found = engine.inspect_images(self.settings["DOCKER"], names)
        return dict(zip(("from", *self.image_of), found))

    def image_id(self, step: str) -> str:
        """Give the ID of the image that a step made, or an empty text."""
        return str((self.images[step] or {}).get("Id", ""))

    def key(self, step: str) -> str:
        """Give one digest over all that goes into a step."""
        names = self.settings["NATIVE"].split()
        if step == "base":
            files = [DEPLOY / name for name in ("base.docker", "apt.sh", "apt.conf")]
            wanted = [self.settings["PYTHON"], self.settings["PLATFORM"]]
            return digest(self.image_id("from"), wanted, native.packages(names, "run"), *files)
        if step == "builder":
            copied = re.findall(
                r"[a-z]+\.py", (DEPLOY / "build.docker").read_text(encoding="utf-8")
            )
            files = [
                DEPLOY / name
                for name in ("build.docker", "apt.sh", "apt.conf", "builder.txt", *copied)
            ]
            return digest(self.image_id("base"), native.packages(names, "build"), *files)
        if step == "wheels":
            return digest(self.image_id("builder"), self.settings["WHEELHOUSE"], self._sources)
        wanted = [self.settings[name] for name in ("COMMAND", "IMAGE_PORT", "HEALTH", "TAG")]
        return digest(
            self.image_id("base"),
            wanted,
            self.listings(),
            DEPLOY / "run.docker",
            DEPLOY / "install.py",
            DEPLOY / "healthcheck.py",
        )

    def listings(self) -> list[str]:
        """Read the wheelhouse's own lists of wheels; empty ones when it is not there."""
        paths = [self.wheelhouse / part / "requirements.txt" for part in ("deps", "app")]
        return [path.read_text(encoding="utf-8") if path.is_file() else "" for path in paths]

    def is_done(self, step: str) -> bool:
        """Say whether a step's result is there and made from what is there now."""
        recorded = self.state.steps.get(step)
        if not recorded or recorded.get("key") != self.key(step):
            return False
        if step == "wheels":
            return self._wheels_are_there()
        return bool(self.image_id(step)) and recorded.get("image") == self.image_id(step)

    def _wheels_are_there(self) -> bool:
        for part, listing in zip(("deps", "app"), self.listings()):
            if not listing:
                return False
            # names and number only: sums are checked when the image is made
            named = [line for line in listing.splitlines() if not line.startswith("#")]
            if len(list((self.wheelhouse / part).glob("*.whl"))) != len(named):
                return False
        return True

    def next(self, goal: str) -> str:
        """Name the first step up to goal that must be done; empty when all are."""
        for step in STEPS[: STEPS.index(goal) + 1]:
            if not self.is_done(step):
                return step
        return ""


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; gives the exit status."""
    try:
        do(*arguments)
    except (engine.EngineError, native.UnknownName, ValueError, OSError) as problem:
        die(str(problem))
    return 0


def do(job: str, step: str = "", *rest: str) -> None:
    """Do one job."""
    if job == "lock":
        print(lockfile.lock_path(ROOT))
        return
    if job == "sources":
        print(sources())
        return
    state = State(STATE)
    if job == "get":
        print(state.get(step, rest[0]))
    elif job == "set":
        state.record(step, **dict(value.split("=", 1) for value in rest))
    else:
        settings = settings_module.load()
        steps = Steps(settings, state)
        if job == "next":
            print(steps.next(step))
        elif job == "plan":
            print(settings_module.exports({**settings, "step": steps.next(step)}))
        else:
            image = {"image": steps.image_id(step)} if step != "wheels" else {}
            state.record(step, key=steps.key(step), **image)
            if rest:
                print(steps.next(rest[0]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
