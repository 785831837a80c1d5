"""Run options are written once, and are the same here and on the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.containers.laptop import BRIEFLY, Shipped, free_port

pytestmark = pytest.mark.parametrize("shipped", ["CPython"], indirect=True)

# Whatever a shell, make or an .env reader would touch.
ODD = {
    "SPACES": "  two  words ",
    "QUOTES": """it's a "quoted" 'word'""",
    "HASH": "x # y",
    "DOLLAR": "$HOME ${HOME} $$ `id` $(id)",
    "BACKSLASH": r"a\nb\\c\ ",
    "UNICODE": "Grüße, \u4f60\u597d \U0001f680",
    "EMPTY": "",
    "EQUALS": "a=b=c",
}


@pytest.fixture
def environment(shipped: Shipped) -> Iterator[dict[str, str]]:
    """An environment file with odd values, and a volume."""
    file = shipped.project.path / "deploy" / "run.env"
    lines = [f"{name}={value}\n" for name, value in ODD.items()]
    file.write_text("# what it runs with\n\n" + "".join(lines), encoding="utf-8")
    yield ODD
    file.unlink()
    shipped.make("deploy", BRIEFLY)


def environment_of(listed: str) -> dict[str, str]:
    """Read what `env -0` prints, as far as a test has set it."""
    pairs = (line.split("=", 1) for line in listed.split("\0") if "=" in line)
    return {name: value for name, value in pairs if name in ODD}


def test_environment_and_volume_are_the_same_here_and_on_the_server(
    shipped: Shipped, environment: dict[str, str]
) -> None:
    """Every value is as it was written, and the image's user may write into the volume."""
    volume = f"{shipped.name}-files"
    typed = (f"VOLUMES={volume}:/files", "MEMORY=300m")
    files = ("exec", shipped.name, "sh", "-c", "id -u >/files/made && cat /files/made")
    local = f"{shipped.name}-local"
    shipped.make("run", f"PORT={free_port()}", *typed)
    try:
        here = shipped.laptop.docker("exec", local, "env", "-0")
        assert environment_of(here) == environment
        assert shipped.laptop.docker("exec", local, *files[2:]).strip() == "10001"
    finally:
        shipped.make("stop")
        shipped.laptop.docker("volume", "rm", volume)

    shipped.make("deploy", BRIEFLY, *typed)
    there = shipped.laptop.server.docker("exec", shipped.name, "env", "-0")
    assert environment_of(there) == environment
    assert shipped.laptop.server.docker(*files).strip() == "10001"
    assert shipped.on_server(".HostConfig.Memory") == str(300 * 2**20)
    assert "nothing to do" in shipped.make("deploy", BRIEFLY, *typed).splitlines()[-1]


def test_changed_environment_alone_is_deployed(
    shipped: Shipped, environment: dict[str, str]
) -> None:
    """The image stays; secrets are in no process list and no file that others may read."""
    shipped.make("deploy", BRIEFLY)
    before = shipped.on_server(".Id")
    file = shipped.project.path / "deploy" / "run.env"
    file.write_text("SECRET=s3cret-é\n", encoding="utf-8")
    shipped.make("deploy", BRIEFLY)
    assert shipped.on_server(".Id") != before
    assert "s3cret-é" in shipped.on_server("json .Config.Env")
    readable = "grep -rl s3cret /root /home /tmp /var/tmp /var/log | xargs -r stat -c %a"
    assert set(shipped.laptop.server.run("sh", "-c", readable).split()) <= {"600"}
    assert "s3cret" not in shipped.laptop.docker("history", "--no-trunc", shipped.run_image)


def test_environment_that_docker_cannot_carry_is_refused_with_its_line(
    shipped: Shipped, environment: dict[str, str]
) -> None:
    """Before anything is built, run or sent."""
    file = shipped.project.path / "deploy" / "run.env"
    file.write_text('A=1\nKEY="-----BEGIN\nMIIE\n-----END"\n', encoding="utf-8")
    before = shipped.on_server(".Id")
    for target in ("run", "deploy"):
        said = shipped.make_fails(target)
        assert "deploy/run.env, line 2: the value of KEY continues in line 3" in said
        assert "MIIE" not in said
    assert shipped.on_server(".Id") == before
