"""make size: the tables, and messages about images that are missing."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from slipway.laptop.commands import size
from tests.conftest import Project
from tests.unit.conftest import make_wheel, shell_script

HISTORY = """\
{{"Size":"0","CreatedBy":"ENTRYPOINT"}}
{{"Size":"2000000","CreatedBy":"RUN |1 COMMAND=go /bin/sh -c python {installer}"}}
{{"Size":"30000000","CreatedBy":"RUN /bin/sh -c python {installer} /wheelhouse"}}
{{"Size":"70000000","CreatedBy":"COPY / / # buildkit"}}
"""
INSTALLERS = ("-m slipway.image.run.install_wheelhouse", "/opt/builder/install.py")
PACKAGES = '{"zlib1g": 100000, "libc6": 13000000, "a": 1, "b": 2}'


def test_wheels_are_counted_unpacked_and_the_largest_comes_first(tmp_path: Path) -> None:
    """The size of a packed wheel differs from the space that it takes in the image."""
    for part, name, seen in (("deps", "small", ""), ("app", "large", "x" * 10_000)):
        (tmp_path / part).mkdir()
        make_wheel(tmp_path / part, name, "1.0", seen=seen)
    found = size.wheels(tmp_path)
    assert [name for _, name in found] == [
        "large-1.0-py3-none-any.whl",
        "small-1.0-py3-none-any.whl",
    ]
    with zipfile.ZipFile(tmp_path / "app" / "large-1.0-py3-none-any.whl") as archive:
        assert found[0][0] == sum(len(archive.read(name)) for name in archive.namelist()) > 10_000


@pytest.mark.parametrize("installer", INSTALLERS)
def test_layers_are_named_by_their_content(
    project: Project, tmp_path: Path, installer: str
) -> None:
    """Each layer and large package has a line, with the sum above them; so in older images."""
    script = f"""
if [ "$1" = history ]; then
    cat <<'END'
{HISTORY.format(installer=installer)}END
else
    for word; do last=$word; done
    [ "$1 $last" = 'run sizes' ] && echo '{PACKAGES}'
fi
"""
    docker = shell_script(tmp_path / "bin" / "docker", script)
    done = project.run(sys.executable, "deploy/slipway", "size", DOCKER=str(docker))
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == [
        "   102.0 MB  shop-run, in layers",
        "    70.0     the interpreter, C libraries and what they need of Debian",
        "    30.0     the dependencies, with their bytecode",
        "     2.0     the application and its start script",
        "    13.1 MB  shop-base, in Debian packages that shop-run has",
        "    13.0     libc6",
        "     0.1     zlib1g",
        "     0.0     2 smaller ones",
        "     0.0 MB  wheelhouse/python3, in wheels",
    ]


def test_an_image_that_is_missing_is_named(project: Project, tmp_path: Path) -> None:
    """So is the command that builds it."""
    script = "echo 'Error response from daemon: No such image: shop-run' >&2; exit 1"
    docker = shell_script(tmp_path / "bin" / "docker", script)
    done = project.run(sys.executable, "deploy/slipway", "size", DOCKER=str(docker))
    assert done.returncode != 0
    assert done.stdout == "slipway: there is no image shop-run yet: run make image\n"
