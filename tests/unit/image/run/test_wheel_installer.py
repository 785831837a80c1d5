"""Installing wheels with the `installer` library, and compiling their bytecode."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from slipway.image.base import compile_bytecode
from slipway.image.run import wheel_installer
from tests.unit.conftest import make_wheel


def pack(folder: Path, name: str, version: str, files: dict[str, str], entries: str = "") -> Path:
    """Write a wheel of these files; those that begin with #! are executable."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entries,
    }
    record = f"{info}/RECORD,,\n"
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{path},sha256={digest.rstrip('=')},{len(text.encode())}\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(path)
            mode = 0o755 if text.startswith("#!") else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, text)
    return wheel


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A virtualenv without pip."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    return tmp_path / "env"


def packages(place: Path) -> Path:
    """Return the folder of a virtualenv's packages."""
    found: Path = wheel_installer.site_packages(place)
    return found


def run_line(place: Path, script: str) -> str:
    """Run a line of Python in a virtualenv; return its output."""
    return subprocess.check_output([place / "bin" / "python", "-c", script], text=True).strip()


def content(place: Path) -> dict[str, bytes]:
    """Return the content of each file of a virtualenv by its name."""
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_there_is_one_folder_of_packages(place: Path) -> None:
    """It is the one that the virtualenv's own interpreter searches."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    assert run_line(place, script) == str(packages(place))


def test_wheels_can_be_imported_and_are_known_by_their_metadata(
    place: Path, tmp_path: Path
) -> None:
    """The metadata names the installer; installing no wheel changes nothing."""
    before = content(place)
    wheel_installer.into(place, [])
    assert content(place) == before
    wheel_installer.into(
        place, [make_wheel(tmp_path, name, "1.0", seen=name) for name in ("one", "two-b")]
    )
    script = "import one, two_b, importlib.metadata as m; print(one.SEEN, m.version('two-b'))"
    assert run_line(place, script) == "one 1.0"
    info = packages(place) / "two_b-1.0.dist-info"
    assert (info / "INSTALLER").read_text() == "installer\n"
    listed = {line.partition(",")[0] for line in (info / "RECORD").read_text().splitlines()}
    names = ("RECORD", "INSTALLER", "METADATA", "WHEEL", "entry_points.txt")
    assert listed == {"two_b.py", *(f"{info.name}/{name}" for name in names)}


def test_programs_run_by_the_virtualenvs_interpreter(place: Path, tmp_path: Path) -> None:
    """Both kinds: entry points, and scripts whose first line requests any Python."""
    script = "one-1.0.data/scripts/as-script"
    shell = "one-1.0.data/scripts/as-shell"
    wheel = pack(
        tmp_path,
        *("one", "1.0"),
        {
            "one.py": "import sys\ndef main(): print(sys.prefix)\n",
            script: "#!python\nimport one\none.main()\n",
            shell: "#!/bin/sh\necho shell\n",
        },
        "[console_scripts]\nas-entry = one:main\n[gui_scripts]\nas-window = one:main\n",
    )
    wheel_installer.into(place, [wheel])
    for program, output in (
        ("as-entry", f"{place}\n"),
        ("as-window", f"{place}\n"),
        ("as-script", f"{place}\n"),
        ("as-shell", "shell\n"),
    ):
        path = place / "bin" / program
        assert path.stat().st_mode & 0o111 == 0o111
        assert subprocess.check_output([path], text=True) == output
    first = (place / "bin" / "as-script").read_text().splitlines()[0]
    assert first == f"#!{place}/bin/python"
    assert (place / "bin" / "as-shell").read_text().startswith("#!/bin/sh\n")


def test_entry_points_run_wherever_the_virtualenv_is(tmp_path: Path) -> None:
    """Even in a folder whose name is too long for the first line of a script."""
    place = tmp_path / "a place" / ("long" * 40)
    venv.create(place, with_pip=False, symlinks=True)
    entry = "[console_scripts]\none = one:main\n"
    wheel_installer.into(place, [make_wheel(tmp_path, "one", "1.0", entry_points=entry)])
    assert subprocess.check_output([place / "bin" / "one", "a  b"], text=True) == (
        "one 1.0 ['a  b']\n"
    )


def test_the_files_of_each_scheme_are_installed_where_they_belong(
    place: Path, tmp_path: Path
) -> None:
    """A wheel's .data folder has a folder for each scheme."""
    data = "one-1.0.data"
    wheel = pack(
        tmp_path,
        *("one", "1.0"),
        {
            "one/__init__.py": "",
            "one/table.txt": "table",
            f"{data}/purelib/pure.py": "",
            f"{data}/platlib/plat/__init__.py": "",
            f"{data}/data/share/man/one.1": "manual",
            f"{data}/headers/one.h": "header",
            f"{data}/scripts/one": "#!python\n",
        },
    )
    wheel_installer.into(place, [wheel])
    inside = packages(place)
    for path in ("one/__init__.py", "one/table.txt", "pure.py", "plat/__init__.py"):
        assert (inside / path).is_file()
    assert (place / "share" / "man" / "one.1").read_text() == "manual"
    version = inside.parent.name
    assert (place / "include" / "site" / version / "one" / "one.h").read_text() == "header"
    assert (place / "bin" / "one").is_file()
    assert not list(inside.glob("*.data"))
    compiled = {path.name.split(".")[0] for path in inside.rglob("*.pyc")}
    assert compiled == {"__init__", "pure"}
    assert len(list(inside.rglob("*.pyc"))) == 3


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("one/__init__.py", "/packages/one/__init__.py"),
        ("one.py", "/packages/one.py"),
        ("one-1.0.data/purelib/one/a.py", "/packages/one/a.py"),
        ("one-1.0.data/platlib/one.py", "/packages/one.py"),
        ("one-1.0.data/scripts/one", "/bin/one"),
        ("one-1.0.data/data/app/one.py", "/app/one.py"),
    ],
)
def test_the_path_of_an_installed_file_follows_from_its_name(path: str, expected: str) -> None:
    """Files in the .data folder are below the name of their scheme."""
    schemes = {"purelib": "/packages", "platlib": "/packages", "scripts": "/bin", "data": "/"}
    assert wheel_installer.place_of(path, schemes) == Path(expected)


@pytest.mark.parametrize("share", [1, 150])
def test_a_later_wheels_file_replaces_an_earlier_ones(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: int
) -> None:
    """As with pip, bytecode included; the target of an earlier link does not change."""
    # with shares of one module, the first wheel is compiled while the second one is installed
    monkeypatch.setattr(compile_bytecode, "SHARE", share)
    first = pack(tmp_path, "one", "1.0", {"shared.py": "WHO = 'one'\n", "own.py": ""})
    second = pack(
        tmp_path,
        *("two", "1.0"),
        {"shared.py": "WHO = 'two'\n", "two-1.0.data/scripts/run": "#!/bin/sh\necho two\n"},
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (place / "bin" / "run").symlink_to(elsewhere)
    wheel_installer.into(place, [first])
    assert run_line(place, "import shared; print(shared.WHO)") == "one"
    wheel_installer.into(place, [second])
    assert run_line(place, "import shared, own; print(shared.WHO)") == "two"
    assert elsewhere.read_text() == "untouched"
    wheel_installer.into(place, [second, first])
    assert run_line(place, "import shared; print(shared.WHO)") == "one"


def test_a_wheel_writes_and_removes_nothing_outside(place: Path, tmp_path: Path) -> None:
    """A file name that leads out of the virtualenv is rejected, and that file does not change."""
    victim = tmp_path / "victim.py"
    victim.write_text("untouched")
    outside = os.path.relpath(victim, packages(place))
    wheel = pack(tmp_path, "one", "1.0", {outside: "changed"})
    with pytest.raises(ValueError, match="outside"):
        wheel_installer.into(place, [wheel])
    assert victim.is_file()
    assert victim.read_text() == "untouched"


def test_modules_that_do_not_compile_are_skipped(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Some packages contain tests with wrong syntax, or with the syntax of another version."""
    files = {"good.py": "x = 1\n", "bad.py": "x = = 1\n", "naïve name.py": "", "text.txt": "x = ="}
    wheel_installer.into(place, [pack(tmp_path, "one", "1.0", files)])
    assert {path.name.split(".")[0] for path in packages(place).rglob("*.pyc")} == {
        *("good", "naïve name")
    }
    assert "Traceback" not in capfd.readouterr().err


def test_modules_of_tests_are_installed_and_not_compiled(place: Path, tmp_path: Path) -> None:
    """Nobody imports them in production; names that only begin with `test` are compiled."""
    plain = {"one/__init__.py", "one/testing.py", "one/test.py", "tests_of_all/a.py"}
    tests = {"one/tests/a.py", "one/test/__init__.py", "one/tests/deep/b.py", "tests/c.py"}
    wheel_installer.into(place, [pack(tmp_path, "one", "1.0", dict.fromkeys(plain | tests, ""))])
    inside = packages(place)
    assert all((inside / name).is_file() for name in plain | tests)
    compiled = {
        (path.parent.parent / (path.name.split(".")[0] + ".py")).relative_to(inside).as_posix()
        for path in inside.rglob("*.pyc")
    }
    assert compiled == plain


def test_the_same_wheels_give_the_same_bytes(place: Path, tmp_path: Path) -> None:
    """Bytecode included, independent of the time and the number of processes."""
    modules = {f"pkg/m{n}.py": f"def f{n}(a, b=({n}, 'x')): return {{a, {n}}}\n" for n in range(20)}
    wheels = [
        make_wheel(tmp_path, "one", "1.0", entry_points="[console_scripts]\none = one:main\n"),
        pack(tmp_path, "two", "1.0", {**modules, "pkg/__init__.py": "from .m1 import f1\n"}),
    ]
    fresh = content(place)
    found = []
    for time in (1_000_000_000, 1_500_000_000):
        wheel_installer.into(place, wheels)
        found.append(content(place))
        for path in packages(place).rglob("*.py"):
            os.utime(path, (time, time))
        for name in found[-1].keys() - fresh.keys():
            (place / name).unlink()
    assert found[0] == found[1]
    assert len([name for name in found[0] if name.endswith(".pyc")]) == 22


def test_bytecode_is_not_compared_with_its_source(place: Path, tmp_path: Path) -> None:
    """It is of the unchecked kind: the interpreter runs it whatever the time of the source."""
    wheel_installer.into(place, [make_wheel(tmp_path, "one", "1.0", seen="first")])
    (compiled,) = packages(place).rglob("*.pyc")
    flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
    assert flags == 0b01, "by its hash, unchecked (PEP 552)"
    source = packages(place) / "one.py"
    source.write_text(source.read_text().replace("first", "later"))
    assert run_line(place, "import one; print(one.SEEN)") == "first"


def test_a_new_virtualenv_in_the_same_place_gets_the_same_bytecode(tmp_path: Path) -> None:
    """Nothing of the removed virtualenv influences the bytecode."""
    found = []
    for _ in range(2):
        venv.create(tmp_path / "env", with_pip=False, symlinks=True)
        wheel_installer.into(tmp_path / "env", [make_wheel(tmp_path, "one", "1.0")])
        found.append(content(packages(tmp_path / "env")))
        shutil.rmtree(tmp_path / "env")
    assert found[0] == found[1]
    assert any(name.endswith(".pyc") for name in found[0])


def test_bytecode_is_of_the_virtualenvs_interpreter(place: Path, tmp_path: Path) -> None:
    """The interpreter that installs may be another one."""
    wheel_installer.into(place, [make_wheel(tmp_path, "one", "1.0")])
    (compiled,) = packages(place).rglob("*.pyc")
    tag = run_line(place, "import sys; print(sys.implementation.cache_tag)")
    assert compiled.name == f"one.{tag}.pyc"
    assert sys.implementation.cache_tag == tag


@pytest.mark.parametrize(
    "name",
    [
        *("scripts/python", "scripts/python3", "scripts/python3.11", "scripts/pypy3"),
        *("scripts/activate", "data/bin/python", "data/pyvenv.cfg"),
    ],
)
def test_a_wheel_does_not_replace_the_interpreter(place: Path, tmp_path: Path, name: str) -> None:
    """It would run as root while the image is built, to compile the next modules."""
    wheel = pack(tmp_path, "evil", "1.0", {f"evil-1.0.data/{name}": "#!/bin/sh\ntouch OWNED\n"})
    before = (place / "bin" / "python").resolve()
    with pytest.raises(ValueError, match="belongs to the virtualenv"):
        wheel_installer.into(place, [wheel])
    assert (place / "bin" / "python").resolve() == before


def test_an_entry_point_does_not_replace_the_interpreter(place: Path, tmp_path: Path) -> None:
    """Its script would be written by the installer itself."""
    wheel = pack(
        tmp_path,
        "evil",
        "1.0",
        {"evil.py": "main = 1\n"},
        "[console_scripts]\npython = evil:main\n",
    )
    with pytest.raises(ValueError, match="belongs to the virtualenv"):
        wheel_installer.into(place, [wheel])


def test_bytecode_is_compiled_with_the_interpreter_of_the_base(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the virtualenv lies where wheels are installed."""
    used: list[Path] = []

    class Compiler(compile_bytecode.Compiler):
        """One that says what it starts."""

        def __init__(self, python: Path) -> None:
            """Keep the interpreter."""
            used.append(python)
            super().__init__(python)

    monkeypatch.setattr(compile_bytecode, "Compiler", Compiler)
    wheel_installer.into(place, [make_wheel(tmp_path, "one", "1.0")])
    assert used == [(place / "bin" / "python").resolve()]
    assert place not in used[0].parents
