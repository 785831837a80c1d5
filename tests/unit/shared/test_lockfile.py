"""The lock: its content, its place and its inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.shared import lockfile

LOCK = """\
# Locked for PyPy 3.11 by `make lock`; `make upgrade` moves the pins.
attrs==24.2.0 \\
    --hash=sha256:bbbb \\
    --hash=sha256:aaaa
    # via
    #   shop (pyproject.toml)
    #   twisted
--index-url https://index.example/simple
Zope.Interface[docs,test]==7.0 ; python_version >= "3.9" and sys_platform != "win32" \\
    --hash=sha256:cccc  # a word
setuptools==75.1.0 --hash=sha256:dddd

# The following packages are considered to be unsafe in a requirements file:
"""
PLAIN = "attrs==24.2.0\n"


def write(folder: Path, **files: str | bytes) -> Path:
    """Write files into a folder; `requirements_txt` stands for requirements.txt."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def test_pins_have_name_version_marker_and_hashes() -> None:
    """The format of pip-compile is supported, with extras, markers and comments."""
    assert lockfile.pins(LOCK) == [
        ("attrs", "24.2.0", "", ("sha256:aaaa", "sha256:bbbb")),
        (
            "zope-interface",
            "7.0",
            'python_version >= "3.9" and sys_platform != "win32"',
            ("sha256:cccc",),
        ),
        ("setuptools", "75.1.0", "", ("sha256:dddd",)),
    ]


@given(
    pins=st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True),
            st.from_regex(
                r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(rc1|\.post2|\+local\.1)?", fullmatch=True
            ),
            st.sampled_from(["", 'python_version < "3.12"', 'extra == "a#b"']),
            st.sets(st.from_regex(r"sha256:[0-9a-f]{8}", fullmatch=True), min_size=1, max_size=3),
        ),
        max_size=5,
    ),
    comments=st.booleans(),
)
def test_what_pip_compile_writes_is_read_back(
    pins: list[tuple[str, str, str, set[str]]], comments: bool
) -> None:
    """Pins in the format of pip-compile are read unchanged."""
    text = ""
    for name, version, marker, hashes in pins:
        text += f"{name}=={version}{' ; ' + marker if marker else ''}"
        text += "".join(f" \\\n    --hash={each}" for each in hashes)
        text += "\n    # via -r requirements.in\n" if comments else "\n"
    assert lockfile.pins(text) == [
        (lockfile.normalize(name), version, marker, tuple(sorted(hashes)))
        for name, version, marker, hashes in pins
    ]


@pytest.mark.parametrize(
    "line",
    [
        "attrs==24.2.0",
        "attrs>=24.2.0 --hash=sha256:aaaa",
        "attrs --hash=sha256:aaaa",
        "attrs==24.2.0,<25 --hash=sha256:aaaa",
        "attrs @ https://files.example/attrs.whl --hash=sha256:aaaa",
        "./attrs --hash=sha256:aaaa",
    ],
)
def test_a_requirement_without_pin_or_hash_is_named(line: str) -> None:
    """pip would not check such a lock."""
    with pytest.raises(ValueError, match="attrs") as refused:
        lockfile.pins(f"{LOCK}{line}\n")
    assert str(refused.value) == line


def test_a_blank_line_ends_a_continued_one() -> None:
    """This is how pip reads a backslash before an empty line."""
    text = "a==1 --hash=sha256:aa \\\n\nb==2 --hash=sha256:bb\n"
    assert [pin.name for pin in lockfile.pins(text)] == ["a", "b"]


@pytest.mark.parametrize("name", ["zope.interface", "Zope_Interface", "ZOPE--interface"])
def test_names_have_one_spelling(name: str) -> None:
    """Locks, wheels and metadata may spell a name differently."""
    assert lockfile.normalize(name) == "zope-interface"


def test_a_lock_says_which_interpreter_it_is_for() -> None:
    """The line is read as it was written."""
    header = lockfile.HEADER.format(interpreter=lockfile.interpreter())
    assert lockfile.locked_for(header + "\n") == lockfile.interpreter()
    assert lockfile.locked_for(LOCK) == "PyPy 3.11"
    assert lockfile.locked_for(LOCK.partition("\n")[2]) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LOCK, True),
        (LOCK.partition("\n")[2], True),
        (lockfile.HEADER.format(interpreter="CPython 3.13"), True),
        (PLAIN, False),
        ("", False),
        ("# nothing yet\n", False),
        ("-r requirements/base.txt\n", False),
        ("-e .\n", False),
        (LOCK + PLAIN, True),
        (LOCK.partition("\n")[2] + PLAIN, False),
    ],
)
def test_a_lock_is_told_from_a_list_written_by_hand(text: str, expected: bool) -> None:
    """A lock has the header of `make lock`, or a hash for each pin."""
    assert lockfile.is_lock(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "requirements.txt"),
        (LOCK, "requirements.txt"),
        (PLAIN, "requirements.lock"),
        ("", "requirements.lock"),
        (LOCK.replace("\n", "\r\n"), "requirements.txt"),
        ("\ufeff" + LOCK, "requirements.txt"),
    ],
)
def test_the_lock_never_takes_the_place_of_a_list_written_by_hand(
    tmp_path: Path, text: str | None, expected: str
) -> None:
    """A handwritten requirements.txt is an input, and its lock has another name."""
    if text is not None:
        write(tmp_path, requirements_txt=text)
    assert lockfile.lock_path(tmp_path) == tmp_path / expected


PROJECT = "[project]\nname = 'shop'\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"pyproject_toml": PROJECT}, ["pyproject.toml"]),
        ({"pyproject_toml": "[build-system]\n"}, ["pyproject.toml"]),
        ({"pyproject_toml": "# x\n[ tool.poetry ] # y\n"}, ["pyproject.toml"]),
        ({"pyproject_toml": "# x\nproject.name = 'shop' # y\n"}, ["pyproject.toml"]),
        ({"pyproject_toml": "build-system = {}\n[tool.black]\n"}, ["pyproject.toml"]),
        ({"pyproject_toml": "[tool.black]\n"}, []),
        ({"pyproject_toml": "[tool.black]\nproject = 'x'\n"}, []),
        ({"pyproject_toml": "[tool.ruff]\n", "requirements_in": "attrs"}, ["requirements.in"]),
        ({"pyproject_toml": "[tool]\npoetry.name = 'x'\n"}, ["pyproject.toml"]),
        ({"pyproject_toml": 'text = """\n[project]\n"""\n'}, []),
        ({"setup_py": ""}, ["setup.py"]),
        ({"setup_py": "", "pyproject_toml": "[tool.black]\n"}, ["pyproject.toml"]),
        ({"requirements_in": "attrs"}, ["requirements.in"]),
        ({"requirements_in": "attrs", "requirements_txt": LOCK}, ["requirements.in"]),
        ({"requirements_in": "attrs", "requirements_txt": PLAIN}, ["requirements.in"]),
        ({"requirements_txt": PLAIN}, ["requirements.txt"]),
        ({"requirements_txt": LOCK}, []),
        (
            {"pyproject_toml": PROJECT, "requirements_in": "attrs"},
            ["pyproject.toml", "requirements.in"],
        ),
        (
            {"pyproject_toml": PROJECT, "requirements_txt": PLAIN},
            ["pyproject.toml", "requirements.txt"],
        ),
        ({"pyproject_toml": PROJECT, "requirements_txt": LOCK}, ["pyproject.toml"]),
    ],
)
def test_the_files_that_say_what_is_wanted(
    tmp_path: Path, files: dict[str, str], expected: list[str]
) -> None:
    """All kinds of applications are supported, and a lock is never its own source."""
    assert lockfile.sources(write(tmp_path, **files)) == expected


@pytest.mark.parametrize("name", ["requirements_txt", "pyproject_toml"])
@pytest.mark.parametrize("data", ["attrs\n".encode("utf-16"), b"# caf\xe9\n"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    """`pip freeze >requirements.txt` in PowerShell writes UTF-16; the message names the file."""
    folder = write(tmp_path, **{name: data})
    with pytest.raises(ValueError, match=rf"^{name.replace('_', '.')} is not UTF-8 text: save"):
        lockfile.sources(folder)


def test_a_pyproject_that_is_not_toml_is_named_with_its_line(tmp_path: Path) -> None:
    """The message is one line."""
    folder = write(tmp_path, pyproject_toml="[project]\nname = shop\n")
    says = r"^pyproject\.toml is not valid TOML: Invalid value \(at line 2, column 8\)$"
    with pytest.raises(ValueError, match=says):
        lockfile.sources(folder)


def test_what_is_no_source_is_left_out(tmp_path: Path) -> None:
    """Caches in any folder, generated folders at the top, and the machinery are left out."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "deploy.mk").touch()
    (tmp_path / "shop" / "deploy").mkdir(parents=True)
    made = ["wheelhouse", "appenv", "venv"]
    caches = [".git", ".venv", ".mypy_cache", "__pycache__", "a.pyc", "shop.egg-info", ".deploy"]
    source = ["shop", "git", "venv.py", ".env", "dist", "README.md"]
    for name in (*source, *made, *caches):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / "shop" / name).mkdir(exist_ok=True)
    top = lockfile.not_source(tmp_path, tmp_path, [*made, *caches, *source, "deploy"])
    assert top == {*made, *caches, "deploy"}
    below = lockfile.not_source(tmp_path, tmp_path / "shop", [*made, *caches, *source, "deploy"])
    assert below == {*caches}


def test_compiled_wheels_depend_on_interpreter_and_system() -> None:
    """The list of a wheelhouse states its system, so that another base image rebuilds it."""
    assert lockfile.system().startswith(lockfile.interpreter() + " ")
    assert os.uname().machine.replace("_", "-") in lockfile.system().replace("_", "-")


def test_only_pins_whose_markers_hold_are_meant_here() -> None:
    """A lock may have pins for other systems."""
    text = (
        "one==1 --hash=sha256:aa\n"
        "two==1 ; python_version < '3' --hash=sha256:aa\n"
        "three==1 ; python_version >= '3' --hash=sha256:aa\n"
        "four==1 ; sys_platform == 'nowhere' or implementation_name == 'none' --hash=sha256:aa\n"
    )
    assert [pin.name for pin in lockfile.pins_here(text)] == ["one", "three"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LOCK, []),
        ("--no-binary one\n", ["--no-binary", "one"]),
        ("--no-binary=one,two  # as we like\n", ["--no-binary", "one,two"]),
        ("--only-binary :all:\n", ["--only-binary", ":all:"]),
        (
            "--no-binary one\n--only-binary=two\n",
            ["--no-binary", "one", "--only-binary", "two"],
        ),
        ("# --no-binary one\none==1 --hash=sha256:aa\n", []),
    ],
)
def test_which_kind_of_file_a_lock_wants(text: str, expected: list[str]) -> None:
    """All spellings of pip are supported; other options do not matter here."""
    assert lockfile.options(text) == expected


def test_the_sums_of_a_pin_are_those_that_are_sha256() -> None:
    """pip accepts other kinds of hashes, but the store uses SHA-256 only."""
    pin = lockfile.Pin("one", "1", "", ("sha256:aa", "sha512:bb", "sha256:cc"))
    assert pin.sums == {"aa", "cc"}


names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
some_pins = st.lists(
    st.builds(
        lambda name, version, marker, hashes: lockfile.Pin(
            lockfile.normalize(name), version, marker, tuple(sorted(hashes))
        ),
        names,
        st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(rc1|\.post2|\+local\.1)?", fullmatch=True),
        st.sampled_from(["", 'python_version < "3.12"', 'extra == "a#b"']),
        st.sets(st.from_regex(r"sha256:[0-9a-f]{8}", fullmatch=True), min_size=1, max_size=3),
    ),
    max_size=3,
)
some_sets = st.dictionaries(
    st.builds(lockfile.build_set, st.lists(names | st.text(max_size=8), max_size=3)),
    some_pins,
    max_size=4,
)
some_text = st.sampled_from(
    ["", LOCK, LOCK.rstrip("\n"), "# a word\n#\n", PLAIN, "a==1 \\\n  --x\n"]
)


@given(some_pins)
def test_a_pins_text_is_read_back(pins: list[Any]) -> None:
    """Each pin is one line."""
    assert lockfile.pins("\n".join(pin.text for pin in pins)) == pins


@settings(max_examples=25)
@given(some_text, some_sets)
def test_pins_of_back_ends_are_read_back(text: str, sets: dict[str, list[Any]]) -> None:
    """All sets of requirements and pins are supported; pip ignores them."""
    written = lockfile.with_build_pins(text, sets)
    assert lockfile.build_pins(written) == sets
    assert lockfile.logical_lines(written) == lockfile.logical_lines(text)
    assert lockfile.with_build_pins(written, sets) == written


@settings(max_examples=25)
@given(some_text, some_sets, some_sets)
def test_pins_of_back_ends_take_the_place_of_others(
    text: str, before: dict[str, list[Any]], after: dict[str, list[Any]]
) -> None:
    """Old pins are removed from all places in the lock."""
    both = lockfile.with_build_pins(lockfile.with_build_pins(text, before), after)
    assert both == lockfile.with_build_pins(text, after)
    assert lockfile.build_pins(lockfile.with_build_pins(both, {})) == {}


def test_pins_of_back_ends_are_as_the_docstring_says() -> None:
    """Sets with the same pins share them; other comments are ignored."""
    pins = [lockfile.Pin("setuptools", "80.9.0", "", ("sha256:aa", "sha256:bb"))]
    new = [lockfile.Pin("hatchling", "1.0", "", ("sha256:cc",))]
    sets = {'["setuptools>=77"]': pins, '["setuptools>=61"]': pins, '["hatchling"]': new, "[]": []}
    text = lockfile.with_build_pins(LOCK, sets)
    assert text.startswith(LOCK.partition("\n\n")[0])
    assert text.endswith(
        """\
# To build what asks for ["hatchling"]:
#   hatchling==1.0 --hash=sha256:cc

# To build what asks for ["setuptools>=61"]:
# To build what asks for ["setuptools>=77"]:
#   setuptools==80.9.0 --hash=sha256:aa --hash=sha256:bb

# To build what asks for []:
"""
    )
    assert lockfile.pins(text) == lockfile.pins(LOCK)
    assert lockfile.is_lock(text)
    assert lockfile.locked_for(text) == "PyPy 3.11"
    assert lockfile.build_pins(text.replace("#   hatch", "# hatch"))['["hatchling"]'] == []
    assert lockfile.build_pins(LOCK) == {}


@given(st.lists(names))
def test_a_set_of_requirements_is_written_in_one_way(requirements: list[str]) -> None:
    """The order and repetitions in pyproject.toml do not matter."""
    written = lockfile.build_set(requirements)
    assert written == lockfile.build_set([*reversed(requirements), *requirements])
    assert json.loads(written) == sorted(set(requirements))
    assert "\n" not in written


def test_an_applications_files_are_walked_in_one_order(tmp_path: Path) -> None:
    """Symbolic links count as files; other special files are left out."""
    for name in ("b/z.py", "b/a.py", "b/__pycache__/z.pyc", "a.txt", ".git/config", "venv/x", "Z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("b")
    (tmp_path / "b" / "broken").symlink_to("nothing")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = list(lockfile.files_of(tmp_path))
    assert [name for name, _ in found] == ["Z", "a.txt", "link", "b/a.py", "b/broken", "b/z.py"]
    assert all(path == tmp_path / name for name, path in found)
