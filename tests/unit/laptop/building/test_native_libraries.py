"""NATIVE in settings.mk: library names added to it, by hand and by what builds report."""

from __future__ import annotations

import json
import re

import pytest

from slipway.laptop import console
from slipway.laptop.building import native_libraries, pipeline
from slipway.laptop.commands import build as build_command
from slipway.laptop.commands import native as native_command
from slipway.laptop.settings import load
from tests.unit.laptop.building.conftest import PINNED, Build, pinned

Shown = pytest.CaptureFixture[str]


def native(build: Build, **environment: str) -> int:
    """Run make native in a project."""
    with build.inside(**environment):
        return native_command.run("native", [])


def test_name_is_written_once(build: Build, capsys: Shown) -> None:
    """By whatever name it is there."""
    assert native(build, ADD="libpq-dev apt:libaio-dev") == 0
    assert capsys.readouterr().out == (
        "slipway: added libpq-dev apt:libaio-dev to NATIVE. Next: make image\n"
    )
    assert "NATIVE := openssl libpq-dev apt:libaio-dev\n" in build.project.read(
        "deploy/settings.mk"
    )
    assert native(build, ADD="postgresql ssl") == 0
    assert "NATIVE has these libraries already" in capsys.readouterr().out


def test_unknown_name_is_not_written(build: Build) -> None:
    """The nearest names are in the message, which is about what was typed."""
    before = build.project.read("deploy/settings.mk")
    says = r"ADD names 'libpg', .* libpq\b.* A Debian package is named as apt:PACKAGE"
    with pytest.raises(console.Failed, match=says):
        native(build, ADD="libpg")
    assert build.project.read("deploy/settings.mk") == before


def test_a_dry_run_writes_nothing(build: Build, capsys: Shown) -> None:
    """It names what would be written."""
    before = build.project.read("deploy/settings.mk")
    assert native(build, ADD="libpq", DRY_RUN="1") == 0
    assert "would get: libpq" in capsys.readouterr().out
    assert build.project.read("deploy/settings.mk") == before


@pytest.fixture
def ready(build: Build) -> Build:
    """A project of which nothing is built, with the wheels that its builder will make."""
    pinned(build)
    build.image(PINNED, "from")
    build.make("wheels")
    return build


def failing(**values: object) -> str:
    """Return a script that prints the report of a builder that failed."""
    event = {"event": "result", "outcome": "failed", "add": [], "find": [], **values}
    return f"echo '{json.dumps(event)}'; exit 1"


FOUND = {"missing": {}, "used": [], "interpreter": ["libssl.so.3"], "provided": [], "there": []}
VLC = {"loads": {"vlc": [["vlc", "libvlc.so.5"]]}}


def checks(**values: object) -> str:
    """Return a script that prints what a check found."""
    return f"echo '{json.dumps({**FOUND, 'problems': {}, 'files': 0, **values})}'; exit"


# Wheels that want libpq, then a package of a file; an image whose modules want magic, and one whose
# sources load vlc, without which it is made.
BUILDS = f"""\
has() {{ grep -q "^NATIVE := .*$1" PROJECT/deploy/settings.mk; }}
case "$*" in
*"--entrypoint sh"*)
    case "$*" in *foo*) echo "usr/include/foo.h libdevel/libfoo-dev" ;; esac
    exit
    ;;
*image/check*)
    has magic || {{ {checks(missing={"b": [["libmagic.so.1", "x"]]})}; }}
    {checks(**VLC)}
    ;;
*)
    has libpq || {{ {failing(add=["libpq"])}; }}
    has libfoo-dev || {{ {failing(find=["foo.h"])}; }}
    ;;
esac
"""


def test_auto_adds_what_is_missing_until_it_is_made(ready: Build, capsys: Shown) -> None:
    """One after another, and all are written; also what the image was made without."""
    script = BUILDS.replace("PROJECT", f"'{ready.project.path}'")
    (ready.images.parent / "meanwhile").write_text(script)
    listing = ready.project.path / "wheelhouse/python3/deps/requirements.txt"
    listing.write_text(f"vlc==1.0 --hash=sha256:{'0' * 64}\n")
    settings = {"NATIVE": "auto", "DEPLOY_OVERRIDES": "NATIVE CHECK_IMAGE", "CHECK_IMAGE": "yes"}
    with ready.inside(**settings):
        assert build_command.run("wheels", ["image"]) == 0
    shown = capsys.readouterr()
    added = "libpq apt:libfoo-dev magic vlc"
    assert f"NATIVE := openssl {added}\n" in ready.project.read("deploy/settings.mk")
    assert shown.out.endswith(f"slipway: added to NATIVE in deploy/settings.mk: {added}\n")
    assert shown.err.count("wheels: not built") == 2
    assert "adding libpq to NATIVE in deploy/settings.mk, and trying again" in shown.out


def test_auto_ends_where_no_name_helps(ready: Build) -> None:
    """A failure that names no library, or one that is there already, is a failure."""
    for values in ({"add": ["ssl"]}, {}):
        (ready.images.parent / "meanwhile").write_text(failing(**values))
        with pytest.raises(pipeline.BuildFailed, match="wheels: not built"):
            native(ready)


def test_file_is_looked_up(ready: Build, capsys: Shown) -> None:
    """In the tools, which are built first; a file that nothing has is named."""
    (ready.images.parent / "meanwhile").write_text(BUILDS.replace("PROJECT", "."))
    assert native(ready, FIND="foo.h") == 0
    assert capsys.readouterr().out.endswith(
        "slipway: foo.h is in libfoo-dev. To add it: make native ADD=apt:libfoo-dev\n"
    )
    assert ready.next("tools") == ""
    with pytest.raises(console.Failed, match=re.escape("no package of this Debian release has ba")):
        native(ready, FIND="bar.h")


def test_what_the_lock_loads_is_said(build: Build) -> None:
    """Libraries that no compiler asks for, unless NATIVE has them."""
    lock = f"python-magic==0.4.27 --hash=sha256:{'0' * 64}\n"
    build.write("requirements.txt", lock)
    with build.inside():
        (line,) = pipeline.loaded_at_run_time(load.load())
    assert line.startswith("python-magic loads magic when it runs. ")
    with build.inside(NATIVE="libmagic1"):
        assert pipeline.loaded_at_run_time(load.load()) == []
    names = ("psycopg", "psycopg-binary")
    pins = "".join(f"{name}==3.2 --hash=sha256:{'0' * 64}\n" for name in names)
    build.write("requirements.txt", pins)
    with build.inside():
        assert pipeline.loaded_at_run_time(load.load()) == []


@pytest.mark.parametrize(
    ("listing", "package"),
    [
        ("usr/include/yaml.h libdevel/libyaml-dev\n", "libyaml-dev"),
        (
            "usr/include/a/yaml.h libdevel/liba-dev\nusr/include/yaml.h libdevel/libyaml-dev",
            "libyaml-dev",
        ),
        ("usr/include/x.h libdevel/libx-longer-dev,libdevel/libx-dev", "libx-dev"),
        ("", ""),
    ],
)
def test_package_is_the_plainest_that_has_the_file(listing: str, package: str) -> None:
    """The nearest to where everybody looks."""
    assert native_libraries.best_package(listing) == package


def test_program_is_looked_for_where_programs_are() -> None:
    """Not as a library that goes by the same name."""
    assert native_libraries.patterns_for("bin/proj") == ["usr/bin/proj", "usr/sbin/proj"]


def test_absolute_path_is_looked_for_there() -> None:
    """As the log of an application names a file that it lacks."""
    assert native_libraries.patterns_for("/etc/mime.types") == [r"etc/mime\.types"]


EXTERNAL = """\
[external]
build-requires = ["dep:virtual/compiler/c", "dep:virtual/compiler/rust"]
host-requires = ["dep:generic/libpq", 'pkg:generic/openssl@>=3']
dependencies = ["dep:generic/libmagic; sys_platform == 'linux'"]
"""


def test_external_table_is_part_of_native(build: Build) -> None:
    """Beside the names in the settings, each once."""
    build.write("pyproject.toml", f"[project]\nname = 'shop'\n{EXTERNAL}")
    with build.inside():
        assert load.load()["NATIVE"] == "openssl rust libpq magic"
        assert load.load()["NATIVE_AUTO"] == ""
    with build.inside(NATIVE="auto zlib", DEPLOY_OVERRIDES="NATIVE"):
        found = load.load()
    assert (found["NATIVE"], found["NATIVE_AUTO"]) == ("zlib openssl rust libpq magic", "yes")
