"""deploy/run.env: what docker can carry is carried unchanged, the rest is refused by its line."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slipway.laptop.settings import run_env as environment

from tests.conftest import Project

VALUES = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])).filter(
    lambda value: not value.endswith("\r")
)


@given(value=VALUES)
def test_any_value_on_one_line_comes_through_unchanged(value: str) -> None:
    """Spaces, quotes, #, $, unicode: nothing is taken off, expanded or cut."""
    line = f"A={value}\n".encode()
    assert environment.parse(line) == {"A": value.encode()}
    assert environment.text(environment.parse(line)) == line


def test_comments_and_empty_lines_are_left_out() -> None:
    """A # further on is a part of the value; the last line need not end."""
    data = b"# a comment\n\nA=1 # 2\n  \nB="
    assert environment.text(environment.parse(data)) == b"A=1 # 2\nB=\n"


PEM = b'A=1\nKEY="-----BEGIN KEY-----\nMIIE+/x==\n-----END KEY-----"\n'


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (PEM, 2, "the value of KEY goes on in line 3, and docker cannot carry newlines"),
        (b"A=1\n{\n", 2, "write NAME=value on one line"),
        (b"A=1\nB\n", 2, "write NAME=value on one line"),
        (b"export A=1", 1, "without `export`"),
        (b" A=1", 1, "without `export` and blanks"),
        (b"A =1", 1, "without `export` and blanks"),
        (b"A=1\r\nB=2\r\n", 1, "save it with Unix line ends"),
        (b"A=\xff", 1, "binary"),
        (b"A=x\0y", 1, "binary"),
        (b"A=" + 70_000 * b"x", 1, "too long"),
        (b"A=1\n\nA=2", 3, "A is set above already"),
        (b"PORT=80", 1, "set PORT in deploy/settings.mk"),
        (b"\xef\xbb\xbfA=1", 1, "write NAME=value"),
    ],
)
def test_what_docker_would_read_otherwise_is_refused_by_its_line(
    data: bytes, line: int, says: str
) -> None:
    """The message does not repeat a value."""
    with pytest.raises(environment.EnvironmentFileError) as refused:
        environment.parse(data)
    assert str(refused.value).startswith(f"deploy/run.env, line {line}: ")
    assert says in str(refused.value)
    assert "MIIE" not in str(refused.value)


def test_the_path_is_printed_when_there_is_a_file(project: Project) -> None:
    """For run.sh; without one there is nothing to pass on."""
    assert project.run(sys.executable, "deploy/environment.py").stdout == ""
    file = project.path / "deploy" / "run.env"
    file.write_text("A=1\n")
    assert project.run(sys.executable, "deploy/environment.py").stdout == f"{file}\n"
    file.write_text("A\n")
    done = project.run(sys.executable, "deploy/environment.py")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith("environment.py: deploy/run.env, line 1: ")
