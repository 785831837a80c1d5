#!/usr/bin/env python3
"""Know what is done: which step must be done next, and what the last ones made.

    state.py next GOAL              print the first step up to GOAL that must be done, or nothing
    state.py plan GOAL…             print the same as step='…' goal='…', with what it takes and the
                                    settings, for a shell; let no other build of this project work
                                    beside this one
    state.py start STEP [BY]        STEP begins now: what is there at this moment goes into it
    state.py done STEP [BY GOAL…]   record that STEP was done; start the next and print it as plan
                                    does; BY is the image that makes wheels, `tools` or `builder`
    state.py get STEP KEY           print what was recorded of STEP
    state.py set STEP KEY=VALUE…    record something of STEP
    state.py lock                   print where the lock is
    state.py sources                print one digest over the application and its lock

A step is done when the content of all that went into it is what it was (a touched file or a branch
switched to and back rebuilds nothing) and when what it made is still there: images by their ID, the
wheelhouse's files by size and time. What goes into a step is looked at before it starts, so that an
edit made meanwhile counts as one made afterwards. Kept in .deploy/state.json, beside deploy/.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from platform import machine
from typing import Any

import engine
import lockfile
import native
import network
import pin
import settings as settings_module
from settings import DEPLOY, ROOT, die

# What each goal takes; `wheels` names the builder as well once something had to be compiled.
STEPS = {
    "base": ("base",),
    "tools": ("base", "tools"),
    "builder": ("base", "builder"),
    "wheels": ("base", "tools", "wheels"),
    "image": ("base", "tools", "wheels", "image"),
    "check": ("base", "tools", "wheels", "image", "check"),
}
STATE = ROOT / ".deploy" / "state.json"
# Processors whose name an image has otherwise than the kernel.
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def digest(*parts: object) -> str:
    """Give one SHA-256 over several values; files count by their content."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else json.dumps(part).encode()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


def source_files(application: Path) -> dict[str, list[str]]:
    """Give each of an application's files by its name: whether it is a program, and its SHA-256."""
    found = {}
    for name, path in lockfile.files_of(application):
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        found[name] = [str(os.access(path, os.X_OK)), hashlib.sha256(content).hexdigest()]
    return found


def source_digest(files: dict[str, list[str]], unread: Collection[str] = ()) -> str:
    """Give one SHA-256 over files; of those that the wheel is not made of the names alone count."""
    ignored = set(unread)
    return digest([[name, *([] if name in ignored else files[name])] for name in sorted(files)])


def lock_text() -> str:
    """Read the application's lock; empty when there is none."""
    lock = lockfile.lock_path(ROOT)
    return lockfile.read(lock) if lock.is_file() else ""


def sources() -> str:
    """Give one SHA-256 over the application and its lock."""
    return digest(lock_text(), source_digest(source_files(ROOT)))


class State:
    """What was made from what: one dictionary a step, written whole or not at all."""

    def __init__(self, path: Path = STATE) -> None:
        self.path = path
        self.steps: dict[str, dict[str, Any]] = {}
        # what cannot be understood is as good as not there: everything is looked at again
        with contextlib.suppress(FileNotFoundError, ValueError):
            read = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(read, dict) and all(isinstance(step, dict) for step in read.values()):
                self.steps = read

    def get(self, step: str, key: str) -> str:
        """Give what was recorded, or an empty text."""
        return str(self.steps.get(step, {}).get(key, ""))

    def record(self, step: str, **values: Any) -> None:
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
        self.pins = pin.read()
        project = settings["IMAGES"]
        self.image_of = {
            "base": f"{project}-base",
            "builder": f"{project}-builder",
            "tools": f"{project}-builder:tools",
            "image": f"{project}-run",
        }
        self.images = self._inspect()

    def _inspect(self) -> dict[str, dict[str, Any] | None]:
        name = self.settings["BASE_IMAGE"]
        names = {step: self.image_of[step] for step in ("base", "tools", "image")}
        if not pin.for_all(name, self.pins):
            names["from"] = name
        if self.compiles():
            names["builder"] = self.image_of["builder"]
        return self._look(names)

    def _look(self, names: dict[str, str]) -> dict[str, dict[str, Any] | None]:
        found = engine.inspect_images(self.settings["DOCKER"], list(names.values()))
        return dict(zip(names, found))

    @functools.cached_property
    def _files(self) -> dict[str, list[str]]:
        # recording a step and naming the next would read the application twice
        return source_files(ROOT)

    def _unread(self) -> list[str]:
        """Read which files the application's wheel is not made of; see wheels.py."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = json.loads((self.wheelhouse / "unread.json").read_text(encoding="utf-8"))
            if isinstance(found, list):
                return [name for name in found if isinstance(name, str)]
        return []

    def image_id(self, step: str) -> str:
        """Give the ID of the image that a step made, or an empty text."""
        if step == "builder" and step not in self.images:
            # where nothing has to be compiled there is none, which is dear to ask for
            self.images.update(self._look({step: self.image_of[step]}))
        return str((self.images.get(step) or {}).get("Id", ""))

    def inputs(self, step: str) -> dict[str, Any]:
        """Give all that goes into a step, as it is now."""
        words = self.settings["NATIVE"].split()
        if step == "base":
            wanted = [
                self.settings["BASE_IMAGE"],
                self.settings["PYTHON"],
                self.settings["PLATFORM"],
            ]
            files = ("base.docker", "apt.sh", "apt.conf", "bytecode.py")
            packages = native.packages(words, "run")
            return {"key": digest(self.base_as_pinned(), wanted, packages, *_here(*files))}
        if step in ("tools", "builder"):
            dockerfile = (DEPLOY / "build.docker").read_text(encoding="utf-8")
            copied = sorted(set(re.findall(r"[a-z]+\.(?:py|ini)\b", dockerfile)))
            files = ("base.docker", "build.docker", "apt.sh", "apt.conf", "builder.txt", *copied)
            packages = native.packages(words, "build") if step == "builder" else []
            made_from = self.image_id("base") if step == "builder" else self.inputs("base")["key"]
            return {"key": digest(made_from, packages, *_here(*files))}
        if step == "wheels":
            made_by = [self.image_id("tools"), native.packages(words, "build")]
            if self.compiles():
                made_by.append(self.image_id("builder"))
            where = self.settings["WHEELHOUSE"]
            version = self.settings.get("SCM_VERSION")
            made_by += [version] if version else []
            named = self.settings["FILES"]
            made_by += [named, self.settings["PROJECT"]] if named else []
            return {"key": digest(made_by, where, lock_text()), "files": self._files}
        if step == "check":
            # a changed line of an application of pure Python asks for no other library
            pure = all(path.name.endswith("-any.whl") for path in self.wheelhouse.glob("app/*.whl"))
            listed = self.listings()[: 1 if pure else 2]
            mine = ("check.py", "elf.py", "linked.py", "loads.py", "imports.py")
            return {"key": digest(self.image_id("base"), listed, *_here(*mine))}
        wanted = [
            self.settings[name] for name in ("COMMAND", "COMMANDS", "IMAGE_PORT", "HEALTH", "TAG")
        ]
        modules = ("slim", "install", "unpack", "bytecode", "lockfile", "store", "tools")
        these = ["run.docker", "healthcheck.py", *(f"{module}.py" for module in modules)]
        return {"key": digest(self.image_id("base"), wanted, self.listings(), *_here(*these))}

    def key_of(self, inputs: dict[str, Any]) -> str:
        """Give one digest over a step's inputs; what the wheel is not made of is known by now."""
        files = inputs.get("files")
        return digest(inputs["key"], source_digest(files, self._unread()) if files else "")

    def base_as_pinned(self) -> str:
        """Name what everything starts from: the pin, and an imported image by what it is."""
        found = self.pinned()
        if found and found.platform == pin.ANY:
            return f"{found.pin} {found.date}"
        return f"{self.image_id('from')} {found.date if found else ''}"

    def pinned(self) -> pin.Pin | None:
        """Give the pin of the base image, when it has one."""
        name = self.settings["BASE_IMAGE"]
        return pin.for_all(name, self.pins) or pin.for_one(name, self.images.get("from"), self.pins)

    def has_what_is_pinned(self) -> bool:
        """Say whether what everything starts from is here, so that pin.py need not be asked."""
        found, image = self.pinned(), self.images.get("from")
        wanted = self.settings["PLATFORM"] or f"linux/{MACHINES.get(machine(), machine())}"
        return bool(found and image and pin.fits(image, wanted) and pin.id_of(image) == found.pin)

    def environment(self) -> str:
        """Write the base image's environment as a dockerfile has it; empty when there is no image.

        The run image's own layers begin from nothing, so that it would have none of it.
        """
        image = self.images.get("base") or {}
        pairs = (entry.split("=", 1) for entry in image.get("Config", {}).get("Env") or [])
        quoted = ((name, re.sub(r'(["\\$])', r"\\\1", value)) for name, value in pairs)
        return "\n".join(f'ENV {name}="{value}"' for name, value in quoted)

    def listings(self) -> list[str]:
        """Read the wheelhouse's own lists of wheels; empty ones when it is not there."""
        found = []
        for part in ("deps", "app"):
            path = self.wheelhouse / part / "requirements.txt"
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            found.append("\n".join(line for line in lines if not line.startswith("#")))
        return found

    def wheels(self) -> dict[str, list[int]]:
        """Give the size and time of all files in the wheelhouse, by which a change is seen."""
        found = {}
        for part in ("deps", "app"):
            for path in (self.wheelhouse / part).glob("*"):
                status = path.stat()
                found[f"{part}/{path.name}"] = [status.st_size, status.st_mtime_ns]
        return found

    def is_done(self, step: str) -> bool:
        """Say whether a step's result is there and made from what is there now."""
        recorded = self.state.steps.get(step)
        if not recorded or recorded.get("key") != self.key_of(self.inputs(step)):
            return False
        if step == "wheels":
            return bool(recorded.get("wheels")) and recorded["wheels"] == self.wheels()
        if step == "check":
            return True
        if step == "builder" and not self.is_done("tools"):
            return False
        return bool(self.image_id(step)) and recorded.get("image") == self.image_id(step)

    def first(self, goals: Sequence[str]) -> tuple[str, str]:
        """Name the first step up to any of goals that must be done, and that goal; else nothing."""
        for goal in goals:
            step = self.next(goal)
            if step:
                return step, goal
        return "", ""

    def next(self, goal: str) -> str:
        """Name the first step up to goal that must be done; empty when all are."""
        return next((step for step in self.steps_to(goal) if not self.is_done(step)), "")

    def steps_to(self, goal: str) -> list[str]:
        """Name all steps up to goal; making the image has it checked, unless that is turned off."""
        steps = list(STEPS[goal])
        if goal == "image" and self.settings["CHECK_IMAGE"] == "yes":
            steps.append("check")
        if "wheels" in steps and self.compiles():
            steps.insert(steps.index("wheels"), "builder")
        return steps

    def compiles(self) -> bool:
        """Say whether the last wheels were made by the builder, compiler and all."""
        return self.state.get("wheels", "by") == "builder"


def _here(*names: str) -> list[Path]:
    return [DEPLOY / name for name in names]


def alone() -> bool:
    """Hold the project's lock, for as long as the shell that calls this has its DEPLOY_LOCK open.

    False says that another build had it, and may have changed anything.
    """
    descriptor = int(os.environ.get("DEPLOY_LOCK") or -1)
    if descriptor < 0:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another make is at work in this project; waiting for it", file=sys.stderr)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return False
    return True


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; gives the exit status."""
    try:
        do(*arguments)
    except (engine.EngineError, native.UnknownName, pin.PinError, ValueError, OSError) as problem:
        die(str(problem))
    return 0


def do(job: str, step: str = "", *rest: str) -> None:
    """Do one job."""
    if job == "lock":
        print(lockfile.lock_path(ROOT))
    elif job == "sources":
        print(sources())
    elif job == "get":
        print(State(STATE).get(step, rest[0]))
    elif job == "set":
        State(STATE).record(step, **dict(value.split("=", 1) for value in rest))
    else:
        needed = ["PYTHON", "COMMAND"] if {step, *rest} & {"image", "check"} else ["PYTHON"]
        settings = settings_module.load(*(needed if job == "plan" else ()))
        steps = Steps(settings, State(STATE))
        if job == "plan":
            steps.state.steps.pop("started", None)  # of a build that was cut off
            goals = (step, *rest)
            found, goal = steps.first(goals)
            if found and not alone():
                steps = Steps(settings, State(STATE))
                found, goal = steps.first(goals)
            start(steps, found)
            pinned = steps.pinned()
            print(
                settings_module.exports({**settings, **told(steps, found, goal, goals)}),
                pin.exports(pinned) if pinned else "",
                sep="\n",
            )
        elif job == "next":
            print(steps.next(step))
        elif job == "start":
            if step == "wheels" and rest == ("builder",) and not steps.compiles():
                steps.state.record("wheels", by="builder")
            start(steps, step)
        else:
            finish(steps, step, *rest[:1])
            if len(rest) > 1:
                # what was edited meanwhile is seen the next time
                more = [each for each in rest[1:] if steps.steps_to(each)[-1] != step]
                found, goal = steps.first(more)
                start(steps, found)
                print(settings_module.assignments(told(steps, found, goal, more)))


def told(steps: Steps, step: str, goal: str, goals: Sequence[str]) -> dict[str, str]:
    """Give what build.sh hears of the step that it has to do next, on the way to goals."""
    found = {
        "step": step,
        "goal": goal,
        "by": "builder" if steps.compiles() else "tools",
        "base_environment": steps.environment(),
    }
    if step in ("base", "tools", "builder"):
        words = steps.settings["NATIVE"].split()
        found["run_packages"] = " ".join(native.packages(words, "run"))
        found["build_packages"] = " ".join(native.packages(words, "build"))
        found["PIP_CONF"] = network.pip_conf(os.environ)
        found["is_pinned"] = "yes" if steps.has_what_is_pinned() else ""
        take_tools = any(each == "builder" or "tools" in STEPS[each] for each in goals)
        found["tools_too"] = "yes" if take_tools and not steps.is_done("tools") else ""
    return found


def start(steps: Steps, step: str) -> None:
    """Keep what goes into a step that begins now."""
    if step:
        begun = steps.state.steps.get("started", {})
        steps.state.record("started", **{**begun, step: steps.inputs(step)})


def finish(steps: Steps, step: str, by: str = "") -> None:
    """Record a step as made from what was there when it began."""
    started = steps.state.steps.get("started", {}).pop(step, None)
    if started is None:
        raise ValueError(f"{step} was not started: run this again")
    if step == "wheels":
        made = {"wheels": steps.wheels(), "by": by}
    elif step == "check":
        made = {}
    else:
        made = {"image": steps.image_id(step)}
    steps.state.record(step, key=steps.key_of(started), **made)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
