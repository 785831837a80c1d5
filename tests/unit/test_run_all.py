"""The lanes of `make test`: each test runs in exactly one of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests import run_all
from tests.conftest import ROOT


def test_each_file_of_container_tests_is_in_one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file needs no entry, and none is run twice."""
    monkeypatch.chdir(ROOT)
    found = Counter(file for name in run_all.LANES for file in run_all.files_of(name))
    there = Path("tests/containers").rglob("test_*.py")
    assert found == Counter(str(path) for path in there)


def test_lanes_name_files_that_exist() -> None:
    """A file that was renamed would silently move to another lane."""
    for members in run_all.LANES.values():
        assert all((ROOT / run_all.CONTAINERS / member).exists() for member in members)


def test_summary_has_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The failure's text and its test's name are printed, whatever else the lane has printed."""
    (tmp_path / "test_two.py").write_text("def test_good(): pass\ndef test_bad(): assert 1 == 2\n")
    lane = run_all.Lane("two", [str(tmp_path), "-c", "/dev/null"], tmp_path)
    lane.start(tmp_path / "lock")
    run_all.wait([lane])
    assert run_all.summarize([lane]) == 1
    said = capsys.readouterr().out
    assert "two: 1 failed, 1 passed" in said
    assert "assert 1 == 2" in said
    assert "test_two.py::test_bad (call)" in said.splitlines()[-1]


def test_quiet_tests_run_last_and_when_no_other_lane_is_at_work(tmp_path: Path) -> None:
    """Two lanes, whose quiet tests come first in their files."""
    code = """
        import time, pytest
        def note(what):
            with open({log!r}, "a") as log:
                print(what, {name!r}, file=log)
        @pytest.mark.quiet
        def test_quiet():
            note("begins")
            time.sleep(0.3)
            note("ends")
        def test_other():
            time.sleep({seconds})
            note("other")
    """
    log = tmp_path / "log"
    lanes = []
    for name, seconds in (("one", 0), ("two", 2)):
        folder = tmp_path / name
        folder.mkdir()
        text = code.format(log=str(log), name=name, seconds=seconds).replace("\n        ", "\n")
        (folder / "test_it.py").write_text(text)
        lanes.append(run_all.Lane(name, [str(folder), "-c", "/dev/null"], folder))
    for lane in lanes:
        lane.start(tmp_path / "lock")
    run_all.wait(lanes)
    assert run_all.summarize(lanes) == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [what for what, _ in lines] == ["other", "other", "begins", "ends", "begins", "ends"]
    assert lines[2][1] == lines[3][1]
