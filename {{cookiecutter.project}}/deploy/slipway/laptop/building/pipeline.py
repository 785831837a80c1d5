"""Build whatever is out of date, in order; work that can begin early runs beside it.

verify.py builds a second time in another folder and sets, in the environment of that build,
DEPLOY_IMAGES (another prefix for image names), DEPLOY_NO_CACHE and DEPLOY_COMMIT ("REVISION SECONDS
TIME", so that git is not asked; a revision of "-" means none).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Callable, NamedTuple

from slipway.laptop import console
from slipway.laptop.building import base_image_pin, images, lock_copy, project_lock
from slipway.laptop.building.base_image_pin import Pin
from slipway.laptop.building.images import Commit, Images
from slipway.laptop.building.record import Record
from slipway.laptop.building.steps import Steps, built, lock_text
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY, ROOT, make_own_folder
from slipway.laptop.settings import load
from slipway.shared import files, lockfile, network
from slipway.shared.native import catalogue

TITLES = {
    "base": "base: {PYTHON} on {BASE_IMAGE}{with_native}",
    "tools": "tools: the base with pip, to download and install wheels",
    "builder": "builder: the base with compiler, headers and pip",
    "wheels": "wheels: into {WHEELHOUSE}",
    "image": "image: {IMAGES}-run{tag}, which runs {COMMAND}",
    "check": "check: the image's libraries and imports",
}
# Targets for which the image is built as well.
AFTER_IMAGE = {"image", "run", "push", "deploy"}
# What the programs that run in a docker build print for people: the rest of its output is noise.
OWN_LINE = re.compile(r"^.*?\b(apt\.sh|install|network\.py|slipway): ", re.M)


class BuildFailed(console.Failed):
    """A step of the build failed.

    Attributes:
        add: library names for NATIVE that would help.
        find: files that were missing, whose Debian packages would help.
    """

    def __init__(self, message: str, add: Sequence[str] = (), find: Sequence[str] = ()) -> None:
        """Keep all three."""
        super().__init__(message)
        self.add = list(add)
        self.find = list(find)


class Advice:
    """What a successful build suggests to add to NATIVE: library names, and files to look up."""

    def __init__(self) -> None:
        """Suggest nothing yet."""
        self.add: list[str] = []
        self.find: list[str] = []


class Result(NamedTuple):
    """What the builder reported at its end; see builder/__main__.py for the outcomes."""

    outcome: str = "failed"
    add: tuple[str, ...] = ()
    find: tuple[str, ...] = ()
    lock: str = ""


def make(settings: dict[str, str], goals: Sequence[str], quiet: bool = False) -> Advice:
    """Build every step that is out of date, up to each goal.

    quiet leaves out the lines about steps that have nothing to do. With DRY_RUN=1 the command lines
    are printed and nothing is done. Raises BuildFailed, or another console.Failed.
    """
    needed = ["COMMAND"] if {"image", "check"}.intersection(goals) else []
    load.require(settings, "PYTHON", *needed)
    pipeline = Pipeline(settings, quiet)
    if settings["DRY_RUN"]:
        pipeline.show(goals)
        return Advice()
    return pipeline.make(goals)


def check_now(settings: dict[str, str]) -> int:
    """Check the run image, whether it was checked before or not; return the exit status."""
    from slipway.laptop.building import image_check  # slow, and not needed where all is done

    if settings["DRY_RUN"]:
        console.show_command(image_check.command(settings, f"{settings['IMAGES']}-run"))
        return 0
    report = image_check.check(settings)
    report.show()
    return 1 if report.wrong else 0


class Pipeline:
    """One build of a project."""

    def __init__(self, settings: dict[str, str], quiet: bool) -> None:
        """Start nothing yet."""
        self.settings = settings
        self.quiet = quiet
        self.images = Images(settings)
        self.advice = Advice()
        self.pin: Pin | None = None
        self.early = Early()
        # What the wheels of this build were made of; None if they were there before.
        self.lock: str | None = None
        self.built = lock_copy.Built()

    def make(self, goals: Sequence[str]) -> Advice:
        """Build up to all goals."""
        steps = Steps(self.settings, Record.load())
        step, goal = steps.first(goals)
        if not step:
            self._report_done(goals)
            return self.advice
        with project_lock.held() as waited, self.early:
            if waited:  # another build may have changed anything
                steps = Steps(self.settings, Record.load())
                step, goal = steps.first(goals)
            remaining, worked = list(goals), ""
            while step:
                done = remaining[: remaining.index(goal)]
                self._report_done([each for each in done if each != worked])
                remaining = remaining[len(done) :]
                self._do(step, steps, remaining)
                did, worked = step, goal
                # What was edited meanwhile counts the next time, once the last step is done.
                steps = Steps(self.settings, Record.load())
                more = [each for each in remaining if steps.steps_to(each)[-1] != did]
                step, goal = steps.first(more)
                if step == did:
                    raise BuildFailed(
                        f"{step}: its inputs changed during the build: run this again"
                    )
            self._report_done([each for each in remaining if each != worked])
        return self.advice

    def _report_done(self, goals: Sequence[str]) -> None:
        for goal in goals:
            if not self.quiet:
                console.say(f"{goal}: nothing to do")

    def title(self, step: str) -> str:
        """Return the line that says what a step is about to do."""
        settings = self.settings
        native = settings["NATIVE"]
        with_native = f", with {native}" if native else ""
        tag = f":{settings['TAG']}" if settings["TAG"] else ""
        return TITLES[step].format(**settings, with_native=with_native, tag=tag)

    def _do(self, step: str, steps: Steps, goals: Sequence[str]) -> None:
        """Do a step and record it, with the inputs that were there before it."""
        console.say(self.title(step))
        inputs = steps.inputs(step)
        done: dict[str, Callable[[Steps, Sequence[str]], dict[str, Any] | None]] = {
            "base": self._base,
            "tools": self._tools,
            "builder": self._builder,
            "wheels": self._wheels,
            "image": self._image,
            "check": self._check,
        }
        later = done[step](steps, goals)
        self._finish(step, later or inputs)

    def _finish(self, step: str, inputs: dict[str, Any]) -> None:
        Steps(self.settings, Record.load()).finish(step, inputs, self.built.sums)

    # -- the steps. One that changes its own inputs on purpose returns what they became.

    def _base(self, steps: Steps, goals: Sequence[str]) -> dict[str, Any] | None:
        inputs = None
        if not steps.has_what_is_pinned():
            self.pin = base_image_pin.get(self.settings)
            # The pin, if it is new, is one of the inputs.
            steps = Steps(self.settings, steps.record)
            inputs = steps.inputs("base")
        pin, packages = self._pin(steps), steps.packages("run")
        if steps.needs_tools(goals) and not self._is_serial():
            # The tools are made of the same packages as the base.
            self.early.start("tools", lambda: self._build_tools(pin, packages, "early-tools.log"))
        self._docker_build("base", self.images.base(pin, packages), f"{self._project}-base")
        return inputs

    def _tools(self, steps: Steps, goals: Sequence[str]) -> None:
        if self._goes_on_to("image"):
            # The run image's first layer is made of nothing but the base.
            self._slim_early(steps)
        # A failure is repeated here, where it is reported.
        if not self.early.finish("tools"):
            self._build_tools(self._pin(steps), steps.packages("run"))

    def _builder(self, steps: Steps, goals: Sequence[str]) -> None:
        pin, packages = self._pin(steps), steps.packages("run")
        too = steps.needs_tools([*goals, "builder"])
        inputs = steps.inputs("tools") if too else None
        if too and not self.images.no_cache:
            self.early.start("builder", lambda: self._beside_the_compiler(steps, pin, packages))
        command = self.images.builder(pin, packages, steps.packages("build"))
        self._with_dockerfile()
        self._docker_build("builder", command, f"{self._project}-builder", pip_conf=True)
        if inputs is not None:
            self.early.finish("builder")
            self._build_tools(pin, packages)
            self._finish("tools", inputs)

    def _beside_the_compiler(self, steps: Steps, pin: Pin, packages: Sequence[str]) -> None:
        """Do what needs no compiler: the tools, the dependencies' wheels and their layer.

        A failure here is repeated in its turn, and reported then.
        """
        log = "early-build.log"
        self._build_tools(pin, packages, log)
        if not self._goes_on_to("wheels"):
            return
        with self._log("early-wheels.log") as output:
            result = self.run_builder("builder:tools", "fetch", "--locked", errors=output)
        if result.outcome == "done" and self._goes_on_to("image"):
            self._docker_run_early(steps, log, "--target", "dependencies")

    def _wheels(self, steps: Steps, goals: Sequence[str]) -> dict[str, Any]:
        """Build the wheels with the tools alone; with the builder once a package was compiled."""
        locked = False
        with contextlib.suppress(FileNotFoundError):
            self._dependencies.unlink()
        while True:
            inputs = steps.inputs("wheels")
            compiler = steps.compiles()
            image, options = wheel_maker(steps)
            result = self.run_builder(
                image,
                "wheels",
                "--locked",
                *options,
                on_dependencies=functools.partial(self._layer_early, steps),
            )
            if result.outcome == "needs-lock" and not locked:
                write_lock(self.settings, "lock")
                locked = True
            elif result.outcome == "needs-compiler" and not compiler:
                Record.load().write("wheels", by="builder")
                Pipeline(self.settings, quiet=True).make(["builder"])
            else:
                break
            steps = Steps(self.settings, Record.load())
        self.early.finish("layer")
        if result.outcome != "done":
            raise BuildFailed(
                f"wheels: not built; the contents of {self.settings['WHEELHOUSE']} are unchanged",
                result.add,
                result.find,
            )
        self._check_early()
        return inputs

    def _image(self, steps: Steps, goals: Sequence[str]) -> None:
        self._put_run_dockerfile(steps)
        pin = self._pin(steps)
        command = self.images.run_image(commit(pin), pin)
        self._docker_build("image", command, self._project)

    def _check(self, steps: Steps, goals: Sequence[str]) -> None:
        from slipway.laptop.building import image_check  # slow, and not needed where all is done

        early = self.early.finish("check")
        report = early if isinstance(early, image_check.Report) and not early.wrong else None
        if report is None:
            report = image_check.check(self.settings)
        report.show()
        if report.wrong:
            raise BuildFailed(
                "check: the image lacks libraries or modules (CHECK_IMAGE=no skips this check)",
                report.add,
                report.find,
            )
        self.advice.add += report.add
        self.advice.find += report.find

    # -- early work

    def _goes_on_to(self, goal: str) -> bool:
        """Return whether to begin with a later goal: make was told to do it, or what needs it."""
        wanted = {*os.environ.get("DEPLOY_GOALS", "").split()}
        return bool(wanted & {goal, *AFTER_IMAGE}) and not self._is_serial()

    def _is_serial(self) -> bool:
        """Return whether nothing begins early; podman makes each stage, needed or not."""
        return self.images.no_cache or self.images.is_podman

    def _slim_early(self, steps: Steps) -> None:
        def work() -> None:
            self._docker_run_early(steps, "early-slim.log", "--target", "slim")

        self.early.start("slim", work)

    def _layer_early(self, steps: Steps) -> None:
        """Make the dependencies' layer while the application's wheel is built."""
        if not self._goes_on_to("image"):
            return

        def work() -> None:
            words = ("--target", "dependencies", "--iidfile", str(self._dependencies))
            self._docker_run_early(steps, "early-layer.log", *words)

        self.early.start("layer", work)

    def _check_early(self) -> None:
        """Begin to check the dependencies' layer, if the application adds no library to it."""
        if self.settings["CHECK_IMAGE"] != "yes" or not self._dependencies.is_file():
            return
        image = self._dependencies.read_text(encoding="utf-8").strip()
        wheels = (self.images.wheelhouse / "app").glob("*.whl")
        if image and all(wheel.name.endswith("-any.whl") for wheel in wheels):
            from slipway.laptop.building import (
                image_check,  # slow, and not needed where all is done
            )

            self.early.start("check", lambda: image_check.check(self.settings, image))

    def _docker_run_early(self, steps: Steps, log: str, *words: str) -> None:
        self._put_run_dockerfile(steps)
        with self._log(log) as output:
            command = self.images.run(*words)
            self.early.call(command, self._environment(), output)

    # -- running commands

    @property
    def _project(self) -> str:
        return self.settings["PROJECT"]

    @property
    def _dependencies(self) -> Path:
        return ROOT / ".deploy" / "dependencies"

    def _pin(self, steps: Steps) -> Pin:
        found = self.pin or steps.pinned() or base_image_pin.get(self.settings)
        self.pin = found
        return found

    def _environment(self) -> dict[str, str]:
        names = ("PROJECT", "FILES", "SCM_VERSION")
        own = {name: self.settings[name] for name in names if self.settings.get(name)}
        return {**os.environ, **images.environment(self.settings["DOCKER"]), **own}

    @contextlib.contextmanager
    def _log(self, name: str) -> Iterator[IO[bytes]]:
        with (make_own_folder(ROOT / ".deploy") / name).open("wb") as file:
            yield file

    def _with_dockerfile(self) -> None:
        images.put(images.BUILD_DOCKERFILE, images.build_dockerfile())

    def _put_run_dockerfile(self, steps: Steps) -> None:
        self._make_wheelhouse()
        text = images.run_dockerfile(
            steps.environment(),
            bool(self.settings["FILES"]),
            self.images.is_podman,
            self.settings["RUN_CA"] == "yes",
        )
        images.put(images.RUN_DOCKERFILE, text)
        if self.lock is None:  # then the wheels are those of the present lock
            lock_copy.write(lock_text(), built(steps.record))
        else:
            lock_copy.write(self.lock, self.built.sums)

    def _make_wheelhouse(self) -> None:
        make_own_folder(ROOT / "wheelhouse")
        self.images.wheelhouse.mkdir(parents=True, exist_ok=True)

    def _build_tools(self, pin: Pin, packages: Sequence[str], log: str = "") -> None:
        self._with_dockerfile()
        command = self.images.tools(pin, packages)
        title = f"{self._project}-tools"
        self._docker_build("tools", command, title, pip_conf=True, log=log)

    def _docker_build(
        self, step: str, command: list[str], title: str, pip_conf: bool = False, log: str = ""
    ) -> None:
        """Run a docker build, its output in a log; BuildFailed says what went wrong.

        Early work names a log of its own: it fails without a word.
        """
        environment = self._environment()
        environment["BUILDKIT_PROGRESS"] = "plain"
        if pip_conf:  # a secret: the package index's address may have a password
            environment["PIP_CONF"] = network.pip_conf(os.environ)
        name = log or "build.log"
        path = ROOT / ".deploy" / name
        with self._log(name) as output:
            if log:
                status = self.early.call(command, environment, output)
            elif console.is_verbose():
                status = tee(command, environment, output)
            else:
                status = self.early.call(command, environment, output, title=step)
        if status:
            if log:
                raise BuildFailed(f"{step}: failed early")
            self._explain(step, path)
        if title:
            self.early.start(f"prune {title}", lambda: self._prune(title))

    def _prune(self, title: str) -> None:
        self.early.call(self.images.prune(title), self._environment(), subprocess.DEVNULL)

    def _explain(self, step: str, log: Path) -> None:
        """Raise BuildFailed for a docker build that failed, by what its log says."""
        docker = self.settings["DOCKER"]
        if not self.images.is_podman:
            try:
                engine.ask(docker, "buildx", "version")
            except engine.EngineError:
                raise BuildFailed(
                    f"{docker} has no buildx: install it (Debian: docker-buildx, elsewhere"
                    " docker-buildx-plugin)"
                ) from None
        text = log.read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines()
        own = [line for line in lines if OWN_LINE.search(line)]
        if own:
            raise BuildFailed(f"{step}: {OWN_LINE.sub('', own[-1])}")
        if not console.is_verbose():
            sys.stderr.write("".join(f"{line}\n" for line in lines[-30:]))
        if "CERTIFICATE_VERIFY_FAILED" in text:
            raise BuildFailed(f"{step}: {network.UNTRUSTED}")
        raise BuildFailed(
            f"{step}: the image could not be built; see above, and .deploy/{log.name} for"
            " everything"
        )

    def run_builder(
        self,
        image: str,
        job: str,
        *options: str,
        on_dependencies: Callable[[], None] | None = None,
        errors: IO[bytes] | None = None,
    ) -> Result:
        """Run a job in the builder container, with its sandbox, and return what it reported.

        on_dependencies is called once the dependencies' wheels are there; errors is where the
        builder's messages go, standard error by default.
        """
        self._make_wheelhouse()
        meeting = os.urandom(8).hex()
        command = self.images.in_builder(image, "--events", job, *options, meeting=meeting)
        result, lock = Result(), ""
        self.lock, self.built = lock_text(), lock_copy.Built()
        process = self.early.begin(command, self._environment(), subprocess.PIPE, errors)
        assert process.stdout is not None
        sandbox = Sandbox(self.images.in_sandbox(image, job, meeting), self._environment())
        if has_code_to_run(job):  # otherwise the builder asks for it if it is needed
            self.early.sandbox(sandbox)
        for line in process.stdout:
            try:
                event = json.loads(line)
                kind = event["event"]
                self.built.read(event)
            except (ValueError, KeyError, TypeError, AttributeError):
                sys.stderr.write(line.decode("utf-8", "replace"))
                continue
            if kind == "sandbox":
                self.early.sandbox(sandbox)
            elif kind == "dependencies" and on_dependencies is not None:
                on_dependencies()
            elif kind == "lock":
                lock = event["text"]
            elif kind == "result":
                add, find = tuple(event["add"]), tuple(event["find"])
                result = Result(event["outcome"], add, find)
        status = process.wait()
        sandbox.is_over = True
        if status and result.outcome == "done":
            result = Result()
        return Result(result.outcome, result.add, result.find, lock)

    # -- DRY_RUN=1

    def show(self, goals: Sequence[str]) -> None:
        """Print the command lines of all steps that are out of date, in order."""
        steps = Steps(self.settings, Record.load())
        needed: list[str] = []
        for goal in goals:
            for step in steps.steps_to(goal):
                if step in needed:
                    continue
                # What follows a step that is done again is taken to be done again as well.
                if needed or not steps.is_done(step):
                    needed.append(step)
        if not needed:
            print(f"# {' '.join(goals)}: nothing to do")
            return
        variables = images.environment(self.settings["DOCKER"])
        print("export " + shlex.join(f"{name}={value}" for name, value in variables.items()))
        for step in needed:
            self._show(step, steps)

    def _show(self, step: str, steps: Steps) -> None:
        print(f"# {self.title(step)}")
        pin = steps.pinned() or Pin(self.settings["BASE_IMAGE"], "", "", base_image_pin.today())
        packages = steps.packages("run")
        if step == "base":
            if not steps.has_what_is_pinned():
                chosen = self.images.platform
                pull = engine.command(self.images.docker, "pull", *chosen, pin.reference)
                console.show_command(pull, "unless the image is here already")
            console.show_command(self.images.base(pin, packages))
        elif step in ("tools", "builder"):
            self._show_build_dockerfile()
            if step == "tools":
                console.show_command(self.images.tools(pin, packages))
            else:
                build = self.images.builder(pin, packages, steps.packages("build"))
                console.show_command(build)
        elif step == "wheels":
            image, options = wheel_maker(steps)
            if not lockfile.lock_path(ROOT).is_file():
                show_builder(self.images, image, "lock", *options)
            names = [n for n in ("PROJECT", "FILES", "SCM_VERSION") if self.settings.get(n)]
            assigned = [f"{name}={shlex.quote(self.settings[name])}" for name in names]
            print(f"mkdir -p {shlex.quote(str(self.images.wheelhouse))}")
            show_builder(self.images, image, "wheels", "--locked", *options, variables=assigned)
        elif step == "image":
            self._show_run_dockerfile(steps)
            self._show_lock_copy(steps)
            console.show_command(self.images.run_image(commit(pin), pin))
        else:
            from slipway.laptop.building import (
                image_check,  # slow, and not needed where all is done
            )

            console.show_command(image_check.command(self.settings, f"{self.images.images}-run"))

    def _show_build_dockerfile(self) -> None:
        parts = shlex.join([str(DEPLOY / "base.docker"), str(DEPLOY / "build.docker")])
        to = shlex.quote(str(images.BUILD_DOCKERFILE))
        print(f"mkdir -p {shlex.quote(str(images.BUILD_DOCKERFILE.parent))}")
        print(f"{{ echo 'ARG BASE'; cat {parts}; }} >{to}")
        if any(os.environ.get(name) for name in network.PIP_SETTINGS):
            print("# PIP_CONF is a pip.conf with your PIP_* settings; it is not shown here.")
        else:
            text = network.pip_conf({}).replace("\n", "\\n")
            print(f"export PIP_CONF=\"$(printf '{text}')\"")

    def _show_lock_copy(self, steps: Steps) -> None:
        folder = lock_copy.FOLDER
        print(f"mkdir -p {shlex.quote(str(folder))}")
        lock = lockfile.lock_path(ROOT)
        copy = shlex.quote(str(folder / "requirements.txt"))
        print(f"{{ cat {shlex.quote(str(lock))}; }} >{copy}")
        print("# list the wheels here that were built from source distributions, as the lock does")
        listed = lock_copy.listing(lock_text(), built(steps.record))
        copy = shlex.quote(str(folder / "built.txt"))
        print(f"{{ printf %s {shlex.quote(listed)}; }} >{copy}")

    def _show_run_dockerfile(self, steps: Steps) -> None:
        source = shlex.quote(str(DEPLOY / "run.docker"))
        to = shlex.quote(str(images.RUN_DOCKERFILE))
        print(
            "# the base image's environment goes behind run.docker, whose layers start from nothing"
        )
        form = shlex.quote('{{range .Config.Env}}ENV {{printf "%q" .}}{{"\\n"}}{{end}}')
        base = shlex.quote(f"{self.images.images}-base")
        inspect = f"{self.images.docker} image inspect --format {form} {base}"
        where = "; echo 'WORKDIR /appenv/app'" if self.settings["FILES"] else ""
        quoted = r"sed -e 's/\$/\\$/g' -e 's/^ENV \"\([^=]*\)=/ENV \1=\"/'"
        print(f"{{ cat {source}; {inspect} | {quoted}{where}; }} >{to}")


WITHOUT_COMPILER = "--without-compiler"
SANDBOX_ENDS = 5.0  # seconds after the builder


def wheel_maker(steps: Steps) -> tuple[str, list[str]]:
    """Return the image that makes the wheels, and its options: the tools until one is compiled."""
    return ("builder", []) if steps.compiles() else ("builder:tools", [WITHOUT_COMPILER])


def has_code_to_run(job: str) -> bool:
    """Return whether a job of the builder runs code of others, whatever the lock says."""
    return job != "fetch" and lockfile.is_distribution(ROOT)


def show_builder(
    made: Images, image: str, job: str, *options: str, variables: Sequence[str] = ()
) -> None:
    """Print the command lines that run the builder, and its sandbox beside it."""
    meeting = "by-hand"
    print("# the sandbox, for the code of packages: it ends with the command below it")
    print(f"{shlex.join(made.in_sandbox(image, job, meeting))} &")
    note = "this prints the lock" if job in images.LOCKING else ""
    words = made.in_builder(image, job, *options, meeting=meeting)
    console.show_command(words, note, variables)


def commit(pin: Pin) -> Commit:
    """Return the commit that is checked out; without git, the time of the pinned base image."""
    text = os.environ.get("DEPLOY_COMMIT", "")
    if text:
        revision, epoch, created = text.split()
        return Commit("" if revision == "-" else revision, epoch, created)
    git = ["git", "-C", str(ROOT)]
    try:
        form = [*git, "log", "-1", "--format=%H %ct %cI"]
        text = subprocess.run(form, capture_output=True, text=True, check=True).stdout.strip()
        revision, epoch, created = text.split()
        changed = [*git, "status", "--porcelain", "--", "."]
        if subprocess.run(changed, capture_output=True, text=True).stdout:
            revision += "-dirty"
    except (OSError, subprocess.CalledProcessError, ValueError):
        return Commit("", str(pin.epoch), pin.date)
    return Commit(revision, epoch, created)


def tee(command: list[str], environment: dict[str, str], log: IO[bytes]) -> int:
    """Run a command whose output goes to standard error and to a log; return its exit status."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    for line in process.stdout:
        sys.stderr.write(line.decode("utf-8", "replace"))
        log.write(line)
    return process.wait()


class Sandbox:
    """The container in which a job of the builder runs the code of others.

    It ends by itself when the builder has, unless they did not find each other.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        """Start nothing yet."""
        self.command = command
        self.environment = environment
        self.has_begun = self.is_over = False

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until its process has ended, which it must soon after the builder."""
        while True:
            left = SANDBOX_ENDS if self.is_over else 0.2
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(left)
                return
            if left == SANDBOX_ENDS:
                process.terminate()


class Task(threading.Thread):
    """Work in a thread; result is True for none, and None if the work failed."""

    def __init__(self, work: Callable[[], Any]) -> None:
        """Keep the work."""
        super().__init__()
        self.work = work
        self.result: Any = None

    def run(self) -> None:
        """Do the work; who needs its result does it again in its turn, and reports a failure."""
        with contextlib.suppress(Exception):
            result = self.work()
            self.result = True if result is None else result


class Early:
    """Work that begins before its turn, and all processes of a build.

    At the end of the build whatever still runs is ended: after a failure or Ctrl-C nobody waits for
    its result.
    """

    def __init__(self) -> None:
        """Start no thread yet."""
        self._tasks: dict[str, Task] = {}
        self._threads: list[Task] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._has_failed = False

    def start(self, name: str, work: Callable[[], Any]) -> None:
        """Begin with some work; the result of an earlier one of that name is forgotten."""
        task = self._tasks[name] = Task(work)
        self._threads.append(task)
        task.start()

    def finish(self, name: str) -> Any:
        """Wait for some work and return its result; None if it failed or never began."""
        task = self._tasks.pop(name, None)
        if task is None:
            return None
        task.join()
        return task.result

    def begin(
        self,
        command: list[str],
        environment: dict[str, str],
        output: IO[bytes] | int,
        errors: IO[bytes] | int | None,
    ) -> subprocess.Popen[bytes]:
        """Start a process that ends with the build at the latest."""
        if self._has_failed:
            raise BuildFailed("another step failed")
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        except FileNotFoundError:
            raise engine.not_installed(command[0]) from None
        self._processes.append(process)
        return process

    def sandbox(self, sandbox: Sandbox) -> None:
        """Start a sandbox, unless it was started before; nobody waits for its end but the build."""
        if not sandbox.has_begun:
            sandbox.has_begun = True
            # Its standard output means nothing, since code of others runs in it.
            output = subprocess.DEVNULL
            process = self.begin(sandbox.command, sandbox.environment, output, None)
            self.start(f"sandbox {process.pid}", lambda: sandbox.wait(process))

    def call(
        self,
        command: list[str],
        environment: dict[str, str],
        output: IO[bytes] | int,
        title: str = "",
    ) -> int:
        """Run a command with all its output in one place; return its exit status."""
        process = self.begin(command, environment, output, subprocess.STDOUT)
        return console.wait_for(process, title) if title else process.wait()

    def __enter__(self) -> Early:
        """Return this."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """End what still runs after a failure; wait for the rest, such as pruning."""
        if kind is not None:
            self._has_failed = True
            for process in self._processes:
                if process.poll() is None:
                    process.terminate()
        for thread in self._threads:
            thread.join()


def write_lock(settings: dict[str, str], job: str) -> None:
    """Make a new lock in the builder and write it, if it differs; job is `lock` or `upgrade`."""
    pipeline = Pipeline(settings, quiet=True)
    lock = lockfile.lock_path(ROOT)
    with pipeline.early:
        make(settings, ["tools"], quiet=True)
        result = pipeline.run_builder("builder:tools", job, WITHOUT_COMPILER)
        if result.outcome == "needs-compiler":
            # A package has to be compiled before it states its requirements.
            make(settings, ["builder"], quiet=True)
            result = pipeline.run_builder("builder", job)
    if result.outcome != "done":
        raise BuildFailed(f"no lock was made; {lock.name} is unchanged", result.add, result.find)
    if lock.is_file() and lock.read_bytes() == result.lock.encode():
        console.say(f"{lock.name} is up to date")
    else:
        files.write(lock, result.lock)
        pins = len(re.findall(r"^[^#\n].*==", result.lock, re.M))
        console.say(f"wrote {lock.name}, {pins} pins: commit it")
    for line in loaded_at_run_time(settings):
        console.say(line)


def loaded_at_run_time(settings: dict[str, str]) -> list[str]:
    """Return hints about C libraries that locked packages load when they run and NATIVE lacks.

    Only the image shows whether a wheel provides the library itself; see image_check.py.
    """
    path = lockfile.lock_path(ROOT)
    names = {pin.name for pin in lockfile.pins(lockfile.read(path))} if path.is_file() else set()
    return [
        f"{name} loads {library.name} when it runs. Unless its wheel provides the library, run:"
        f" make native ADD={library.name}"
        for library, name in catalogue.loaded(names)
        if catalogue.unlike([library.name], settings["NATIVE"].split())
    ]
