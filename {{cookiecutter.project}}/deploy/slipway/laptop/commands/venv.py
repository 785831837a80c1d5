"""Build and run without Docker, from the same lock: make venv and make serve.

This machine's interpreter builds a wheelhouse and installs it into ./appenv without a package
index. `serve` then replaces itself by the application.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway.laptop import console
from slipway.laptop.building import lock_copy, steps
from slipway.laptop.paths import DEPLOY, ROOT, SLIPWAY, make_own_folder
from slipway.laptop.settings import run_env
from slipway.laptop.settings.load import load, require
from slipway.shared import files, lockfile

APPENV = ROOT / "appenv"
# What `.made` in it contains: nothing while wheels are installed, then what they were made from.
MADE = APPENV / ".made"
# The virtualenv that was there is kept until the new one is complete: a virtualenv contains its
# own path, so that a new one cannot be made elsewhere and moved.
BEFORE = ROOT / ".deploy" / "appenv-before"
REQUIREMENTS = SLIPWAY / "builder" / "requirements.txt"
# Python imports from the folders that a .pth file names.
POINT_TO = (
    "import pathlib, sys, sysconfig;"
    " pathlib.Path(sysconfig.get_path('purelib'), 'slipway.pth').write_text(sys.argv[1])"
)


def run(command: str, arguments: Sequence[str]) -> int:
    """Bring ./appenv up to date; with `serve`, become the application. Return the exit status."""
    settings = load()
    require(settings, "PYTHON", *(["COMMAND"] if command == "serve" else []))
    Virtualenv(settings).update(quiet=command == "serve")
    if command == "serve":
        serve(settings)
    elif not settings["DRY_RUN"]:
        console.say("run the application with: make serve")
    return 0


class Virtualenv:
    """./appenv, the interpreter that it is for, and the tools that build its wheels."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.dry_run = bool(settings["DRY_RUN"])
        wanted = settings["PYTHON"]
        self.python = shutil.which(wanted) or shutil.which("python3") or ""
        if not self.python:
            raise console.Failed(f"there is neither {wanted} nor python3 here: install {wanted}")
        # The interpreter's own name, as locks have it: PYTHON may be any of several versions.
        self.name = self._output(self.python, "-m", "slipway.shared.lockfile")
        if Path(self.python).name != wanted and not MADE.exists() and not self.dry_run:
            console.say(f"there is no {wanted} here: using {self.python} ({self.name})")
        suffix = self.name.replace(" ", "-")
        self.tools = ROOT / ".deploy" / f"tools-{suffix}"
        self.tools_python = str(self.tools / "bin" / "python")
        self.wheelhouse = ROOT / "wheelhouse" / f"host-{suffix}"
        self.pins = ROOT / ".deploy" / f"pins-{suffix}"

    def update(self, quiet: bool) -> None:
        """Build and install the wheels again if anything that they are made from has changed."""
        if not self.dry_run:
            for folder in (ROOT / ".deploy", ROOT / "wheelhouse"):
                make_own_folder(folder)
            self.wheelhouse.mkdir(exist_ok=True)
        self._make_tools()
        if not self.dry_run:
            recover()
        if APPENV.exists() and not MADE.exists():
            raise console.Failed(
                "there is an appenv here that make venv did not make: move it away"
            )
        self._make_lock()
        # FILES are not part of the application's own build.
        made_from = " ".join(filter(None, (steps.sources(), self.name, self.settings["FILES"])))
        if MADE.exists() and MADE.read_text(encoding="utf-8").strip() == made_from:
            if not (quiet or self.dry_run):
                console.say("venv: nothing to do")
            return
        if self.dry_run:
            console.show_command(["mkdir", "-p", str(self.wheelhouse)])
        self._make_wheels()
        self._install(made_from)
        if not self.dry_run:
            console.say(f"appenv is ready, with {self.name}")

    def _make_tools(self) -> None:
        ready = self.tools / "ready"
        # The folder's name is in the virtualenv: a project that was moved needs a new one.
        wanted = f"{REQUIREMENTS.read_text(encoding='utf-8')}# {DEPLOY}\n"
        if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
            return
        if not self.dry_run:
            shutil.rmtree(self.tools, ignore_errors=True)
        self._do(
            [self.python, "-m", "venv", str(self.tools)],
            "this Python cannot make virtualenvs: install its venv package"
            f" (Debian: {self.settings['PYTHON']}-venv)",
            note="the tools that build wheels",
        )
        self._do([self.tools_python, "-c", POINT_TO, str(DEPLOY)], "the tools cannot be written to")
        pip = ["-m", "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes"]
        # The tools' own pip knows the usual certificates where the system has none.
        network = [self.tools_python, "-m", "slipway.shared.network", str(DEPLOY / "ca")]
        self._do(
            [*network, self.tools_python, *pip, "--requirement", str(REQUIREMENTS)],
            "the tools could not be installed; see above",
        )
        if not self.dry_run:
            ready.write_text(wanted, encoding="utf-8")

    def _make_lock(self) -> None:
        lock = lockfile.lock_path(ROOT)
        if lock.exists():
            return
        words, variables = self._builder("lock")
        if self.dry_run:
            console.show_command(words, f"prints {lock.name}", assignments(variables))
            return
        done = subprocess.run(
            words, env={**os.environ, **variables}, stdout=subprocess.PIPE, check=False
        )
        if done.returncode:
            raise console.Failed("no lock was made; see above")
        files.write(lock, done.stdout.decode("utf-8"))
        console.say(f"wrote {lock.name}: commit it")

    def _make_wheels(self) -> None:
        """Build the wheels, and write the copy of the lock that they are compared with."""
        words, variables = self._builder("wheels", "--events")
        if self.dry_run:
            console.show_command(words, variables=assignments(variables))
            place, lock = shlex.quote(str(self.pins)), shlex.quote(str(lockfile.lock_path(ROOT)))
            fill = f"cat {lock} >{place}/requirements.txt && touch {place}/built.txt"
            print(f"mkdir -p {place} && {fill}")
            return
        lock, built = steps.lock_text(), lock_copy.Built()
        environment = {**os.environ, **variables}
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout
            for line in process.stdout:
                # a build's own output is none of the builder's events
                with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                    built.read(json.loads(line))
        if process.returncode:
            raise console.Failed("the wheels could not be built; see above")
        lock_copy.write(lock, built.sums, self.pins)

    def _builder(self, job: str, *before: str) -> tuple[list[str], dict[str, str]]:
        """Return the command line that runs the builder here, and its own variables."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wheelhouse"
        folders = {
            "--application": ROOT,
            "--wheelhouse": self.wheelhouse,
            "--ca": DEPLOY / "ca",
            "--cache": cache,
        }
        options = [word for option, path in folders.items() for word in (option, str(path))]
        variables = {name: self.settings[name] for name in ("FILES", "PROJECT", "SCM_VERSION")}
        # Missing libraries are to be installed on this machine, and not to be added to an image.
        variables["WHEELS_HERE"] = "yes"
        return [self.tools_python, "-m", "slipway.builder", *before, job, *options], variables

    def _install(self, made_from: str) -> None:
        venv = [self.python, "-m", "venv", "--without-pip", str(APPENV)]
        installer = [self.tools_python, "-m", "slipway.image.run.install_wheelhouse"]
        installer += ["--lock", str(self.pins)]
        parts = [
            [*installer, str(self.wheelhouse / "deps")],
            [*installer, "--application", str(self.wheelhouse / "app")],
        ]
        place = {"APPENV": str(APPENV)}
        if self.dry_run:
            if APPENV.exists():
                console.show_command(["rm", "-rf", str(APPENV)], "make venv keeps it until the end")
            console.show_command(venv, "a new appenv")
            for words in parts:
                console.show_command(words, variables=assignments(place))
            return
        try:
            if APPENV.exists():
                APPENV.rename(BEFORE)
            APPENV.mkdir()
            MADE.touch()
            (APPENV / ".gitignore").write_text("*\n", encoding="utf-8")
            self._do(venv, "the virtualenv could not be made; see above")
            for words in parts:
                self._do(words, "the wheels could not be installed; see above", place)
            files.write(MADE, f"{made_from}\n")
        finally:
            recover()

    def _do(
        self,
        words: Sequence[str],
        failure: str,
        variables: Mapping[str, str] | None = None,
        note: str = "",
    ) -> None:
        """Run a command, or print it in a dry run; Failed has the given message."""
        if self.dry_run:
            console.show_command(words, note, assignments(variables or {}))
            return
        done = subprocess.run(words, env={**os.environ, **(variables or {})}, check=False)
        if done.returncode:
            raise console.Failed(failure)

    @staticmethod
    def _output(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(DEPLOY)}
        done = subprocess.run(
            words, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise console.Failed(f"{words[0]} does not work; see above")
        return done.stdout.strip()


def assignments(variables: Mapping[str, str]) -> list[str]:
    """Return the assignments of some variables, quoted for a shell."""
    return [f"{name}={shlex.quote(value)}" for name, value in variables.items()]


def recover() -> None:
    """Restore the virtualenv that was there before, unless the new one is complete."""
    if not BEFORE.exists():
        return
    if MADE.is_file() and MADE.stat().st_size:
        shutil.rmtree(BEFORE)
    else:
        if APPENV.exists():
            shutil.rmtree(APPENV)
        BEFORE.rename(APPENV)


def serve(settings: dict[str, str]) -> None:
    """Replace this process by the application."""
    words = shlex.split(settings["COMMAND"])
    program = APPENV / "bin" / words[0]
    if words[0] in ("sh", "bash") and not is_program(program):
        program = Path("/bin", words[0])
    environment = {"PORT": settings["PORT"], "PYTHONUNBUFFERED": "1"}
    folder = APPENV / "app"  # FILES, where the application starts in the image, too
    has_files = folder.is_dir() or bool(settings["DRY_RUN"] and settings["FILES"])
    if has_files:
        present = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), present)))
    if settings["DRY_RUN"]:
        if has_files:
            console.show_command(["cd", str(folder)])
        note = "with the variables of deploy/run.env as well" if run_env.PATH.exists() else ""
        path = f'PATH={shlex.quote(str(APPENV / "bin"))}:"$PATH"'
        variables = [*assignments(environment), path]
        console.show_command([str(program), *words[1:]], note, variables)
        return
    if not is_program(program):
        raise console.Failed(
            f"no wheel provides the program {words[0]}: set COMMAND in deploy/settings.mk"
        )
    given = run_env.load()  # a mistake in it is reported first
    console.say(f"http://127.0.0.1:{settings['PORT']} (Ctrl-C stops it)")
    if has_files:
        os.chdir(folder)
    path = os.pathsep.join((str(APPENV / "bin"), os.environ.get("PATH", os.defpath)))
    inherited = {**os.environ, **environment, "PATH": path}
    run_env.become([str(program), *words[1:]], inherited, given)


def is_program(path: Path) -> bool:
    """Return whether a path is a file that can be started."""
    return path.is_file() and os.access(path, os.X_OK)
