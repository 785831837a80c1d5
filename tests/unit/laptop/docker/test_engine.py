"""What is said when the engine cannot be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.laptop.docker import engine

Program = Callable[[str, str], Path]

# Word for word what the docker and podman commands say.
STOPPED = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    " Is the docker daemon running?\n"
)
UNREACHABLE = (
    'error during connect: Get "http://192.0.2.1:2375/v1.47/version": dial tcp 192.0.2.1:2375:'
    " connect: connection refused\n"
)
NO_DESKTOP = (
    "failed to connect to the docker API at unix:///Users/me/.docker/run/docker.sock; check if the"
    " path is correct and if the daemon is running: dial unix /Users/me/.docker/run/docker.sock:"
    " connect: no such file or directory\n"
)
FORBIDDEN = (
    "permission denied while trying to connect to the Docker daemon socket at"
    ' unix:///var/run/docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.47/version":'
    " dial unix /var/run/docker.sock: connect: permission denied\n"
)
ABSENT = "Error response from daemon: No such image: {name}:latest\n"
ABSENT_IN_PODMAN = "Error: {name}: image not known\n"


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (STOPPED, "the Docker engine does not answer: start it (sudo systemctl start docker"),
        (UNREACHABLE, "the Docker engine does not answer"),
        (NO_DESKTOP, "the Docker engine does not answer"),
        (FORBIDDEN, "this account may not use the Docker engine: add it to the docker group"),
        ("a warning\n\nError: no space left on device\n\n", "Error: no space left on device"),
        ("", "docker failed without a message"),
    ],
)
def test_a_complaint_becomes_one_line_that_says_what_to_do(said: str, advice: str) -> None:
    """What docker says of a stopped engine or a missing group is turned into a command to type."""
    found = engine.explain("docker", said)
    assert found.startswith(advice)
    assert "\n" not in found


def test_the_output_is_given(program: Program) -> None:
    """Blanks in DOCKER separate words: `sudo docker` is a command and its argument."""
    stub = program("sudo", 'echo "$@"')
    assert engine.ask(f"{stub} docker", "image", "ls", "a b") == "docker image ls a b\n"


def test_a_failure_is_explained(program: Program) -> None:
    """What is on standard output then is of no use."""
    stub = program("docker", f"echo nonsense; cat >&2 <<'END'\n{STOPPED}END\nexit 1")
    with pytest.raises(engine.EngineError, match="does not answer: start it"):
        engine.ask(str(stub), "version")


def test_an_engine_says_what_its_images_are_for(program: Program) -> None:
    """As PLATFORM has it; the laptop's own system says nothing about it."""
    stub = program("docker", 'case "$*" in "version --format "*) echo linux/arm64 ;; esac')
    assert engine.platform(str(stub)) == "linux/arm64"


@pytest.mark.parametrize("script", ["echo no such template >&2; exit 125", "exit 1", ":"])
def test_an_engine_that_does_not_say_is_for_anything(program: Program, script: str) -> None:
    """Podman has no server to ask; one that is stopped is complained of by what comes next."""
    assert engine.platform(str(program("podman", script))) == ""


def test_a_docker_that_is_missing_is_for_anything(tmp_path: Path) -> None:
    """It is complained of by what comes next."""
    assert engine.platform(f"{tmp_path}/docker") == ""


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_a_missing_docker_says_what_to_install(tmp_path: Path, names: list[str]) -> None:
    """Nobody is shown a traceback for a program that is not there."""
    for ask in (engine.inspect_images, lambda docker, names: engine.ask(docker, "ps")):
        with pytest.raises(engine.EngineError, match="docker is not installed: install Docker"):
            ask(f"{tmp_path}/docker", names)


@pytest.mark.parametrize("complaint", [ABSENT, ABSENT_IN_PODMAN])
def test_images_that_are_not_there_are_none(program: Program, complaint: str) -> None:
    """Each name has its place in the answer, whichever of them exist."""
    stub = program(
        "docker",
        'shift 2; list=\nfor name; do\n[ "$name" != gone ] ||'
        f" {{ echo '{complaint.format(name='gone').strip()}' >&2; echo '[]'; exit 1; }}\n"
        'list="$list, {\\"Id\\": \\"$name\\"}"; done; echo "[${list#,}]"',
    )
    found = engine.inspect_images(str(stub), ["a", "gone", "b"])
    assert found == [{"Id": "a"}, None, {"Id": "b"}]
    assert engine.inspect_images(str(stub), ["a", "b"]) == [{"Id": "a"}, {"Id": "b"}]
    assert engine.inspect_images(str(stub), ["gone"]) == [None]


def test_docker_is_asked_once_for_several_images(program: Program, tmp_path: Path) -> None:
    """It gives those that are there, and names the others; each question takes a process."""
    stub = program(
        "docker",
        f'echo >>\'{tmp_path}/asked\'; echo \'[{{"Id": "b"}}, {{"Id": "d:1"}}]\'\n'
        "cat >&2 <<'END'\n"
        + ABSENT.format(name="a")
        + "Error response from daemon: No such image: c:1\nEND\nexit 1",
    )
    found = engine.inspect_images(str(stub), ["a", "b", "c:1", "d:1"])
    assert found == [None, {"Id": "b"}, None, {"Id": "d:1"}]
    assert (tmp_path / "asked").read_text() == "\n"


def test_a_stopped_engine_is_not_taken_for_a_missing_image(program: Program) -> None:
    """Otherwise everything would be built again."""
    stub = program("docker", f"cat >&2 <<'END'\n{STOPPED}END\nexit 1")
    with pytest.raises(engine.EngineError, match="does not answer: start it"):
        engine.inspect_images(str(stub), ["a", "b"])


def test_a_folder_is_mounted_whatever_its_name_is() -> None:
    """The value of --mount is a line of CSV; commas, quotes and blanks are part of a name."""
    assert engine.bind(Path('/a b,"c"'), "/x") == 'type=bind,"source=/a b,""c""",target=/x'


@pytest.mark.parametrize(
    ("version", "podman"), [("podman version 5.4.2", True), ("Docker version 28.3.2", False)]
)
def test_podman_is_known_by_its_version(program: Program, version: str, podman: bool) -> None:
    """Whatever the command is called."""
    assert engine.is_podman(str(program("docker", f"echo '{version}'"))) is podman
