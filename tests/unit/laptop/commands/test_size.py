"""What the run image's megabytes are said to be."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from slipway.laptop.commands import size

from tests.conftest import Project
from tests.unit.conftest import make_wheel, shell_script

HISTORY = """\
{"Size":"0","CreatedBy":"ENTRYPOINT"}
{"Size":"2000000","CreatedBy":"RUN |1 COMMAND=go /bin/sh -c python /opt/builder/install.py"}
{"Size":"30000000","CreatedBy":"RUN /bin/sh -c python /opt/builder/install.py /wheelhouse"}
{"Size":"70000000","CreatedBy":"COPY / / # buildkit"}
"""
PACKAGES = '{"zlib1g": 100000, "libc6": 13000000, "a": 1, "b": 2}'


def test_wheels_count_as_they_are_unpacked_with_the_largest_first(tmp_path: Path) -> None:
    """A packed wheel says little about the space that it takes."""
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


def test_layers_are_named_by_what_they_are(project: Project, tmp_path: Path) -> None:
    """Each layer and package that takes space has a line, and the sum is above them."""
    script = f"""
if [ "$1" = history ]; then
    cat <<'END'
{HISTORY}END
else
    for word; do last=$word; done
    [ "$1 $last" = 'run sizes' ] && echo '{PACKAGES}'
fi
"""
    docker = shell_script(tmp_path / "bin" / "docker", script)
    done = project.run(sys.executable, "deploy/size.py", DOCKER=str(docker))
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


def test_image_that_is_not_there_is_said(project: Project, tmp_path: Path) -> None:
    """The command that makes it is named."""
    script = "echo 'Error response from daemon: No such image: shop-run' >&2; exit 1"
    docker = shell_script(tmp_path / "bin" / "docker", script)
    done = project.run(sys.executable, "deploy/size.py", DOCKER=str(docker))
    assert done.returncode != 0
    assert done.stdout == "size.py: there is no image shop-run yet: run make image\n"
