"""make run and make stop, with a docker that records its command lines."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from slipway.laptop import console
from slipway.laptop.building import pipeline
from slipway.laptop.commands import run as command
from slipway.laptop.docker import local_container
from slipway.laptop.settings import load as settings
from slipway.laptop.settings import run_env
from tests.unit.conftest import SETTINGS, Program

# Volumes are missing, and a container has the health that a test wants.
DOCKER = """\
echo "$*" >>"$0.log"
case "$1 $2" in
--version*) echo "Docker version 28" ;;
"volume inspect") exit 1 ;;
"image inspect") echo 10001:10001 ;;
"run --rm") echo "the job's output"; exit {status} ;;
"run --detach") echo 0123abcd; echo '{problem}' >&2; exit {status} ;;
"container inspect")
    case "$4" in
    *RestartCount*) echo '{health} 0' ;;
    *Health.Log*) echo '{answer}' ;;
    *) exit 1 ;;
    esac
    ;;
esac
"""
WORKER = SETTINGS + "COMMAND_worker := work\nCOMMAND_tidy := tidy\nHEALTH_tidy := ends\n"


class Machine:
    """A docker command and a project whose image is up to date."""

    def __init__(self, folder: Path, program: Program, patch: pytest.MonkeyPatch) -> None:
        """Replace what is outside of the command."""
        self.program = program
        self.patch = patch
        self.built: list[tuple[list[str], bool]] = []
        self.environment_file = folder / "run.env"
        self.docker()
        patch.setattr(run_env, "PATH", self.environment_file)
        patch.setattr(
            pipeline,
            "make",
            lambda _, goals, quiet=False: self.built.append((list(goals), quiet)),
        )

    def docker(self, status: int = 0, health: str = "healthy", **more: str) -> None:
        """Set the exit status and problem of docker run, and the container's health and answer."""
        said = {"problem": "", "answer": "", **more}
        self.path = self.program("docker", DOCKER.format(status=status, health=health, **said))
        self.log = self.path.with_name("docker.log")

    def run(self, name: str = "run", **variables: str) -> None:
        """Start the command, with variables as on make's command line."""
        self.log.write_text("")
        found = settings.resolve(WORKER, {"DOCKER": str(self.path), **variables})
        self.patch.setattr(command, "load", lambda: found)
        if name == "stop":
            local_container.stop(found)
        else:
            assert command.run(name, []) == 0

    @property
    def asked(self) -> list[str]:
        """The docker command lines, without questions about versions and health."""
        lines = self.log.read_text().splitlines()
        questions = ("--version", "container inspect", "exec ")
        return [line for line in lines if not line.startswith(questions)]


@pytest.fixture
def machine(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which nothing runs."""
    return Machine(tmp_path, program, monkeypatch)


def test_the_image_is_brought_up_to_date_and_started_in_place_of_the_last_container(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """On this machine's own address; the output says where it answers."""
    machine.run(PORT="9000")
    assert machine.built == [(["image"], True)]
    *removal, start = machine.asked
    assert removal == ["stop shop-local", "rm --force --volumes shop-local"]
    assert start.startswith("run --detach --name shop-local --init --read-only ")
    assert start.endswith(" --publish 127.0.0.1:9000:8081 shop-run")
    said = capfd.readouterr()
    assert said.out == "slipway: http://127.0.0.1:9000 answers; stop it with: make stop\n"
    assert said.err.strip() == ""


def test_volumes_are_created_for_the_images_user(machine: Machine) -> None:
    """As on a server; a folder of the machine is none."""
    machine.run(VOLUMES="shop-files:/files /srv/x:/x:ro")
    create = next(line for line in machine.asked if line.startswith("create "))
    assert "--volume shop-files:/files shop-run" in create
    assert create.endswith("chown -hR 10001:10001 /files")
    assert machine.asked.index(create) < len(machine.asked) - 1
    assert machine.asked[-1].startswith("run --detach ")


def test_run_env_is_passed_on_as_a_file(machine: Machine) -> None:
    """No secret is on a command line."""
    machine.environment_file.write_text("SECRET=abc\n")
    machine.run()
    assert f" --env-file {machine.environment_file} shop-run" in machine.asked[-1]


def test_a_mistake_in_run_env_is_reported_before_anything_is_stopped(machine: Machine) -> None:
    """What runs goes on running."""
    machine.environment_file.write_text("export SECRET=abc\n")
    with pytest.raises(console.Failed, match=r"deploy/run\.env, line 1: write NAME=value"):
        machine.run()
    assert machine.asked == []


def test_a_one_off_job_is_shown_and_waited_for(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own output comes first."""
    machine.run(PROGRAM="tidy")
    assert machine.asked[-1].startswith("run --rm --name shop-tidy-local ")
    said = capfd.readouterr().out.splitlines()
    assert said == ["the job's output", "slipway: shop-tidy-local has finished"]


def test_a_one_off_job_that_fails_is_reported_with_its_status(machine: Machine) -> None:
    """Nothing else is to be said: its output was shown."""
    machine.docker(status=4)
    with pytest.raises(console.Failed, match=r"^shop-tidy-local ended with status 4$"):
        machine.run(PROGRAM="tidy")


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        ("driver failed: Bind for 127.0.0.1:8081 failed: port is already allocated", "PORT="),
        ("listen tcp4 127.0.0.1:8081: bind: address already in use", "Port 8081 is in use: run "),
        ('exec: "docker-init": executable file not found in $PATH', "sudo apt install tini"),
        ("invalid mount path: x", "$"),
    ],
)
def test_a_container_that_does_not_start_is_removed(
    machine: Machine, capfd: pytest.CaptureFixture[str], problem: str, says: str
) -> None:
    """Docker's own message is shown, and what to do about the usual ones."""
    machine.docker(status=125, problem=problem)
    with pytest.raises(console.Failed, match=f"does not start; see above.*{says}"):
        machine.run()
    assert problem in capfd.readouterr().err
    assert machine.asked[-1] == "rm --force --volumes shop-local"


def test_a_container_that_is_not_healthy_is_left_for_inspection(machine: Machine) -> None:
    """The message has the command that shows its log."""
    machine.docker(health="exited")
    with pytest.raises(console.Failed, match=r"not healthy; .*: docker logs shop-local$"):
        machine.run()
    assert len([line for line in machine.asked if line.startswith("rm ")]) == 1


def test_a_health_check_that_gets_an_error_is_pointed_out(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every answer below 500 is healthy, and a missing page proves little."""
    machine.docker(answer="GET / answers HTTP/1.0 404 Not Found")
    machine.run()
    said = capfd.readouterr().out
    assert "GET / answers 404 Not Found, which counts as healthy: set HEALTH to a path" in said
    machine.docker(answer="GET / answers HTTP/1.0 302 Found")
    machine.run()
    assert "which counts as healthy" not in capfd.readouterr().out


def test_another_program_of_the_image_has_no_address(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """The output says how to see its log, and how to stop it."""
    machine.docker(health="steady")
    machine.run(PROGRAM="worker", STEADY="0")
    assert "--publish" not in machine.asked[-1]
    said = capfd.readouterr().out
    assert "shop-worker-local is running" in said
    assert "docker logs shop-worker-local" in said
    assert "make stop PROGRAM=worker" in said


def test_stop_removes_the_container(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is built for that. The application is told to end, and not killed."""
    machine.run("stop")
    assert machine.asked == ["stop shop-local", "rm --force --volumes shop-local"]
    assert machine.built == []
    assert capfd.readouterr().out == "slipway: shop-local is stopped\n"


def test_stop_needs_no_docker(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing can run then."""
    machine.run("stop", DOCKER="/no/docker")
    assert capfd.readouterr().out == "slipway: shop-local is stopped\n"


def commands_in(output: str) -> list[list[str]]:
    """Return the command lines of a dry run."""
    text = output.replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]


def test_a_dry_run_prints_the_command_lines_and_runs_none(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are those of a real run, in their order."""
    machine.environment_file.write_text("SECRET=abc\n")
    variables = {"VOLUMES": "shop-files:/files", "RUN_OPTIONS": "--label 'a b'"}
    machine.run(**variables)
    stop, removal, *_, start = machine.asked
    capfd.readouterr()
    machine.run(**variables, DRY_RUN="1")
    assert machine.asked == []
    said = capfd.readouterr().out
    assert "SECRET" not in said
    zeroth, first, volumes, second, healthy = commands_in(said)
    assert zeroth == [str(machine.path), *stop.split()]
    assert first == [str(machine.path), *removal.split()]
    assert second[0] == str(machine.path)
    assert " ".join(second[1:]) == start
    assert second[second.index("a b") - 1] == "--label"
    assert volumes[-2:] == ["make_volumes", "shop-run"]
    assert "VOLUMES=shop-files:/files" in volumes
    assert healthy[-2:] == ["wait_healthy", "shop-local"]


def test_the_printed_command_lines_can_be_pasted_into_a_shell(
    machine: Machine, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """They do what a run does."""
    machine.run(VOLUMES="shop-files:/files")
    wanted = machine.asked
    capfd.readouterr()
    machine.run(VOLUMES="shop-files:/files", DRY_RUN="1")
    script = capfd.readouterr().out
    machine.log.write_text("")
    subprocess.run(["sh", "-eu"], input=script, text=True, check=True, cwd=tmp_path)
    assert machine.asked == wanted


@pytest.mark.parametrize("job", [False, True])
def test_a_dry_run_of_a_one_off_job_waits_for_no_health(
    machine: Machine, capfd: pytest.CaptureFixture[str], job: bool
) -> None:
    """Docker's own command waits for it."""
    machine.run(DRY_RUN="1", **({"PROGRAM": "tidy"} if job else {}))
    assert ("wait_healthy" in capfd.readouterr().out) is not job


def test_a_dry_run_of_stop_prints_its_command_lines(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """And nothing else."""
    machine.run("stop", DRY_RUN="1")
    assert machine.asked == []
    docker = str(machine.path)
    removal = [[docker, "stop", "shop-local"], [docker, "rm", "--force", "--volumes", "shop-local"]]
    assert commands_in(capfd.readouterr().out) == removal


def test_what_the_container_says_has_no_control_character(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its log and its answers are shown, and none of them reaches the terminal as a command."""
    machine.docker(answer="GET /\x1b]0;x answers HTTP/1.0 404 No\x07")
    machine.run()
    said = capfd.readouterr().out
    assert "GET /\\x1b]0;x answers 404 No\\x07, which counts as healthy" in said
