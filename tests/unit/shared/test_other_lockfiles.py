"""Lock files of other tools, whose pins a new lock starts with."""

from __future__ import annotations

import pytest

from slipway.shared import other_lockfiles as otherlocks

LOCKS = {
    "uv.lock": """\
version = 1
[[package]]
name = "shop"
version = "1.0"
source = { editable = "." }
[[package]]
name = "Six"
version = "1.16.0"
source = { registry = "https://index.example/simple" }
""",
    "poetry.lock": """\
[[package]]
name = "six"
version = "1.16.0"
[package.dependencies]
idna = "*"
[[package]]
name = "shop"
version = "1"
[package.source]
type = "git"
""",
    "pdm.lock": '[metadata]\nx = 1\n[[package]]\nname = "six"\nversion = "1.16.0"\n',
    "pylock.toml": '[[packages]]\nname = "six"\nversion = "1.16.0"\nwheels = []\n',
    "Pipfile.lock": '{"default": {"six": {"version": "==1.16.0"}}, "develop": {"x": {}}}',
}


@pytest.mark.parametrize("name", LOCKS)
def test_pins_of_the_index_are_read(name: str) -> None:
    """The application itself, repositories and folders are left out."""
    assert otherlocks.read(name, LOCKS[name]).pins == {"six": "1.16.0"}


def test_a_name_with_several_versions_is_left_out() -> None:
    """The right version depends on the system."""
    text = LOCKS["pdm.lock"] + '[[package]]\nname = "six"\nversion = "2"\n'
    read = otherlocks.read("pdm.lock", text)
    assert (read.pins, read.ambiguous) == ({}, ["six"])


def test_a_lock_begins_with_the_other_tools_pins_and_keeps_its_own() -> None:
    """A changed lock file of another tool is preferred to the present lock, once."""
    other = otherlocks.read("uv.lock", LOCKS["uv.lock"])
    present = "six==1.17.0 --hash=sha256:aa\nidna==3 --hash=sha256:bb\n"
    assert otherlocks.start("", other) == "six==1.16.0\n"
    begun = otherlocks.start(present, other)
    assert begun == "idna==3 --hash=sha256:bb\nsix==1.16.0\n"
    noted = otherlocks.noted(present, other)
    assert otherlocks.start(noted, other) == noted
    changed = otherlocks.read("uv.lock", LOCKS["uv.lock"].replace("1.16", "1.15"))
    assert "six==1.15.0" in otherlocks.start(noted, changed)
    assert otherlocks.noted(noted, changed).count("Took up") == 1
    assert otherlocks.noted(noted, None) == present


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("uv.lock", "<<<<<<< ours\n", "uv.lock is not valid TOML: "),
        ("uv.lock", "package = [1]\n", "uv.lock does not have the form that its tool writes"),
        ("pdm.lock", "package = 1\n", "pdm.lock does not have the form that its tool writes"),
        ("Pipfile.lock", "{", "Pipfile.lock does not have the form that its tool writes"),
    ],
)
def test_a_damaged_lock_file_is_named(name: str, text: str, says: str) -> None:
    """The message is one line that states what to do."""
    with pytest.raises(ValueError, match=r"create it again with (its|that) tool$") as problem:
        otherlocks.read(name, text)
    assert str(problem.value).startswith(says)


@pytest.mark.parametrize(
    ("package", "kept"),
    [
        ('source = { url = "https://x.example/six.whl" }', False),
        ('source = { virtual = "." }', False),
        ('source = { registry = "https://x.example" }', True),
        ('[package.source]\ntype = "legacy"\nurl = "https://x.example"', True),
        ('[package.source]\nurl = "https://x.example"\ntype = "file"', False),
        ('git = "https://x.example/six.git"', False),
        ("[package.vcs]\ntype = 'git'", False),
        ('[package.metadata]\nsource = { git = "x" }', True),
    ],
)
def test_packages_of_other_places_are_left_out(package: str, kept: bool) -> None:
    """Only versions of a package index are valid in the lock."""
    text = f"[[package]]\nversion = '1.16.0'\nname = 'six'\n{package}\n"
    assert bool(otherlocks.read("uv.lock", text).pins) is kept
