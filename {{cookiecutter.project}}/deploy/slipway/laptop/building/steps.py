"""Which steps of a build are out of date: the content of their inputs decides, never a time.

A step is done if its inputs have not changed and if its result is still there: images by their ID,
wheels by size and time. A touched file rebuilds nothing. Neither does a branch that was left and
returned to. The inputs are read before a step starts, so that an edit during the step counts as one
made afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from platform import machine
from typing import Any

from slipway.laptop.building import base_image_pin
from slipway.laptop.building.record import Record
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY, ROOT
from slipway.shared import lockfile
from slipway.shared.native import catalogue

# The steps to each goal; `wheels` needs the builder as well once something had to be compiled.
STEPS = {
    "base": ("base",),
    "tools": ("base", "tools"),
    "builder": ("base", "builder"),
    "wheels": ("base", "tools", "wheels"),
    "image": ("base", "tools", "wheels", "image"),
    "check": ("base", "tools", "wheels", "image", "check"),
}
# Files and folders below deploy/ that each step is made of: what its dockerfile copies. A folder
# counts as a whole.
OF_BASE = ("base.docker", "slipway/image/base")
OF_TOOLS = (
    *("base.docker", "build.docker", "slipway/__init__.py", "slipway/builder"),
    *("slipway/image/__init__.py", "slipway/image/base", "slipway/image/run"),
    *("slipway/shared", "slipway/vendor"),
)
# The wheels are installed by the tools' copy of image/run, which uses image/base.
OF_IMAGE = ("run.docker", "slipway/image/base", "slipway/image/run", "slipway/shared")
OF_CHECK = ("slipway/image/check", "slipway/laptop/building/image_check.py")
# Processors whose name in an image is not the kernel's.
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def digest(*parts: object) -> str:
    """Return one SHA-256 over several values that JSON can write."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(json.dumps(part).encode()).digest())
    return total.hexdigest()


def machinery(names: Sequence[str]) -> list[list[str]]:
    """Return name and SHA-256 of files below deploy/, and of all files in folders there."""
    found = []
    for name in names:
        place = DEPLOY / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found.append([path.relative_to(DEPLOY).as_posix(), content])
    return found


def source_files(application: Path) -> dict[str, list[str]]:
    """Return for each file of an application whether it is executable, and its SHA-256."""
    found = {}
    for name, path in lockfile.files_of(application):
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        found[name] = [str(os.access(path, os.X_OK)), hashlib.sha256(content).hexdigest()]
    return found


def source_digest(files: dict[str, list[str]], unread: Collection[str] = ()) -> str:
    """Return one SHA-256 over files; of unread ones, which no wheel is made of, the names count."""
    ignored = set(unread)
    return digest([[name, *([] if name in ignored else files[name])] for name in sorted(files)])


def lock_text() -> str:
    """Read the application's lock; an empty text when there is none."""
    lock = lockfile.lock_path(ROOT)
    return lockfile.read(lock) if lock.is_file() else ""


def sources() -> str:
    """Return one SHA-256 over the application and its lock."""
    return digest(lock_text(), source_digest(source_files(ROOT)))


def built(record: Record) -> dict[str, str]:
    """Return the SHA-256 of each wheel that was built from a source distribution, by name."""
    found = record.steps.get("wheels", {}).get("built")
    return found if isinstance(found, dict) else {}


class Steps:
    """The steps of a build as things are now: what each is made of, and whether it is done."""

    def __init__(self, settings: dict[str, str], record: Record) -> None:
        """Ask the engine about the images that count; EngineError when it does not answer."""
        self.settings = settings
        self.record = record
        self.wheelhouse = ROOT / settings["WHEELHOUSE"]
        self.pins = base_image_pin.read()
        project = settings["IMAGES"]
        self.image_of = {
            "base": f"{project}-base",
            "builder": f"{project}-builder",
            "tools": f"{project}-builder:tools",
            "image": f"{project}-run",
        }
        self.images = self._inspect()
        self._machinery: dict[tuple[str, ...], list[list[str]]] = {}

    def _inspect(self) -> dict[str, dict[str, Any] | None]:
        name = self.settings["BASE_IMAGE"]
        names = {step: self.image_of[step] for step in ("base", "tools", "image")}
        if not base_image_pin.for_all(name, self.pins):
            names["from"] = name
        if self.compiles():
            names["builder"] = self.image_of["builder"]
        return self._look(names)

    def _look(self, names: dict[str, str]) -> dict[str, dict[str, Any] | None]:
        found = engine.inspect_images(self.settings["DOCKER"], list(names.values()))
        return dict(zip(names, found))

    @functools.cached_property
    def _files(self) -> dict[str, list[str]]:
        return source_files(ROOT)

    def _unread(self) -> list[str]:
        """Read which files the application's wheel is not made of; the builder writes the list."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = json.loads((self.wheelhouse / "unread.json").read_text(encoding="utf-8"))
            if isinstance(found, list):
                return [name for name in found if isinstance(name, str)]
        return []

    def image_id(self, step: str) -> str:
        """Return the ID of the image that a step made, or an empty text."""
        if step == "builder" and step not in self.images:
            # Where nothing has to be compiled there is none, and asking for it takes time.
            self.images.update(self._look({step: self.image_of[step]}))
        return str((self.images.get(step) or {}).get("Id", ""))

    def machinery(self, names: tuple[str, ...]) -> list[list[str]]:
        """Return name and SHA-256 of files below deploy/, as they were at the first call."""
        if names not in self._machinery:
            self._machinery[names] = machinery(names)
        return self._machinery[names]

    def packages(self, role: str) -> list[str]:
        """Return the Debian packages that NATIVE stands for, to `run` or to `build` with."""
        return catalogue.packages(self.settings["NATIVE"].split(), role)

    def inputs(self, step: str) -> dict[str, Any]:
        """Return the current inputs of a step."""
        settings = self.settings
        if step == "base":
            wanted = [settings[name] for name in ("BASE_IMAGE", "PYTHON", "PLATFORM")]
            packages = self.packages("run")
            key = digest(self.base_as_pinned(), wanted, packages, self.machinery(OF_BASE))
            return {"key": key}
        if step == "tools":
            return {"key": digest(self.inputs("base")["key"], self.machinery(OF_TOOLS))}
        if step == "builder":
            packages = self.packages("build")
            return {"key": digest(self.image_id("base"), packages, self.machinery(OF_TOOLS))}
        if step == "wheels":
            made_by = [self.image_id("tools"), self.packages("build")]
            if self.compiles():
                made_by.append(self.image_id("builder"))
            version = settings.get("SCM_VERSION")
            made_by += [version] if version else []
            named = settings["FILES"]
            made_by += [named, settings["PROJECT"]] if named else []
            key = digest(made_by, settings["WHEELHOUSE"], lock_text())
            return {"key": key, "files": self._files}
        if step == "check":
            # A changed line of an application of pure Python requires no other library.
            pure = all(path.name.endswith("-any.whl") for path in self.wheelhouse.glob("app/*.whl"))
            listed = self.listings()[: 1 if pure else 2]
            return {"key": digest(self.image_id("base"), listed, self.machinery(OF_CHECK))}
        names = ("COMMAND", "COMMANDS", "IMAGE_PORT", "HEALTH", "TAG")
        wanted = [settings[name] for name in names]
        trusted = [self.machinery(("ca",))] if settings["RUN_CA"] == "yes" else []
        base = self.image_id("base")
        return {"key": digest(base, wanted, self.listings(), self.machinery(OF_IMAGE), *trusted)}

    def key_of(self, inputs: dict[str, Any]) -> str:
        """Return one SHA-256 over a step's inputs; it is now known what the wheel is made of."""
        files = inputs.get("files")
        return digest(inputs["key"], source_digest(files, self._unread()) if files else "")

    def base_as_pinned(self) -> str:
        """Return what everything starts from: the pin, and an imported image by its ID."""
        found = self.pinned()
        if found and found.platform == base_image_pin.ANY:
            return f"{found.pin} {found.date}"
        return f"{self.image_id('from')} {found.date if found else ''}"

    def pinned(self) -> base_image_pin.Pin | None:
        """Return the pin of the base image, if it has one."""
        name = self.settings["BASE_IMAGE"]
        for_all = base_image_pin.for_all(name, self.pins)
        return for_all or base_image_pin.for_one(name, self.images.get("from"), self.pins)

    def has_what_is_pinned(self) -> bool:
        """Return whether the pinned image is here, so that nothing has to be pulled."""
        found, image = self.pinned(), self.images.get("from")
        wanted = self.settings["PLATFORM"] or f"linux/{MACHINES.get(machine(), machine())}"
        return bool(
            found
            and image
            and base_image_pin.fits(image, wanted)
            and base_image_pin.id_of(image) == found.pin
        )

    def environment(self) -> str:
        """Return the base image's environment as lines of a dockerfile; empty without an image.

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
        """Return size and time of all files in the wheelhouse, which show every change."""
        found = {}
        for part in ("deps", "app"):
            for path in (self.wheelhouse / part).glob("*"):
                status = path.stat()
                found[f"{part}/{path.name}"] = [status.st_size, status.st_mtime_ns]
        return found

    def is_done(self, step: str) -> bool:
        """Return whether a step's result is there and made of the present inputs."""
        recorded = self.record.steps.get(step)
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
        """Return the first step that is out of date on the way to goals, and its goal; else ''."""
        for goal in goals:
            for step in self.steps_to(goal):
                if not self.is_done(step):
                    return step, goal
        return "", ""

    def steps_to(self, goal: str) -> list[str]:
        """Return all steps up to goal; making the image has it checked, unless that is off."""
        steps = list(STEPS[goal])
        if goal == "image" and self.settings["CHECK_IMAGE"] == "yes":
            steps.append("check")
        if "wheels" in steps and self.compiles():
            steps.insert(steps.index("wheels"), "builder")
        return steps

    def compiles(self) -> bool:
        """Return whether the last wheels were made by the builder, which has the compiler."""
        return self.record.get("wheels", "by") == "builder"

    def needs_tools(self, goals: Sequence[str]) -> bool:
        """Return whether the tools are out of date and one of goals needs them."""
        wanted = any(goal == "builder" or "tools" in STEPS[goal] for goal in goals)
        return wanted and not self.is_done("tools")

    def finish(
        self, step: str, inputs: dict[str, Any], made_here: Mapping[str, str] | None = None
    ) -> None:
        """Record a step as made of the inputs that were there when it started.

        For the wheels, `made_here` is what `built` will return.
        """
        made: dict[str, Any]
        if step == "wheels":
            made = {"wheels": self.wheels(), "by": "builder" if self.compiles() else "tools"}
            made["built"] = dict(made_here or {})
        elif step == "check":
            made = {}
        else:
            made = {"image": self.image_id(step)}
        self.record.write(step, key=self.key_of(inputs), **made)
