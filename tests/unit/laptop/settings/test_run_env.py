"""deploy/run.env: docker's format is read unchanged, and anything else is refused by its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.laptop.settings import run_env

VALUES = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])).filter(
    lambda value: not value.endswith("\r")
)


@given(value=VALUES)
def test_any_value_on_one_line_comes_through_unchanged(value: str) -> None:
    """Spaces, quotes, #, $ and Unicode: nothing is removed or expanded."""
    line = f"A={value}\n".encode()
    assert run_env.parse(line) == {"A": value.encode()}
    assert run_env.text(run_env.parse(line)) == line


def test_comments_and_empty_lines_are_left_out() -> None:
    """A # later in the line is part of the value; the last line needs no line end."""
    data = b"# a comment\n\nA=1 # 2\n  \nB="
    assert run_env.text(run_env.parse(data)) == b"A=1 # 2\nB=\n"


PEM = b'A=1\nKEY="-----BEGIN KEY-----\nMIIE+/x==\n-----END KEY-----"\n'


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (PEM, 2, "the value of KEY continues in line 3, and docker cannot pass newlines"),
        (b"A=1\n{\n", 2, "write NAME=value on one line"),
        (b"A=1\nB\n", 2, "write NAME=value on one line"),
        (b"export A=1", 1, "without `export`"),
        (b" A=1", 1, "without `export` and without spaces"),
        (b"A =1", 1, "without `export` and without spaces"),
        (b"A=1\r\nB=2\r\n", 1, "save it with Unix line ends"),
        (b"A=\xff", 1, "binary"),
        (b"A=x\0y", 1, "binary"),
        (b"A=" + 70_000 * b"x", 1, "too long"),
        (b"A=1\n\nA=2", 3, "A is already set above"),
        (b"PORT=80", 1, "set PORT in deploy/settings.mk"),
        (b"\xef\xbb\xbfA=1", 1, "write NAME=value"),
    ],
)
def test_a_line_that_docker_would_misread_is_refused(data: bytes, line: int, says: str) -> None:
    """The message does not repeat a value."""
    with pytest.raises(run_env.EnvironmentFileError) as refused:
        run_env.parse(data)
    assert str(refused.value).startswith(f"deploy/run.env, line {line}: ")
    assert says in str(refused.value)
    assert "MIIE" not in str(refused.value)


def test_the_file_is_read_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file there are no variables; one that cannot be read is reported."""
    path = tmp_path / "run.env"
    monkeypatch.setattr(run_env, "PATH", path)
    assert run_env.load() == {}
    path.write_text("A=1\n")
    assert run_env.load() == {"A": b"1"}
    path.unlink()
    path.mkdir()
    with pytest.raises(run_env.EnvironmentFileError, match=r"deploy/run.env cannot be read: "):
        run_env.load()


def test_a_value_in_quotes_is_pointed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compose and shells would remove them; the value itself is not printed."""
    path = tmp_path / "run.env"
    monkeypatch.setattr(run_env, "PATH", path)
    path.write_text('A=\'x y\'\nURL="secret"\nB="x" \nC="\nD=say "x"\nE="a\' b\n')
    assert run_env.load()["URL"] == b'"secret"'
    said = capsys.readouterr().err
    assert said.startswith("slipway: deploy/run.env: the value of A, URL stands in quotes, which")
    assert "secret" not in said
    path.write_text("A=1\n")
    run_env.load()
    assert capsys.readouterr().err == ""
