"""A build as a whole: the order of its steps, work that begins early, failures, and dry runs."""

from __future__ import annotations

import functools
import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop import console
from slipway.laptop.building import images, pipeline
from slipway.laptop.building.base_image_pin import Pin
from slipway.laptop.commands import build as build_command
from slipway.laptop.commands import lock as lock_command
from slipway.laptop.settings import load
from slipway.shared import network
from tests.unit.laptop.building.conftest import BASE, LOCK, PINNED, STEPS, Build, pinned

INDEX = "https://me:secret@pypi.example.org/simple"
# What a check finds in an image without problems.
FOUND: dict[str, Any] = {
    "missing": {},
    "used": [],
    "interpreter": ["libssl.so.3"],
    "provided": [],
    "there": [],
    "problems": {},
    "files": 0,
}
HASH = f"--hash=sha256:{'0' * 64}"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of who runs the tests: no index, proxy or builder of theirs."""
    for name in (*network.PIP_SETTINGS, *images.PROXIES, "BUILDX_BUILDER", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ready(build: Build) -> Build:
    """A project of which nothing is built, with the wheels that its builder will make."""
    pinned(build)
    build.image(PINNED, "from")
    build.make("wheels")
    return build


def meanwhile(build: Build, script: str) -> None:
    """Set what containers do."""
    (build.images.parent / "meanwhile").write_text(script)


def building(build: Build, script: str) -> None:
    """Set what builds do."""
    (build.images.parent / "building").write_text(script)


def named(line: str) -> str:
    """Return what a command line is about: what a build makes, or the job of a container."""
    if line.startswith("run "):
        found = re.search(r" (wheels|fetch|lock|upgrade)(?: |$)|(image/check) ", line)
        assert found, line
        return found[1] or "check"
    found = re.search(r"--target (slim|dependencies)", line) or re.search(r"--tag (\S+)", line)
    assert found, line
    return found[1]


def made(build: Build) -> list[str]:
    """Return all builds and runs so far."""
    return [*map(named, build.log())]


def test_steps_are_done_in_order_and_each_once(ready: Build) -> None:
    """A line for each; what is done is said to be done, unless another command builds."""
    said = ready.build("base", "image", quiet=False).splitlines()
    assert said == [
        "slipway: base: python3 on debian:trixie-slim, with openssl",
        "slipway: tools: the base with pip, to download and install wheels",
        "slipway: wheels: into wheelhouse/python3",
        "slipway: image: shop-run, which runs run-the-app",
    ]
    assert sorted(made(ready)[:2]) == ["shop-base", "shop-builder:tools"], "side by side"
    assert made(ready)[2:] == ["wheels", "shop-run"]
    assert ready.next() == ""
    said = ready.build("base", "wheels", quiet=False).splitlines()
    assert said == ["slipway: base: nothing to do", "slipway: wheels: nothing to do"]
    assert ready.build("image") == ""
    assert len(made(ready)) == 4


def test_goals_that_are_done_are_reported_before_those_that_are_not(ready: Build) -> None:
    """In the order of make's words."""
    ready.build("wheels")
    said = ready.build("base", "image", quiet=False).splitlines()
    assert [line.split(":")[1] for line in said] == [" base", " image"]
    assert said[0].endswith("nothing to do")


def test_images_without_a_name_are_removed(ready: Build) -> None:
    """Those that a build replaced, by the title of its image."""
    ready.build()
    asked = (ready.images.parent / "asked").read_text().splitlines()
    pruned = {line.rpartition("=")[2] for line in asked if line.startswith("image prune")}
    assert pruned == {"shop-base", "shop-tools", "shop"}


@pytest.mark.parametrize("files", ["", "app.py", "app.py .env"])
def test_code_of_a_build_has_no_power_and_sees_no_secret(ready: Build, files: str) -> None:
    """Neither root nor capabilities remain, and git's settings and environments are hidden."""
    for name in (".env", "deploy/run.env", ".git/config"):
        ready.write(name, "SECRET=1\n")
    ready.write("deploy/settings.mk", f"{ready.settings}FILES := {files}\n")
    ready.build("wheels")
    (line,) = (line for line in ready.log() if named(line) == "wheels" and line.startswith("run "))
    for words in (
        "--cap-drop ALL --cap-add SETUID --cap-add SETGID",
        "--security-opt no-new-privileges",
        "--pids-limit",
        "type=tmpfs,target=/application/.git",
        "target=/application/deploy/run.env,readonly",
    ):
        assert words in line
    assert ("target=/application/.env,readonly" in line) is (".env" not in files)


def test_the_sandbox_has_neither_project_nor_store_nor_network(ready: Build) -> None:
    """It starts beside the builder, since a distribution always has code to run."""
    ready.build("wheels", PIP_INDEX_URL=INDEX, HTTPS_PROXY="http://me:secret@proxy.example")
    (line,) = ready.sandboxes()
    for words in ("--network none", "--cap-drop ALL", "no-new-privileges", "--pids-limit"):
        assert words in line
    for words in ("/application", "/wheelhouse", "/cache", "/ca", "PIP_", "PROXY", "--memory"):
        assert words not in line
    (builder,) = (line for line in ready.log() if named(line) == "wheels")
    meeting = line.split()[-1]
    assert f" shop-builder:tools --sandbox {meeting} " in builder
    mount = "--mount type=volume,source=shop-sandbox,target=/sandbox"
    assert mount in line
    assert mount in builder


def test_the_sandbox_starts_only_for_code(ready: Build) -> None:
    """A project of wheels and files has none, unless the builder asks for it."""
    (ready.project.path / "pyproject.toml").unlink()
    ready.build("wheels")
    assert ready.sandboxes() == []
    ready.write("requirements.txt", LOCK.replace("one", "two"))
    meanwhile(ready, 'echo \'{"event": "sandbox"}\'; echo \'{"event": "sandbox"}\'\n')
    ready.build("wheels")
    assert len(ready.sandboxes()) == 1


def test_a_build_has_the_network_and_memory_that_it_is_given(ready: Build) -> None:
    """Of the network's settings it has proxies and certificates, and no password of an index."""
    given = functools.partial(ready.build, BUILD_NETWORK="yes", BUILD_MEMORY="2g")
    given("wheels", PIP_INDEX_URL=INDEX, HTTPS_PROXY="http://proxy.example")
    (line,) = ready.sandboxes()
    assert "--network" not in line
    assert "--memory 2g" in line
    assert "target=/ca,readonly" in line
    assert "--env HTTPS_PROXY" in line
    assert "PIP_INDEX_URL" not in line


def test_the_sandbox_of_a_lock_has_the_package_index(ready: Build) -> None:
    """And neither project nor store."""
    with ready.inside(PIP_INDEX_URL=INDEX):
        line = shlex.join(images.Images(load.load()).in_sandbox("builder", "upgrade", "here"))
    assert "--network" not in line
    assert "--env PIP_INDEX_URL" in line
    for words in ("/application", "/wheelhouse", "/cache"):
        assert words not in line


def test_a_lock_is_made_without_the_wheelhouse(ready: Build) -> None:
    """It is printed; the code of a setup.py has no folder of the laptop to write to."""
    with ready.inside():
        command = images.Images(load.load()).in_builder("builder", "--events", "lock")
    assert not [word for word in command if "target=/wheelhouse" in word]


def test_a_new_pin_is_one_of_the_inputs(build: Build) -> None:
    """Otherwise the next build would begin with the base again."""
    build.make("wheels")
    build.image(BASE, f"sha256:{'1' * 64}")
    build.build()
    assert "debian:trixie-slim linux/amd64 sha256:1" in build.project.read("deploy/base.lock")
    assert build.next() == ""


def test_the_layers_of_the_image_begin_early(ready: Build) -> None:
    """When make goes on to the image: the base's files, and the dependencies beside a wheel."""
    meanwhile(
        ready,
        """case "$*" in
        *image/check*) echo "$FOUND"; exit ;;
        esac
        echo '{"event": "dependencies"}'
        n=0; while ! grep -q 'target dependencies' ../log && [ $n -lt 500 ]; do
            n=$((n + 1)); sleep 0.01
        done
        """,
    )
    said = ready.build(DEPLOY_GOALS="image", FOUND=json.dumps(FOUND), CHECK_IMAGE="yes")
    order = made(ready)
    assert sorted(order) == sorted(
        [
            *("shop-base", "shop-builder:tools", "slim", "wheels", "dependencies", "shop-run"),
            "check",
        ]
    )
    assert order.index("slim") < order.index("shop-run")
    assert order.index("wheels") < order.index("dependencies") < order.index("shop-run")
    check = next(line for line in ready.log() if named(line) == "check")
    assert " the-layer " in check, "the dependencies' layer is checked, once"
    assert "all libraries are there, and all modules import" in said


@pytest.mark.parametrize("environment", [{}, {"DEPLOY_GOALS": "wheels"}, {"DEPLOY_NO_CACHE": "1"}])
def test_nothing_begins_early_for_its_own_sake(ready: Build, environment: dict[str, Any]) -> None:
    """Only what make was told to do as well; nothing where a build is compared."""
    meanwhile(ready, 'echo \'{"event": "dependencies"}\'\n')
    ready.build(**environment)
    assert not {"slim", "dependencies"} & {*made(ready)}


def test_early_work_that_fails_is_done_again_in_its_turn(ready: Build) -> None:
    """And reported then, if it fails again."""
    building(
        ready,
        'case "$*" in *"--target tools"*) [ -e ../tried ] || { >../tried; exit 1; } ;; esac\n',
    )
    ready.build()
    assert made(ready).count("shop-builder:tools") == 2
    assert ready.next() == ""


def test_work_that_runs_beside_a_step_that_fails_is_ended(ready: Build) -> None:
    """Nobody waits for what nobody needs."""
    building(
        ready,
        'case "$*" in\n*"--target tools"*) >../began; exec sleep 60 ;;\n'
        "*) while [ ! -e ../began ]; do sleep 0.01; done; echo no; exit 1 ;;\nesac\n",
    )
    began = time.monotonic()
    with pytest.raises(pipeline.BuildFailed):
        ready.build()
    assert time.monotonic() - began < 30
    assert ready.next() == "base"


def test_the_compiler_is_installed_beside_work_that_needs_none(ready: Build) -> None:
    """The tools, the dependencies' wheels and their layer; both images are recorded."""
    ready.build("builder", "image", DEPLOY_GOALS="builder image")
    order = made(ready)
    assert {"shop-builder", "shop-builder:tools", "fetch", "dependencies"} <= {*order}
    assert order.index("fetch") < order.index("wheels")
    assert ready.next("builder") == ready.next() == ""


@pytest.mark.parametrize(
    ("log", "says", "repeated"),
    [
        (
            "#9 [2/3] RUN sh /mnt/apt.sh\n#9 0.3 apt.sh: there is no package libfoo\n#9 ERROR\n",
            "base: there is no package libfoo",
            False,
        ),
        ("#9 1.2 install: COMMAND is no script\n", "base: COMMAND is no script", False),
        (
            "#9 SSL: CERTIFICATE_VERIFY_FAILED\n",
            "base: a certificate is not trusted: copy that of your inspecting proxy",
            True,
        ),
        (
            "#9 something else\n",
            "base: the image could not be built; see above, and .deploy/build.log for everything",
            True,
        ),
    ],
)
def test_a_build_that_fails_says_why(
    ready: Build, capsys: pytest.CaptureFixture[str], log: str, says: str, repeated: bool
) -> None:
    """What one of our own programs said is the answer; else the end of docker's output."""
    (ready.images.parent / "output").write_text("#1 first\n" * 50 + log)
    building(ready, 'case "$*" in *shop-base*) cat ../output >&2; exit 1 ;; esac\n')
    with pytest.raises(pipeline.BuildFailed, match=re.escape(says)):
        ready.build("base")
    shown = capsys.readouterr().err
    assert (log.splitlines()[-1] in shown) is repeated
    assert shown.count("\n") == (30 if repeated else 0)
    assert log in ready.project.read(".deploy/build.log")


def test_a_docker_without_buildx_is_named(ready: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own message is about an unknown flag."""
    (ready.images.parent / "no-buildx").touch()
    building(ready, "echo unknown flag: --secret >&2; exit 125\n")
    with pytest.raises(pipeline.BuildFailed, match=r"has no buildx: install it \(Debian: docker-b"):
        ready.build("base")
    assert "unknown flag" not in capsys.readouterr().err


def test_all_output_is_shown_where_it_is_asked_for(
    ready: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    """While it comes, and not once more after a failure."""
    building(ready, "echo the first line; echo the last line >&2; [ ! -e ../bad ] || exit 1\n")
    ready.build("base")
    assert capfd.readouterr().err == ""
    (ready.images / "shop-base").unlink()
    ready.build("base", VERBOSE="1")
    assert capfd.readouterr().err == "the first line\nthe last line\n"
    (ready.images / "shop-base").unlink()
    (ready.images.parent / "bad").touch()
    with pytest.raises(pipeline.BuildFailed):
        ready.build("base", VERBOSE="1")
    assert capfd.readouterr().err == "the first line\nthe last line\n"
    assert "the last line" in ready.project.read(".deploy/build.log")


def result(outcome: str, **values: object) -> str:
    """Return a script that prints the last line of a builder, and ends."""
    event = json.dumps({"event": "result", "outcome": outcome, "add": [], "find": [], **values})
    return f"echo '{event}'; exit 1\n"


def test_wheels_that_cannot_be_built_leave_the_wheelhouse(ready: Build) -> None:
    """The failure has what would help, as data."""
    wheels = {path: path.read_bytes() for path in ready.project.path.glob("wheelhouse/*/*/*")}
    meanwhile(ready, result("failed", add=["libpq"], find=["foo.h"]))
    says = "wheels: not built; the contents of wheelhouse/python3 are unchanged"
    with pytest.raises(pipeline.BuildFailed, match=says) as failed:
        ready.build()
    assert (failed.value.add, failed.value.find) == (["libpq"], ["foo.h"])
    assert wheels == {
        path: path.read_bytes() for path in ready.project.path.glob("wheelhouse/*/*/*")
    }
    assert ready.next() == "wheels"


@pytest.mark.parametrize(
    "script",
    [
        "exit 1\n",
        'echo \'{"event": "result", "outcome": "done", "add": [], "find": []}\'; exit 1\n',
        "echo nonsense; echo '{}'; echo '[]'; exit 3\n",
    ],
)
def test_a_builder_that_ends_without_its_report_has_failed(
    ready: Build, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    """It was killed, or there is no such image; whatever it printed is shown."""
    meanwhile(ready, script)
    with pytest.raises(pipeline.BuildFailed, match="wheels: not built"):
        ready.build()
    assert ("nonsense\n{}\n[]\n" in capsys.readouterr().err) is ("nonsense" in script)


def test_a_lock_that_does_not_help_is_made_once(ready: Build) -> None:
    """A second request is a failure."""
    text = json.dumps({"event": "lock", "text": LOCK})
    meanwhile(
        ready,
        f"case \"$*\" in *--events\\ lock*) echo '{text}' ;;\n*) {result('needs-lock')} ;; esac\n",
    )
    with pytest.raises(pipeline.BuildFailed, match="wheels: not built"):
        ready.build()
    assert made(ready)[2:] == ["wheels", "lock", "wheels"]


def test_a_builder_that_still_wants_a_compiler_has_failed(ready: Build) -> None:
    """It has one; nothing begins anew for ever."""
    meanwhile(ready, result("needs-compiler"))
    with pytest.raises(pipeline.BuildFailed, match="wheels: not built"):
        ready.build()
    assert made(ready)[2:] == ["wheels", "shop-builder", "wheels"]


@pytest.mark.parametrize("job", ["lock", "upgrade"])
def test_a_lock_is_written_when_it_is_another(
    ready: Build, capsys: pytest.CaptureFixture[str], job: str
) -> None:
    """And what its packages load at run time is pointed out, unless NATIVE has it."""
    ready.image(BASE, f"sha256:{'1' * 64}")
    text = f"{LOCK}python-magic==0.4.27 {HASH}\n"
    event = json.dumps({"event": "lock", "text": text})
    (ready.images.parent / "event").write_text(event + "\n")
    meanwhile(ready, "cat ../event\n")
    with ready.inside():
        assert lock_command.run(job, []) == 0
    said = capsys.readouterr().out
    assert "slipway: wrote requirements.txt, 2 pins: commit it\n" in said
    assert (
        "slipway: python-magic loads magic when it runs. Unless its wheel provides the library,"
        " run: make native ADD=magic\n"
    ) in said
    assert ready.project.read("requirements.txt") == text
    assert made(ready)[-1] == job
    with ready.inside(NATIVE="libmagic1"):
        assert lock_command.run("lock", []) == 0
    said = capsys.readouterr().out
    assert "requirements.txt is up to date" in said
    assert "magic when it runs" not in said


def test_a_lock_that_cannot_be_made_stays(ready: Build) -> None:
    """With the compiler as well, where a package wants one before it states its requirements."""
    ready.build("tools")
    before = len(ready.log())
    meanwhile(ready, f'case "$*" in *--without-compiler) {result("needs-compiler")} ;; esac\n')
    (ready.images.parent / "meanwhile").open("a").write(result("failed", add=["libpq"]))
    says = "no lock was made; requirements.txt is unchanged"
    with ready.inside(), pytest.raises(pipeline.BuildFailed, match=says) as failed:
        lock_command.run("lock", [])
    assert failed.value.add == ["libpq"]
    assert made(ready)[before:] == ["lock", "shop-builder", "lock"]
    assert ready.project.read("requirements.txt") == LOCK


@pytest.mark.parametrize(
    ("setting", "goals", "fails"),
    [
        ("PYTHON", ["base"], True),
        ("COMMAND", ["image"], True),
        ("COMMAND", ["wheels"], False),
    ],
)
@pytest.mark.parametrize("dry", ["", "1"])
def test_a_step_says_which_setting_it_needs(
    ready: Build, setting: str, goals: list[str], fails: bool, dry: str
) -> None:
    """An adopted repository may know neither; other steps are done."""
    ready.write("deploy/settings.mk", f"{ready.settings}{setting} :=\n")
    if not fails:
        ready.build(*goals, DRY_RUN=dry)
        return
    says = f"{setting} is not set: run make adopt, or set {setting} := "
    with pytest.raises(console.SettingsError, match=re.escape(says)):
        ready.build(*goals, DRY_RUN=dry)


def test_the_settings_of_pip_reach_the_tools_and_no_command_line(ready: Build) -> None:
    """An index's password is a secret of a build; the builder gets the variable by name."""
    ready.build(PIP_INDEX_URL=INDEX, HTTPS_PROXY="http://me:secret@proxy.example")
    assert "me:secret" not in "\n".join(ready.log())
    assert INDEX in (ready.images.parent / "pip.conf").read_text()
    (run,) = (line for line in ready.log() if line.startswith("run "))
    assert "--env PIP_INDEX_URL " in run
    assert "--env HTTPS_PROXY " in run
    builds = [line for line in ready.log() if line.startswith("build ")]
    assert all("--build-arg HTTPS_PROXY " in line for line in builds)
    assert not [name for name in network.PIP_SETTINGS if name != "PIP_INDEX_URL" and name in run]


def test_packages_are_named_by_role(ready: Build) -> None:
    """Headers are for the builder alone."""
    ready.write("deploy/settings.mk", f"{ready.settings}NATIVE := openssl build:libx-dev\n")
    ready.build("builder")
    base, builder = (
        next(line for line in ready.log() if f"--tag {name} " in line)
        for name in ("shop-base", "shop-builder")
    )
    assert "libssl3" in base
    assert "libx-dev" not in base
    assert re.search(r"BUILD_PACKAGES=[^=]*libssl-dev[^=]*libx-dev", builder)


def tree(build: Build) -> dict[str, bytes]:
    """Return all files of a project."""
    place = build.project.path
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def comparable(build: Build) -> set[str]:
    """Return the log without what differs each time: where builder and sandbox meet."""
    lines = {line.replace("--events ", "") for line in build.log()}
    return {re.sub(r"/sandbox/[\w-]+", "/sandbox/here", line) for line in lines}


def test_a_dry_run_prints_what_a_build_would_run(ready: Build, tmp_path: Path) -> None:
    """Every line can be pasted into a shell, in the order printed; nothing is changed by it."""
    before = tree(ready)
    said = ready.build("builder", "image", quiet=False, DRY_RUN="1")
    assert tree(ready) == before
    assert ready.log() == []
    script = tmp_path / "pasted.sh"
    script.write_text(f"set -eu\n{said}")
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert made(ready) == ["shop-base", "shop-builder", "shop-builder:tools", "wheels", "shop-run"]
    pasted = comparable(ready)
    (ready.images.parent / "log").unlink()
    names = ("build.docker", "run.docker")
    dockerfiles = [ready.project.read(f".deploy/{name}").rstrip() for name in names]
    for image in ("shop-base", "shop-builder:tools", "shop-builder"):
        (ready.images / image).unlink()
    ready.build("builder", "image")
    assert pasted == comparable(ready)
    assert dockerfiles == [ready.project.read(f".deploy/{name}").rstrip() for name in names]
    assert ready.build("image", DRY_RUN="1") == "# image: nothing to do\n"


def test_a_dry_run_explains_each_step_and_nothing_else(ready: Build) -> None:
    """Explanations are comments."""
    ready.write("deploy/settings.mk", f"{ready.settings}COMMAND := sh -c 'a && b'\n")
    said = ready.build(DRY_RUN="1", CHECK_IMAGE="yes").splitlines()
    titles = [line for line in said if line.startswith("# ")]
    for step in (*STEPS, "check"):
        assert any(line.startswith(f"# {step}: ") for line in titles)
    starts = ("# ", "export ", "mkdir -p ", "{ ", f"{ready.images.parent}/docker ", "PROJECT=")
    assert [line for line in said if not line.startswith(starts)] == []
    assert not any(line.startswith("slipway:") for line in said)


@pytest.mark.parametrize("job", ["lock", "upgrade"])
def test_a_dry_run_of_the_lock_changes_nothing(
    ready: Build, capsys: pytest.CaptureFixture[str], job: str
) -> None:
    """The builder's command line prints the lock."""
    before = tree(ready)
    with ready.inside(DRY_RUN="1"):
        assert lock_command.run(job, []) == 0
    assert tree(ready) == before
    assert ready.log() == []
    sandbox, _, builder = capsys.readouterr().out.splitlines()[-3:]
    assert sandbox.endswith(" shop-builder:tools sandbox --sandbox /sandbox/by-hand &")
    assert builder.endswith(f" shop-builder:tools --sandbox /sandbox/by-hand {job}")


def test_a_step_that_does_not_exist_is_named(ready: Build) -> None:
    """With those that do."""
    with ready.inside(), pytest.raises(console.Failed, match="there is no step 'imgae': use one"):
        build_command.run("base", ["imgae"])


def test_check_image_checks_again(ready: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether it was checked before or not; its problems are its exit status."""
    meanwhile(ready, 'echo "$FOUND"; exit\n')
    for _ in range(2):
        with ready.inside(FOUND=json.dumps(FOUND)):
            assert build_command.run("check-image", []) == 0
    missing = {"missing": {"one": [["libpq.so.5", "x.so"]]}}
    with ready.inside(FOUND=json.dumps({**FOUND, **missing})):
        assert build_command.run("check-image", []) == 1
    shown = capsys.readouterr()
    assert shown.out.count("all libraries are there") == 2
    assert "make native ADD=libpq" in shown.err
    assert made(ready) == ["check"] * 3


def test_an_image_with_problems_is_a_failure_with_what_would_help(ready: Build) -> None:
    """In a build; the image is there for inspection."""
    found = {**FOUND, "missing": {"one": [["libpq.so.5", "x.so"]]}}
    meanwhile(ready, 'case "$*" in *image/check*) echo "$FOUND"; exit ;; esac\n')
    with pytest.raises(pipeline.BuildFailed, match="CHECK_IMAGE=no skips this check") as failed:
        ready.build(FOUND=json.dumps(found), CHECK_IMAGE="yes")
    assert failed.value.add == ["libpq"]
    assert ready.next(CHECK_IMAGE="yes") == "check"
    assert ready.next() == ""


PIN = Pin("debian:trixie-slim", "any", PINNED, "1970-01-02T00:00:01Z")


def test_an_image_is_dated_by_its_commit(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or by its base image where there is none; a changed file makes the revision a dirty one."""
    with build.inside():
        found = pipeline.commit(PIN)
        assert (found.revision, found.epoch, found.created) == ("", "86401", PIN.date)
        monkeypatch.setenv("DEPLOY_COMMIT", "- 7 1970-01-01T00:00:07Z")
        assert pipeline.commit(PIN).epoch == "7"
        assert pipeline.commit(PIN).revision == ""
        monkeypatch.delenv("DEPLOY_COMMIT")
        git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
        build.project.run(*git, "init", "--quiet")
        build.project.run(*git, "add", ".")
        build.project.run(*git, "commit", "--quiet", "--message", "a")
        head = build.project.run("git", "rev-parse", "HEAD").stdout.strip()
        assert pipeline.commit(PIN).revision == head
        build.write("more", "")
        assert pipeline.commit(PIN).revision == f"{head}-dirty"


def test_podmans_dockerfile_lacks_what_podman_does_not_know(build: Build) -> None:
    """The environment of the base image stands below, and the folder of plain files."""
    with build.inside():
        text = images.run_dockerfile('ENV A="b"', True, True)
        plain = images.run_dockerfile("", False, False)
    assert "--start-interval" not in text
    assert text.endswith('ENV A="b"\nWORKDIR /appenv/app\n')
    assert "--start-interval" in plain
    assert "WORKDIR /appenv/app" not in plain


def test_an_image_that_trusts_own_authorities_says_so_to_its_libraries(build: Build) -> None:
    """Some have certificates of their own, and look at a variable first."""
    with build.inside():
        text = images.run_dockerfile("", False, False, trusts_ca=True)
        plain = images.run_dockerfile("", False, False)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        line = f"ENV {name}=/etc/ssl/certs/ca-certificates.crt\n"
        assert line in text
        assert line not in plain


def test_a_builder_that_does_not_see_local_images_is_not_used(
    ready: Build, tmp_path: Path, program: Callable[[str, str], Path]
) -> None:
    """The engine's own builds."""
    docker = program("docker", 'case "$*" in "context show") echo mine ;; *) exit 1 ;; esac')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(tmp_path))
        assert "BUILDX_BUILDER" not in images.environment(str(docker))
        patch.setenv("BUILDX_BUILDER", "a-container")
        assert images.environment(str(docker))["BUILDX_BUILDER"] == "mine"
        patch.delenv("BUILDX_BUILDER")
        (tmp_path / "buildx").mkdir()
        (tmp_path / "buildx" / "current").write_text("{}")
        assert images.environment(str(docker))["BUILDX_BUILDER"] == "mine"
        assert "BUILDX_BUILDER" not in images.environment("false")


def test_labels_say_what_an_image_is_made_of(ready: Build) -> None:
    """Version, revision, time and base image; another tag is one more name."""
    ready.build(TAG="1.4.0", DEPLOY_COMMIT="abc 7 1970-01-01T00:00:07Z")
    line = ready.log()[-1]
    for word in (
        *("--tag shop-run", "--tag shop-run:1.4.0", "--build-arg SOURCE_DATE_EPOCH=7"),
        *("image.version=1.4.0", "image.revision=abc", "image.created=1970-01-01T00:00:07Z"),
        *("image.base.name=debian:trixie-slim", f"image.base.digest={PINNED.partition('@')[2]}"),
    ):
        assert f"{word} " in line
    ready.build(DEPLOY_COMMIT="abc 7 1970-01-01T00:00:07Z")
    assert "image.version=1.0 " in ready.log()[-1], "the wheel's own"


def test_settings_without_a_value_are_named() -> None:
    """By the command that needs them."""
    with pytest.raises(console.SettingsError, match="PYTHON is not set"):
        load.require({"PYTHON": ""}, "PYTHON")
